/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c -- a session: what its frames say, the filter's callbacks, the verdicts.
 *
 * Comes from link.c, one frame at a time, on the loop or on a worker; goes to the filter, and out
 * by lpm_edit_send(). Owns what is known of the session. The message is told chunk by chunk, each
 * acknowledged when the callback is back. On failure: a callback that says nonsense is taken as
 * 451.
 */
#include "lib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS_MAX 64

struct args { /* of a question */
	char *text;
	const char *arg;
	const char *param[PARAMS_MAX + 1];
	unsigned nparam;
};

static char *text_of(const struct meta1_pmw_field_of *v)
{
	char *p = malloc(v->len + 1);

	if (p) {
		memcpy(p, v->at, v->len);
		p[v->len] = '\0';
	}
	return p;
}

static void set_text(char **to, const struct meta1_pmw_field_of *v)
{
	free(*to);
	*to = text_of(v);
}

/* ---- life ---- */

pmse_ctx_P lpm_session_new(pmss_ctx_P l, struct meta1_pmw_frame *f)
{
	pmse_ctx_P s = calloc(1, sizeof(*s));
	struct meta1_pmw_field_of v;

	if (s && l->g->pool)
		s->out = evbuffer_new();
	if (!s || (l->g->pool && !s->out)) {
		free(s);
		return NULL;
	}
	s->link = l;
	s->id = f->session;
	s->last = &s->first;
	s->wants = l->stages;
	s->info.size = sizeof(s->info);
	while (meta1_pmw_next(f, &v)) {
		if (v.field == META1_PMW_F_SERIAL)
			set_text(&s->serial, &v);
		else if (v.field == META1_PMW_F_CLIENT)
			set_text(&s->client, &v);
		else if (v.field == META1_PMW_F_NAME)
			set_text(&s->name, &v);
		else if (v.field == META1_PMW_F_LISTENER)
			set_text(&s->listener, &v);
		else if (v.field == META1_PMW_F_PORT)
			s->info.port = (uint32_t)meta1_pmw_value(&v);
	}
	s->info.serial = s->serial;
	s->info.client = s->client;
	s->info.name = s->name;
	s->info.listener = s->listener;
	return s;
}

void lpm_session_free(pmse_ctx_P *sp)
{
	pmse_ctx_P s = *sp;

	*sp = NULL;
	lpm_edit_forget(s);
	lpm_edit_drop(&s->early_reply);
	lpm_edit_drop(&s->standing_reply);
	free(s->note);
	for (unsigned i = 0; i < META1_PMM_MAX; i++)
		free(s->macro[i]);
	free(s->serial);
	free(s->client);
	free(s->name);
	free(s->listener);
	free(s->helo);
	free(s->now);
	if (s->out)
		evbuffer_free(s->out);
	free(s);
}

/* ---- verdicts ---- */

static void put_lines(struct meta1_pmw_out *o, const char *text)
{
	for (unsigned n = 0; text && *text && n < META1_PMW_LINE_MAX; n++) {
		size_t len = strcspn(text, "\n"), keep = len;

		while (keep && text[keep - 1] == '\r')
			keep--;
		meta1_pmw_put(o, META1_PMW_F_LINE, text, keep);
		text += len + (text[len] == '\n');
	}
}

static uint32_t action_of(sfsistat_T r)
{
	return r == SMTP_R_CONT || r == SMTP_R_OK ? META1_PM_CONTINUE
	       : r == SMTP_R_ACCEPT		  ? META1_PM_ACCEPT
	       : r == SMTP_R_DISCARD		  ? META1_PM_DISCARD
						  : META1_PM_REFUSE;
}

/* Said before the end of the mail, where it holds, with its reply: callbacks that come until then
 * may set another. The first word holds; of connect or helo it is that of every mail. */
static void said_early(pmse_ctx_P s, sfsistat_T r)
{
	if (!s->mail && !s->standing) {
		s->standing = r;
		lpm_edit_keep(s, &s->standing_reply);
		s->early_stands = !s->early;
		s->early = s->early ? s->early : r;
	} else if (!s->early) {
		s->early = r;
		s->early_stands = 0;
		lpm_edit_keep(s, &s->early_reply);
	}
}

