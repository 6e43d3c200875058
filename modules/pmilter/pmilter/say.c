/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * say.c -- what the filter is told, as frames: our greeting, who a client is, questions with the
 * macros that it asked for; and what it asked for in its own greeting.
 *
 * Comes from pmilter_pmilter.c, link.c and content.c; goes to link_send(). Owns nothing.
 * On failure: what does not fit into a frame of 64 KiB is not said, and its question fails.
 */
#include "pmilter.h"

#include <stdio.h>
#include <string.h>

static struct meta1_pmw_out begin(struct sess *s, uint32_t type)
{
	return meta1_pmw_begin(s->pm->out, sizeof(s->pm->out), type, s->id);
}

/* ---- macros ---- */

/* The CN of "/C=XY/CN=name"; 0: there is none */
static struct meta1_buf common_name(const char *dn)
{
	const char *p = dn ? strstr(dn, "/CN=") : NULL;

	return p ? (struct meta1_buf){p + 4, strcspn(p + 4, "/")} : (struct meta1_buf){NULL, 0};
}

static struct meta1_buf str(const char *s)
{
	return (struct meta1_buf){s, s ? strlen(s) : 0};
}

static struct meta1_buf num(char tmp[24], uint32_t v)
{
	int n = snprintf(tmp, 24, "%u", v);

	return (struct meta1_buf){tmp, (size_t)n};
}

static struct meta1_buf of_tls(const struct meta1_tls *t, unsigned macro, char tmp[24])
{
	switch (macro) {
	case META1_PMM_TLS_VERSION:
		return str(t->version);
	case META1_PMM_TLS_CIPHER_SUITE:
		return str(t->cipher);
	case META1_PMM_TLS_CIPHER_BITS:
	case META1_PMM_TLS_ALG_BITS:
		return num(tmp, t->bits);
	case META1_PMM_TLS_CERT_SUBJECT:
		return str(t->subject);
	case META1_PMM_TLS_CERT_ISSUER:
		return str(t->issuer);
	case META1_PMM_TLS_CN_SUBJECT:
		return common_name(t->subject);
	case META1_PMM_TLS_CN_ISSUER:
		return common_name(t->issuer);
	default:
		return str(NULL);
	}
}

/* data NULL: it is not known (yet) */
static struct meta1_buf macro_value(
    const struct meta1_pm_about *a, uint32_t stage, unsigned macro, char tmp[24])
{
	if (a->tls && macro >= META1_PMM_TLS_VERSION && macro <= META1_PMM_TLS_CN_ISSUER)
		return of_tls(a->tls, macro, tmp);
	switch (macro) {
	case META1_PMM_HOSTNAME:
		return str(a->hostname);
	case META1_PMM_CLIENT_RESOLVE:
		return str(a->resolve);
	case META1_PMM_TLS_VRFY:
		return str(a->tls ? a->tls_verify : NULL);
	case META1_PMM_AUTH_TYPE:
		return str(a->auth_mech);
	case META1_PMM_AUTH_AUTHEN:
		return str(a->auth_user);
	case META1_PMM_AUTH_AUTHOR:
		return str(a->auth_author);
	case META1_PMM_TAID:
		return str(a->taid);
	case META1_PMM_MSGID:
		return str(stage == META1_PM_END ? a->msgid : NULL);
	case META1_PMM_C:
		return stage == META1_PM_END ? num(tmp, a->hops) : str(NULL);
	case META1_PMM_CLIENT_NAME:
		return str(a->name);
	case META1_PMM_LISTENER:
		return str(a->listener);
	case META1_PMM_LOCAL_ADDR:
		return str(a->local);
	case META1_PMM_LOCAL_PORT:
		return a->local_port ? num(tmp, a->local_port) : str(NULL);
	case META1_PMM_VERSION:
		return str(a->version);
	default:
		return str(NULL);
	}
}

