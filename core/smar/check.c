/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c -- CHECK: one question of smtps is one struct check that walks the table of steps
 * below, live and for explain alike; the order and the words are told in smar.h.
 * From smar.c (smtps' question) and explain.c; to the steps (check_*.c), and by them to seek.c; the
 * verdict goes back to who asked.
 * Owns the struct and a reference to the policy it began with, so that a reload does not change
 * a question half-way. On failure: 451 4.3.0, or 554 5.3.0 when the map says that it will never
 * have an answer about this key, and a warning that names map and key.
 */
#include "smar/check.h"
#include "smar/users.h"

#include "mail/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define VERDICT_TTL 60 /* seconds an asker may keep a verdict */

METRIC_COUNTER(m_checks, "rcpt_checks_total", "Questions whether a recipient may be taken.");
METRIC_COUNTER(m_mails, "mail_checks_total", "Questions about client, HELO and sender at MAIL.");
METRIC_COUNTER(m_accepted, "rcpt_accepted_total", "Recipients accepted.");
METRIC_COUNTER(m_rejected, "rcpt_rejected_total", "Recipients refused for good.");
METRIC_COUNTER(m_tempfail, "rcpt_tempfail_total", "Recipients refused for now.");
METRIC_COUNTER(m_mail_refused, "mail_refused_total", "Senders refused at MAIL.");

/* The order of all checks. */
static const struct check_step steps[] = {
    {"name", STAGE_CONNECT, 0, 0, check_name, check_names_on},
    {"local", STAGE_RCPT, 0, 0, check_local, NULL},
    {"virtual", STAGE_RCPT, 0, CHECK_EVER, check_virtual, check_virtual_on},
    {"postmaster", STAGE_RCPT, 0, 0, check_postmaster, NULL},
    {"auth", STAGE_RCPT, 0, CHECK_PROOF, check_auth, NULL},
    {"certsubject", STAGE_MAIL, TAG_CERTSUBJECT, CHECK_MAY_RELAY | CHECK_PROOF, check_certsubject,
	NULL},
    {"certissuer", STAGE_MAIL, TAG_CERTISSUER, CHECK_MAY_RELAY | CHECK_PROOF, check_certissuer,
	NULL},
    {"cltaddr", STAGE_CONNECT, TAG_CLTADDR, CHECK_MAY_RELAY, check_cltaddr, NULL},
    {"cltresolve", STAGE_CONNECT, TAG_CLTRESOLVE, CHECK_JUDGES, check_cltresolve, check_names_on},
    {"cltname", STAGE_CONNECT, TAG_CLTNAME, CHECK_MAY_RELAY, check_cltname, check_names_on},
    {"dnsbl", STAGE_CONNECT, 0, CHECK_JUDGES, check_dnsbl_client, check_dnsbl_client_on},
    {"helo", STAGE_HELO, TAG_HELO, CHECK_JUDGES, check_helo, NULL},
    {"dnsbl_helo", STAGE_HELO, 0, CHECK_JUDGES, check_dnsbl_helo, check_dnsbl_helo_on},
    {"from", STAGE_MAIL, TAG_FROM, 0, check_from, NULL},
    {"dnsbl_sender", STAGE_MAIL, 0, CHECK_JUDGES, check_dnsbl_sender, check_dnsbl_sender_on},
    {"spf", STAGE_MAIL, 0, CHECK_JUDGES, check_spf, check_spf_on},
    {"to", STAGE_RCPT, TAG_TO, CHECK_MAY_RELAY, check_to, NULL},
    {"protectedrcpt", STAGE_RCPT, TAG_PROTECTED, CHECK_ANYWAY, check_protected, NULL},
    {"relay", STAGE_RCPT, 0, 0, check_relay, NULL},
    {"exists", STAGE_RCPT, 0, CHECK_EVER, check_exists, check_exists_on},
    {"probe", STAGE_RCPT, 0, 0, check_probe, check_probe_on},
    {"utf8", STAGE_RCPT, 0, 0, check_utf8, NULL},
    {"8bitmime", STAGE_RCPT, 0, 0, check_8bitmime, check_8bitmime_on},
    {"greylist", STAGE_RCPT, 0, 0, check_grey, check_grey_on},
};

static bool is_on(const struct check_step *s, const struct smar_policy *p)
{
	return !s->on || s->on(p);
}

uint32_t smar_check_stages(const struct smar_policy *p)
{
	uint32_t stages = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (p->access.map && steps[i].tag && is_on(&steps[i], p))
			stages |= steps[i].stage;
	return stages;
}

uint32_t smar_check_always(const struct smar_policy *p)
{
	uint32_t stages = STAGE_RCPT;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (steps[i].on && steps[i].on(p))
			stages |= steps[i].stage;
	/* SPF needs the name too, so that an answer that is kept is one about that name. */
	return stages | (check_spf_on(p) ? STAGE_HELO : 0);
}

/* ---- the trace ---- */
static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char *stage_name(uint32_t stage)
{
	return stage == STAGE_CONNECT ? "CONNECT"
	       : stage == STAGE_HELO  ? "HELO"
	       : stage == STAGE_MAIL  ? "MAIL"
				      : "RCPT";
}

#define KEYS_MAX 64

/* The keys up to the one that the look-up ended with. */
static unsigned tried(struct check *c, char (*out)[SMAR_KEY_MAX])
{
	struct smar_keys k = *c->keys;
	unsigned n = 0;

	while (n < KEYS_MAX && smar_keys_next(&k, out[n], SMAR_KEY_MAX))
		if (strcmp(out[n++], c->seek.key) == 0)
			break;
	return n;
}

static void tell(struct check *c, const char *effect, bool skipped)
{
	char(*text)[SMAR_KEY_MAX];
	const char *key[KEYS_MAX];
	struct smar_trace t = {.check = c->step->name, .key = key, .effect = effect};

	if (!c->trace)
		return;
	text = base_alloc(KEYS_MAX * sizeof(*text));
	t.stage = stage_name(c->step->stage);
	t.skipped = skipped;
	if (!skipped) {
		t.us = now_us() - c->since_us;
		t.nkey = c->looked ? tried(c, text) : 0;
		t.map = c->looked ? c->seek.use->map->name : NULL;
		t.answer = c->answer[0] ? c->answer : NULL;
	}
	for (unsigned i = 0; i < t.nkey; i++)
		key[i] = text[i];
	c->trace(c->arg, &t);
	free(text);
}

/* ---- the walk ---- */
static void check_free(struct check *c)
{
	smar_policy_unref(&c->policy);
	free(c->keys);
	free(c->helo);
	free(c->rcpt);
	free(c->auth);
	free(c->subject);
	free(c->issuer);
	free(c->lists);
	free(c->own);
	free(c);
}

static void count(const struct check *c, enum proto_action action)
{
	bool rcpt = c->stages & STAGE_RCPT;

	if (c->trace)
		return;
	if (!rcpt)
		m_mail_refused.value += action == ACT_TEMPFAIL || action == ACT_REJECT;
	else if (action == ACT_TEMPFAIL)
		m_tempfail.value++;
	else if (action == ACT_REJECT)
		m_rejected.value++;
	else
		m_accepted.value++;
}

void check_say(
    struct check *c, enum proto_action action, int smtp, const char *dsn, const char *text)
{
	struct p_verdict v = {.action = action, .smtp = (uint64_t)smtp};
	char effect[500];

	v.dsn = buf_str(dsn);
	v.text = buf_str(text);
	v.ttl = action == ACT_TEMPFAIL ? 0 : c->ttl;
	if (c->expanded && action == ACT_ACCEPT) {
		v.targets = (struct proto_strs){c->expanded->target, c->expanded->n};
		v.owners = (struct proto_strs){c->expanded->owners, c->expanded->nowner};
		v.owner = (struct proto_nums){c->expanded->owner, c->expanded->n};
		v.ttl = 0;
	}
	v.rule = buf_str(c->rule[0] || !c->step ? c->rule : c->step->name);
	v.grants = (c->relay || c->relay_client || c->relay_proof ? GRANT_RELAY : 0) |
		   (c->ok ? GRANT_OK : 0) | (c->quick ? GRANT_QUICK : 0);
	v.name = buf_str(c->name);
	v.spf = c->spf;
	v.spf_why = buf_str(c->spf_why);
	count(c, action);
	if (c->trace && c->step) {
		snprintf(effect, sizeof(effect), "%s%d %s %s",
		    action == ACT_DISCARD ? "thrown away: " : "", smtp, dsn, text);
		tell(c, effect, false);
	}
	log_event(LOG_L_DEBUG, "smar.check",
	    "client=%s from=<%s@%s> rcpt=<%s@%s> stages=%u action=%d smtp=%d rule=%s text=%s",
	    c->client, c->from_local, c->from_domain, c->local_part, c->domain, c->stages,
	    (int)action, smtp, c->rule, text);
	c->fn(c->arg, &v);
	check_free(c);
}

/* Why a step does not get its turn; NULL: it does. */
static const char *left_out(const struct check *c, const struct check_step *s)
{
	bool proven = c->relay_proof && (c->flags & SMTPS_F_DELAY);

	if (c->postmaster && !(s->flags & CHECK_EVER))
		return "postmaster is always taken";
	if (s->stage & (STAGE_CONNECT | STAGE_HELO) && proven)
		return "the client may relay by AUTH or its certificate";
	if (s->flags & CHECK_JUDGES && c->relay_client)
		return "the client may relay";
	if (!s->tag)
		return NULL;
	if (!c->policy->access.map)
		return "smar has no access section";
	if (!(c->flags & SMTPS_F_ACCESS))
		return "this smtps has not the flag access";
	if (c->quick)
		return "QUICK stood before";
	return c->ok && !(s->flags & CHECK_ANYWAY) ? "OK stood before" : NULL;
}

static void next(struct check *c)
{
	const char *why;

	while (c->at < ARRAY_LEN(steps)) {
		const struct check_step *s = &steps[c->at++];

		if (!(s->stage & c->stages) || !is_on(s, c->policy))
			continue;
		c->step = s;
		c->rule[0] = c->answer[0] = '\0';
		c->looked = false;
		why = left_out(c, s);
		if (why) {
			tell(c, why, true);
			continue;
		}
		if (c->trace)
			c->since_us = now_us();
		s->run(c);
		return;
	}
	c->step = NULL;
	c->rule[0] = '\0';
	if (c->stages & STAGE_RCPT)
		check_say(c, ACT_ACCEPT, 250, "2.1.5", "recipient ok");
	else
		check_say(c, ACT_ACCEPT, 250, "2.1.0", "sender ok");
}

void check_go_on(struct check *c, const char *effect)
{
	tell(c, effect, false);
	next(c);
}

void check_accept(struct check *c)
{
	check_say(c, ACT_ACCEPT, 250, "2.1.5", "recipient ok");
}

/* ---- rows of the access map ---- */
void check_ttl(struct check *c, uint32_t ttl)
{
	if (ttl < c->ttl)
		c->ttl = ttl;
}

bool check_found(struct check *c, const struct smar_found *f)
{
	c->looked = true;
	check_ttl(c, f->ttl);
	if (f->status == META1_OK)
		reply_clean(f->value.data, f->value.len, c->answer, sizeof(c->answer));
	if (f->status != META1_NOTFOUND)
		snprintf(c->rule, sizeof(c->rule), "%s %s", f->map, f->key);
	if (f->status != META1_TEMPFAIL && f->status != META1_PERMFAIL)
		return true;
	snprintf(c->answer, sizeof(c->answer), "failed: %s", f->why);
	if (f->status == META1_PERMFAIL)
		check_say(c, ACT_REJECT, 554, "5.3.0", "a map cannot answer about this mail");
	else
		check_say(
		    c, ACT_TEMPFAIL, 451, "4.3.0", "temporary failure of a map, try again later");
	return false;
}

/* RELAY under a tag whose key anyone can choose is OK. */
static void permit(struct check *c, const struct smar_access *a)
{
	if (!(c->step->flags & CHECK_MAY_RELAY)) {
		c->ok = true;
		c->quick |= a->quick;
		check_go_on(c, "as OK: no further rows, permits no relaying");
		return;
	}
	if (c->step->flags & CHECK_PROOF)
		c->relay_proof = true;
	else if (c->step->stage == STAGE_RCPT)
		c->relay_to = true;
	else
		c->relay_client = true;
	c->ok |= a->quick;
	c->quick |= a->quick;
	check_go_on(c, a->quick ? "relaying permitted, no further rows" : "relaying permitted");
}

static void apply(struct check *c, const struct smar_access *a)
{
	switch (a->rhs) {
	case RHS_REJECT:
		check_say(c, ACT_REJECT, 550, "5.7.1", "access denied");
		break;
	case RHS_ERROR:
		check_say(c, a->smtp < 500 ? ACT_TEMPFAIL : ACT_REJECT, a->smtp, a->dsn, a->text);
		break;
	case RHS_DISCARD:
		if (c->stages & STAGE_RCPT)
			check_say(c, ACT_DISCARD, 250, "2.1.5", "recipient ok");
		else
			check_say(c, ACT_DISCARD, 250, "2.1.0", "sender ok");
		break;
	case RHS_RELAY:
		permit(c, a);
		break;
	case RHS_OK:
		c->ok = true;
		c->quick |= a->quick;
		check_go_on(c, "no further rows");
		break;
	case RHS_CONT:
		c->ok |= a->quick;
		c->quick |= a->quick;
		check_go_on(c, a->quick ? "no further rows" : "no opinion");
		break;
	}
}

void check_mistake(struct check *c, const char *why)
{
	log_event(LOG_L_WARN, "smar.access", "map=%s key=%s error=%s", c->seek.use->map->name,
	    c->seek.key, why);
	str_copy(c->answer, sizeof(c->answer), why);
	check_say(c, ACT_TEMPFAIL, 451, "4.3.5", "the server's access map has a mistake");
}

void check_row(struct check *c, const struct smar_found *f)
{
	struct smar_access a;
	struct meta1_err err;

	if (!check_found(c, f))
		return;
	if (f->status != META1_OK) {
		check_go_on(c, "no row");
	} else if (smar_access_parse(f->value, &a, &err) < 0) {
		check_mistake(c, err.text);
	} else {
		apply(c, &a);
	}
}

static void access_found(void *arg, const struct smar_found *f)
{
	check_row(arg, f);
}

void check_seek(
    struct check *c, const struct smar_use *use, void (*found)(void *, const struct smar_found *))
{
	if (c->trace)
		*c->keys = c->seek.keys;
	smar_seek_now(&c->seek, use, c->deadline, found, c);
}

void check_access(struct check *c)
{
	check_seek(c, &c->policy->access, access_found);
}

/* ---- a question ---- */
static char *copy(struct meta1_buf b)
{
	return b.len > 0 ? base_strndup(b.data, b.len) : NULL;
}

static void start(struct smar_policy *p, const struct p_check *q, int64_t deadline,
    smar_verdict_fn fn, smar_trace_fn trace, void *arg)
{
	struct check *c = base_alloc(sizeof(*c));
	char client[sizeof(c->client)] = "";

	c->policy = smar_policy_ref(p);
	c->deadline = deadline;
	c->ttl = VERDICT_TTL;
	c->stages = (uint32_t)q->stages;
	c->flags = q->flags;
	c->relay = q->grants & GRANT_RELAY;
	c->ok = q->grants & GRANT_OK;
	c->quick = q->grants & GRANT_QUICK;
	c->utf8 = addr_utf8_local(q->from) || addr_utf8_local(q->rcpt);
	c->probe = q->probe || trace;
	c->tls = (uint32_t)q->tls;
	c->helo = copy(q->helo);
	c->rcpt = copy(q->rcpt);
	c->auth = copy(q->auth);
	c->subject = check_name_word(q->cert_subject);
	c->issuer = check_name_word(q->cert_issuer);
	c->fn = fn;
	c->trace = trace;
	c->keys = trace ? base_alloc(sizeof(*c->keys)) : NULL;
	c->arg = arg;
	if (q->client.len < sizeof(client))
		memcpy(client, q->client.data ? q->client.data : "", q->client.len);
	str_copy(c->client, sizeof(c->client), client[0] ? client : "unknown");
	if (smar_keys_split(q->from, p->hostname, c->from_local, c->from_domain) < 0)
		check_say(c, ACT_REJECT, 553, "5.1.7", "the sender address is too long");
	else if (c->stages & STAGE_RCPT &&
		 (smar_keys_split(q->rcpt, p->hostname, c->local_part, c->domain) < 0 ||
		     c->local_part[0] == '\0'))
		check_say(c, ACT_REJECT, 553, "5.1.3", "the recipient address is no address");
	else
		next(c);
}

void smar_check(
    struct smar_policy *p, const struct p_check *q, int64_t deadline, smar_verdict_fn fn, void *arg)
{
	(q->stages & STAGE_RCPT ? &m_checks : &m_mails)->value++;
	start(p, q, deadline, fn, NULL, arg);
}

void smar_check_explain(struct smar_policy *p, const struct p_check *q, int64_t deadline,
    smar_verdict_fn fn, smar_trace_fn trace, void *arg)
{
	start(p, q, deadline, fn, trace, arg);
}