static sfsistat_T early(pmse_ctx_P s)
{
	lpm_edit_use(s, s->early_stands ? &s->standing_reply : &s->early_reply);
	return s->early;
}

/* The next mail begins with what stands. */
static void forget_early(pmse_ctx_P s)
{
	s->early = s->standing;
	s->early_stands = 1;
	lpm_edit_drop(&s->early_reply);
}

/* Nobody waits for a word; if it is not that all goes on, it holds at the end of the mail. */
static void quiet(pmse_ctx_P s, sfsistat_T r)
{
	if (action_of(r) != META1_PM_CONTINUE)
		said_early(s, r);
	lpm_edit_drop(&s->reply);
	s->stage = 0;
}

void lpm_session_answer(pmse_ctx_P s, sfsistat_T r)
{
	unsigned char buf[META1_PMW_FRAME_MAX];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_VERDICT, s->id);
	const struct reply *reply = &s->reply;
	uint32_t action = action_of(r);

	if (s->link->quiet & s->stage) {
		quiet(s, r);
		return;
	}
	if (action == META1_PM_REFUSE && (r < 400 || r > 599)) {
		lpm_debug(s->link->g, 1, "a callback says %d, which is no verdict: taken as %d", r,
		    SMTP_R_TEMP);
		r = SMTP_R_TEMP;
	}
	meta1_pmw_num(&o, META1_PMW_F_ACTION, action, 1);
	if (action == META1_PM_REFUSE && *reply->rcode && reply->rcode[0] - '0' == r / 100) {
		meta1_pmw_num(&o, META1_PMW_F_CODE, (uint64_t)atoi(reply->rcode), 2);
		meta1_pmw_text(&o, META1_PMW_F_DSN, *reply->dsn ? reply->dsn : NULL);
		put_lines(&o, reply->text);
	} else if (action == META1_PM_REFUSE) {
		meta1_pmw_num(&o, META1_PMW_F_CODE, (uint64_t)r, 2);
	}
	if (s->stage == META1_PM_END)
		meta1_pmw_text(&o, META1_PMW_F_HOLD, s->hold);
	meta1_pmw_text(&o, META1_PMW_F_NOTE, s->note);
	meta1_pmw_num(&o, META1_PMW_F_WANTS, s->wants, 4);
	lpm_edit_send(s, &o);
	if (s->stage == META1_PM_END) {
		s->mail = 0;
		forget_early(s);
	}
	s->stage = 0;
	lpm_edit_forget(s);
	free(s->note);
	s->note = NULL;
}

/* ---- a new message ---- */

/* As much of it as the server has room for. */
static void replace(pmse_ctx_P s)
{
	const struct pmilter_S *f = s->link->g->filter;
	unsigned char buf[META1_PMW_CHUNK_MAX + META1_PMW_HEAD + 4];
	sm_ret_T r = SM_SUCCESS;

	while (s->replacing && s->untaken < s->link->window) {
		struct meta1_pmw_out o =
		    meta1_pmw_begin(buf, sizeof(buf), META1_PMW_REPLACE, s->id);
		size_t n = s->link->window - s->untaken;

		if (!s->partlen)
			r = f->pmfi_msg_rplc ? f->pmfi_msg_rplc(s, &s->part, &s->partlen) : -1;
		if (sm_is_err(r) || (!s->partlen && s->replaced)) {
			s->replacing = 0;
			break;
		}
		if (n > META1_PMW_CHUNK_MAX)
			n = META1_PMW_CHUNK_MAX;
		if (n > s->partlen)
			n = s->partlen;
		meta1_pmw_put(&o, META1_PMW_F_DATA, s->part, n);
		r = lpm_edit_send(s, &o);
		if (sm_is_err(r)) { /* never a message with a hole */
			s->replacing = 0;
			break;
		}
		s->part += n;
		s->partlen -= n;
		s->untaken += (uint32_t)n;
		s->replaced = 1;
	}
	if (s->replacing)
		return;
	if (f->pmfi_msg_rplc_stat)
		f->pmfi_msg_rplc_stat(s, r);
	lpm_session_answer(s, sm_is_err(r) ? SMTP_R_TEMP : SMTP_R_CONT);
}