static void put_macros(struct sess *s, uint32_t stage, struct meta1_pmw_out *o)
{
	const struct link *l = s->link;
	char tmp[24];

	/* REFUSED is a RCPT too */
	if (stage == META1_PM_REFUSED)
		stage = META1_PM_RCPT;
	for (uint32_t i = 0; i < l->nask; i++) {
		for (uint32_t k = 0; l->ask[i].stage == stage && k < l->ask[i].n; k++) {
			struct meta1_buf v = macro_value(s->about, stage, l->ask[i].macro[k], tmp);
			unsigned char *p =
			    v.data ? meta1_pmw_room(o, META1_PMW_F_MACRO, v.len + 2) : NULL;

			if (!p)
				continue;
			meta1_pmw_store(p, l->ask[i].macro[k], 2);
			memcpy(p + 2, v.data, v.len);
		}
	}
}

/* ---- greetings ---- */

int say_hello(struct link *l)
{
	struct pm *pm = l->pm;
	struct meta1_pmw_out o = meta1_pmw_begin(pm->out, sizeof(pm->out), META1_PMW_HELLO, 0);
	unsigned char *p;

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_num(&o, META1_PMW_F_OLDEST, META1_PMW_VERSION, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, pm->host->version);
	meta1_pmw_text(&o, META1_PMW_F_HOSTNAME, pm->host->hostname);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, EVENT_STAGES, 4);
	meta1_pmw_num(&o, META1_PMW_F_WANTS, EVENT_STAGES & ~QUIET_STAGES, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	p = meta1_pmw_room(&o, META1_PMW_F_MACROS, 2 * (META1_PMM_MAX - 1));
	for (unsigned i = 1; p && i < META1_PMM_MAX; i++)
		meta1_pmw_store(p + 2 * (i - 1), i, 2);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, META1_PMW_WINDOW, 4);
	return link_send(l, &o);
}

static const char *asked_macros(struct link *l, const struct meta1_pmw_field_of *v)
{
	size_t n = v->len < 4 ? 0 : (v->len - 4) / 2;

	if (v->len < 4 || v->len % 2 || l->nask == sizeof(l->ask) / sizeof(l->ask[0]))
		return "its list of macros is none";
	l->ask[l->nask].stage = (uint32_t)meta1_pmw_load(v->at, 4);
	l->ask[l->nask].n = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t m = meta1_pmw_load(v->at + 4 + 2 * i, 2);

		/* twice the same is not said twice; what we do not have is not said */
		if (m == 0 || m >= META1_PMM_MAX ||
		    memchr(l->ask[l->nask].macro, (int)m, l->ask[l->nask].n))
			continue;
		l->ask[l->nask].macro[l->ask[l->nask].n++] = (uint8_t)m;
	}
	l->nask++;
	return NULL;
}

static void take_name(struct link *l, const struct meta1_pmw_field_of *v)
{
	size_t n = v->len < sizeof(l->program) - 1 ? v->len : sizeof(l->program) - 1;

	for (size_t i = 0; i < n; i++)
		l->program[i] = (char)(v->at[i] > 32 && v->at[i] < 127 ? v->at[i] : '?');
	l->program[n] = '\0';
}

const char *say_welcomed(struct link *l, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;
	const char *bad = NULL;

	l->nask = l->version = l->stages = l->content = l->quiet = 0;
	l->actions = META1_PMW_A_ALL;
	l->window = META1_PMW_WINDOW;
	l->windows = META1_PMW_WINDOWS;
	memcpy(l->program, "?", 2);
	while (!bad && meta1_pmw_next(f, &v)) {
		uint64_t n = meta1_pmw_value(&v);

		if (v.field == META1_PMW_F_VERSION)
			l->version = (uint32_t)n;
		else if (v.field == META1_PMW_F_STAGES)
			l->stages = (uint32_t)n & EVENT_STAGES;
		else if (v.field == META1_PMW_F_WANTS)
			l->quiet = ~(uint32_t)n & QUIET_STAGES;
		else if (v.field == META1_PMW_F_ACTIONS)
			l->actions = (uint32_t)n;
		else if (v.field == META1_PMW_F_CONTENT)
			l->content = (uint32_t)n;
		else if (v.field == META1_PMW_F_WINDOW)
			l->window = (uint32_t)(n < META1_PMW_WINDOWS ? n : META1_PMW_WINDOWS);
		else if (v.field == META1_PMW_F_WINDOWS)
			l->windows = (uint32_t)(n < META1_PMW_WINDOWS ? n : META1_PMW_WINDOWS);
		else if (v.field == META1_PMW_F_PROGRAM)
			take_name(l, &v);
		else if (v.field == META1_PMW_F_ASK_MACROS)
			bad = asked_macros(l, &v);
	}
	if (bad)
		return bad;
	if (l->version != META1_PMW_VERSION)
		return "it speaks another version of the protocol";
	if (!l->window || !l->windows || l->content > META1_PMW_C_NONE)
		return "its window, or what it wants of content, is none";
	return NULL;
}