/* The callback said r. */
static void say(pmse_ctx_P s, sfsistat_T r)
{
	if (r == SMTP_R_LATER) {
		s->later = 1;
	} else if (r == SMTP_R_RPLCMSG && s->stage == META1_PM_END) {
		s->replacing = 1;
		s->replaced = 0;
		s->partlen = 0;
		replace(s);
	} else {
		lpm_session_answer(s, r);
	}
}

/* While a callback runs, on a worker or right here, nobody can say yet whether it says LATER. */
sm_ret_T sm_pmfi_answer(pmse_ctx_P s, sfsistat_T r)
{
	pmg_ctx_P g = s->link->g;

	if (r == SMTP_R_LATER || (s->busy ? s->given : !s->later))
		return -EINVAL;
	s->given = 1;
	s->answer = r;
	if (s->busy)
		return SM_SUCCESS;
	s->busy = 1;
	lpm_link_done(s);
	lpm_io_flush_all(g);
	return SM_SUCCESS;
}

void lpm_session_back(pmse_ctx_P s)
{
	int given = s->given && s->later;

	s->given = 0;
	if (!given)
		return;
	s->later = 0;
	say(s, s->answer);
	s->given = 0; /* by a callback that was called for it */
}

/* ---- frames ---- */

static void take_macro(pmse_ctx_P s, struct meta1_pmw_field_of *v)
{
	uint64_t m = v->len < 2 ? 0 : meta1_pmw_load(v->at, 2);

	if (m == 0 || m >= META1_PMM_MAX)
		return;
	v->at += 2;
	v->len -= 2;
	set_text(&s->macro[m], v);
}

/* false: no memory */
static int take_args(pmse_ctx_P s, struct meta1_pmw_frame *f, struct args *a)
{
	struct meta1_pmw_field_of v;
	char *p = malloc(f->len + 1);

	memset(a, 0, sizeof(*a));
	a->text = p;
	a->arg = "";
	s->info.refused = NULL;
	while (p && meta1_pmw_next(f, &v)) {
		if (v.field == META1_PMW_F_MACRO) {
			take_macro(s, &v);
			continue;
		}
		if (v.field == META1_PMW_F_NRCPT)
			s->info.nrcpt = (uint32_t)meta1_pmw_value(&v);
		else if (v.field == META1_PMW_F_NBAD)
			s->info.nbad = (uint32_t)meta1_pmw_value(&v);
		else if (v.field == META1_PMW_F_BYTES)
			s->info.bytes = meta1_pmw_value(&v);
		else if (v.field == META1_PMW_F_HEADER)
			s->info.header = meta1_pmw_value(&v);
		memcpy(p, v.at, v.len);
		p[v.len] = '\0';
		if (v.field == META1_PMW_F_ARG)
			a->arg = p;
		else if (v.field == META1_PMW_F_REFUSED)
			s->info.refused = p;
		else if (v.field == META1_PMW_F_PARAM && a->nparam < PARAMS_MAX)
			a->param[a->nparam++] = p;
		p += v.len + 1;
	}
	return a->text != NULL;
}

static sfsistat_T connected(pmse_ctx_P s, const struct pmilter_S *f)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->info.port)};
	struct sockaddr_in6 six = {
	    .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)s->info.port)};
	const sm_sockaddr_T *a = NULL;
	char literal[80];

	if (!f->pmfi_connect)
		return SMTP_R_CONT;
	snprintf(literal, sizeof(literal), "[%.70s]", s->client ? s->client : "");
	if (s->client && inet_pton(AF_INET, s->client, &sin.sin_addr) == 1)
		a = (const sm_sockaddr_T *)&sin;
	else if (s->client && inet_pton(AF_INET6, s->client, &six.sin6_addr) == 1)
		a = (const sm_sockaddr_T *)&six;
	return f->pmfi_connect(s, s->name ? s->name : literal, a);
}

static sfsistat_T question(pmse_ctx_P s, uint32_t type, const struct args *a)
{
	const struct pmilter_S *f = s->link->g->filter;

	switch (type) {
	case META1_PMW_CONNECT:
		s->stage = META1_PM_CONNECT;
		return connected(s, f);
	case META1_PMW_HELO:
		s->stage = META1_PM_HELO;
		free(s->helo);
		s->info.helo = s->helo = strdup(a->arg);
		return f->pmfi_helo ? f->pmfi_helo(s, a->arg) : SMTP_R_CONT;
	case META1_PMW_MAIL:
		s->stage = META1_PM_MAIL;
		s->mail = 1;
		return f->pmfi_mail ? f->pmfi_mail(s, a->arg, a->param) : SMTP_R_CONT;
	case META1_PMW_RCPT:
		s->stage = META1_PM_RCPT;
		s->mail = 1;
		return f->pmfi_rcpt ? f->pmfi_rcpt(s, a->arg, a->param) : SMTP_R_CONT;
	case META1_PMW_DATA:
		s->stage = META1_PM_DATA;
		s->mail = 1;
		return f->pmfi_data ? f->pmfi_data(s) : SMTP_R_CONT;
	case META1_PMW_END:
		s->stage = META1_PM_END;
		if (s->early)
			return early(s);
		return f->pmfi_eom ? f->pmfi_eom(s) : SMTP_R_CONT;
	default:
		s->stage = META1_PM_UNKNOWN;
		return f->pmfi_unknown ? f->pmfi_unknown(s, a->arg) : SMTP_R_CONT;
	}
}

static void chunk(pmse_ctx_P s, struct meta1_pmw_frame *f)
{
	const struct pmilter_S *fi = s->link->g->filter;
	unsigned char buf[64];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_MORE, s->id);
	struct meta1_pmw_field_of v;
	uint64_t n = 0;

	while (meta1_pmw_next(f, &v)) {
		if (v.field != META1_PMW_F_DATA)
			continue;
		n += v.len;
		if (!s->early && fi->pmfi_msg) {
			sfsistat_T r = fi->pmfi_msg(s, v.at, v.len);

			if (r != SMTP_R_CONT && r != SMTP_R_OK)
				said_early(s, r);
		}
	}
	meta1_pmw_num(&o, META1_PMW_F_BYTES, n, 4);
	lpm_edit_send(s, &o);
	if (!s->early || s->enough)
		return;
	s->enough = 1;
	o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_ENOUGH, s->id);
	lpm_edit_send(s, &o);
}

static void over(pmse_ctx_P s)
{
	const struct pmilter_S *f = s->link->g->filter;

	if (s->mail && f->pmfi_abort)
		f->pmfi_abort(s);
	s->mail = s->replacing = s->enough = 0;
	forget_early(s);
	s->stage = 0;
	lpm_edit_forget(s);
	s->info.nrcpt = s->info.nbad = 0;
	s->info.bytes = s->info.header = 0;
	/* those of a mail: AUTH_AUTHOR, TAID, MSGID, C */
	for (unsigned m = META1_PMM_AUTH_AUTHOR; m <= META1_PMM_C; m++) {
		free(s->macro[m]);
		s->macro[m] = NULL;
	}
}

static void taken(pmse_ctx_P s, const struct meta1_pmw_frame *f)
{
	struct meta1_pmw_frame copy = *f;
	struct meta1_pmw_field_of v;

	while (meta1_pmw_next(&copy, &v))
		if (v.field == META1_PMW_F_BYTES) {
			uint64_t n = meta1_pmw_value(&v);

			s->untaken -= n < s->untaken ? (uint32_t)n : s->untaken;
		}
	if (s->replacing)
		replace(s);
}

static void run(pmse_ctx_P s, struct meta1_pmw_frame *f)
{
	const struct pmilter_S *fi = s->link->g->filter;
	struct args a;

	switch (f->type) {
	case META1_PMW_CHUNK:
		chunk(s, f);
		return;
	case META1_PMW_TAKEN:
		taken(s, f);
		return;
	case META1_PMW_RESET:
		over(s);
		return;
	case META1_PMW_CLOSE:
		over(s);
		if (fi->pmfi_close)
			fi->pmfi_close(s);
		s->closed = 1;
		return;
	default:
		break;
	}
	if (!take_args(s, f, &a)) {
		say(s, SMTP_R_TEMP);
		return;
	}
	if (f->type == META1_PMW_CONTENT) {
		s->mail = 1;
		s->enough = 0;
	} else {
		say(s, question(s, f->type, &a));
	}
	s->info.refused = NULL;
	free(a.text);
}

void lpm_session_run(pmse_ctx_P s, const void *frame, size_t len)
{
	struct meta1_pmw_frame f;

	if (meta1_pmw_frame(frame, len, &f) > 0)
		run(s, &f);
}