/* ---- sessions ---- */

int say_open(struct sess *s)
{
	const struct meta1_pm_about *a = s->about;
	struct meta1_pmw_out o = begin(s, META1_PMW_OPEN);
	char serial[24];

	snprintf(serial, sizeof(serial), "S%016llX", (unsigned long long)a->serial);
	meta1_pmw_text(&o, META1_PMW_F_SERIAL, serial);
	meta1_pmw_text(&o, META1_PMW_F_CLIENT, a->client);
	meta1_pmw_num(&o, META1_PMW_F_PORT, a->port, 4);
	meta1_pmw_text(&o, META1_PMW_F_NAME, a->name);
	meta1_pmw_text(&o, META1_PMW_F_LISTENER, a->listener);
	return link_send_late(s->link, &o);
}

static uint32_t type_of(uint32_t stage)
{
	switch (stage) {
	case META1_PM_CONNECT:
		return META1_PMW_CONNECT;
	case META1_PM_HELO:
		return META1_PMW_HELO;
	case META1_PM_MAIL:
		return META1_PMW_MAIL;
	case META1_PM_RCPT:
	case META1_PM_REFUSED:
		return META1_PMW_RCPT;
	case META1_PM_DATA:
		return META1_PMW_DATA;
	default:
		return META1_PMW_UNKNOWN;
	}
}

int say_question(struct sess *s, const struct meta1_pm_ask *ask)
{
	struct meta1_pmw_out o = begin(s, type_of(ask->stage));

	if (ask->arg.data || ask->stage == META1_PM_MAIL)
		meta1_pmw_put(&o, META1_PMW_F_ARG, ask->arg.data, ask->arg.len);
	for (uint32_t i = 0; i < ask->nparam; i++)
		meta1_pmw_put(&o, META1_PMW_F_PARAM, ask->param[i].data, ask->param[i].len);
	meta1_pmw_text(&o, META1_PMW_F_REFUSED, ask->refused);
	if (ask->stage == META1_PM_RCPT || ask->stage == META1_PM_REFUSED ||
	    ask->stage == META1_PM_DATA) {
		meta1_pmw_num(&o, META1_PMW_F_NRCPT, s->about->nrcpt, 4);
		meta1_pmw_num(&o, META1_PMW_F_NBAD, s->about->nbad, 4);
	}
	put_macros(s, ask->stage, &o);
	return say_quiet(s, ask->stage) ? link_send_late(s->link, &o) : link_send(s->link, &o);
}

int say_quiet(const struct sess *s, uint32_t stage)
{
	return (s->link->quiet & stage) != 0;
}

int say_end(struct sess *s)
{
	struct meta1_pmw_out o = begin(s, META1_PMW_END);

	meta1_pmw_num(&o, META1_PMW_F_NRCPT, s->about->nrcpt, 4);
	meta1_pmw_num(&o, META1_PMW_F_NBAD, s->about->nbad, 4);
	put_macros(s, META1_PM_END, &o);
	return link_send(s->link, &o);
}

void say_bare(struct sess *s, uint32_t type)
{
	struct meta1_pmw_out o = begin(s, type);

	link_send_late(s->link, &o);
}
