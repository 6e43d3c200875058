/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.c -- the stages at which policy filters are asked about a session and its mail: what they
 * are told, the wait, and what becomes of a refusal.
 *
 * Comes from session.c (a client), verbs.c (HELO, what is no command), tx.c (MAIL, RCPT), body.c
 * and bdat.c (DATA) and judged.c (END); goes to chain.c, and back to who asked. Owns what filters
 * see of a session, struct meta1_pm_about. A session that no filter judges has none of this.
 * On failure: chain.c answers in any case, as the configuration says; text of a filter is one of a
 * stranger, and leaves as printable ASCII in lines of bounded number and length.
 */
#include "smtps/smtps.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_refused, "refused_filter_total", "Commands and mail refused by a policy filter.");

#define LINES_MAX  32 /* of a reply; the rest is left out */
#define PARAMS_MAX 24
#define OF_A_MAIL  (META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END | META1_PM_REFUSED)

struct smtps_filter {
	struct meta1_pm_about about;
	struct smtps_judging *judging;
	smtps_filtered_fn fn; /* what is asked now; NULL: nothing */
	bool inside;	      /* smtps_chain_ask() runs */
	bool mail;	      /* they know of a mail that is not over */
	struct meta1_pm_ask ask;
	struct meta1_tls tls;
	struct smtps_verdict verdict;
	struct meta1_buf param[PARAMS_MAX];
	char text[SMTPS_LINE_MAX]; /* of the parameters, or of an unknown command */
	char refused[520], msgid[512];
	const char *resolve; /* of the name, as smar said; NULL: it was not asked */
	char name[256], ptr[256];
	char hostname[256], author[ADDR_PATH_MAX + 1], local[SMTPS_CLIENT_SIZE];
	char listener[];
};

/* ---- what they know ---- */

static uint32_t address(int fd, int (*get)(int, struct sockaddr *, socklen_t *), char *out)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	if (get(fd, (struct sockaddr *)&ss, &len) < 0)
		return 0;
	if (out != NULL)
		conn_addr_text((struct sockaddr *)&ss, out, SMTPS_CLIENT_SIZE);
	if (ss.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return ss.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&ss)->sin6_port) : 0;
}

static void know_tls(struct smtps_session *s)
{
	const struct tls_info *i = conn_tls_info(s->conn);
	struct smtps_filter *f = s->filter;

	f->about.tls = NULL;
	f->about.tls_verify = NULL;
	if (i == NULL)
		return;
	f->tls = (struct meta1_tls){.size = sizeof(f->tls),
	    .bits = (uint32_t)i->bits,
	    .version = i->version,
	    .cipher = i->cipher,
	    .trusted = !s->disowned && i->cert == TLS_CERT_GOOD,
	    .why = i->cert == TLS_CERT_NONE ? "no certificate" : i->why,
	    .subject = s->disowned ? NULL : i->subject,
	    .issuer = s->disowned ? NULL : i->issuer};
	f->about.tls = &f->tls;
	f->about.tls_verify = tls_info_verify(i);
}

/* The value of a parameter of MAIL, from the line that said it. */
static const char *author(struct smtps_filter *f, const struct smtps_tx *tx)
{
	static const char name[] = "AUTH=";
	size_t n = sizeof(name) - 1;

	for (uint32_t i = 0; i < f->ask.nparam && f->ask.stage == META1_PM_MAIL; i++)
		if (f->param[i].len > n && strncasecmp(f->param[i].data, name, n) == 0)
			reply_ascii((const char *)f->param[i].data + n, f->param[i].len - n,
			    f->author, sizeof(f->author));
	return tx != NULL && f->author[0] != '\0' ? f->author : NULL;
}

/* What smar said with a verdict is newer than what it said before the greeting. */
static void know_name(struct smtps_session *s)
{
	struct smtps_filter *f = s->filter;

	f->about.name = s->name != NULL ? s->name : f->name[0] != '\0' ? f->name : NULL;
	f->about.resolve = s->name != NULL ? "OK" : f->resolve;
	f->about.ptr = s->name != NULL ? s->name : f->ptr[0] != '\0' ? f->ptr : NULL;
}

/* Up to date, before each word to the chain: nothing in it is older than the session is. */
static void know(struct smtps_session *s)
{
	struct smtps_filter *f = s->filter;
	struct meta1_pm_about *a = &f->about;
	const struct smtps_tx *tx = s->tx;

	str_copy(f->hostname, sizeof(f->hostname), s->gear->hostname);
	know_name(s);
	a->helo = s->helo;
	a->auth_user = s->proof.auth;
	a->auth_mech = s->proof.auth != NULL ? smtps_auth_mech(s) : NULL;
	if (s->conn != NULL)
		know_tls(s);
	else
		a->tls = NULL;
	a->auth_author = author(f, tx);
	a->taid = tx != NULL && tx->id[0] != '\0' ? tx->id : NULL;
	a->mailflags = tx != NULL ? tx->flags : 0;
	a->nrcpt = tx != NULL ? tx->ntaken : 0;
	a->nbad = tx != NULL ? tx->asked - tx->ntaken : 0;
	if (tx != NULL && (f->ask.stage & (META1_PM_RCPT | META1_PM_REFUSED)) != 0 && a->nbad > 0)
		a->nbad--; /* the one that is asked about */
	a->from = tx != NULL ? tx->from : buf_of(NULL, 0);
	if (f->ask.stage != META1_PM_END) {
		a->msgid = NULL;
		a->hops = 0;
	}
}

/* ---- the session ---- */

static bool begin(struct smtps_session *s)
{
	const char *name = smtps_listen_name(s->srv, s->listener);
	struct smtps_filter *f = base_alloc(sizeof(*f) + strlen(name) + 1);

	strcpy(f->listener, name);
	s->filter = f;
	f->about = (struct meta1_pm_about){.size = sizeof(f->about),
	    .port = s->proxied ? 0 : address(conn_fd(s->conn), getpeername, NULL),
	    .serial = s->serial,
	    .hostname = f->hostname,
	    .version = "meta1-" PACKAGE_VERSION,
	    .listener = f->listener,
	    .local = f->local,
	    .local_port = address(conn_fd(s->conn), getsockname, f->local),
	    .client = s->client};
	know(s);
	f->judging = smtps_chain_begin(s->gear->chain, &f->about);
	if (f->judging != NULL)
		return true;
	smtps_filter_end(s);
	return false;
}

/* 220, and all is as after the connect. */
static void greet(struct smtps_session *s)
{
	s->state = ST_OPEN;
	smtps_session_reply(s, 220, NULL, "%s ESMTP meta1-%s", s->gear->hostname, PACKAGE_VERSION);
}

static void connected(struct smtps_session *s, const struct smtps_answer *a)
{
	if (smtps_filter_refused(s, a))
		smtps_session_end(s);
	else
		greet(s);
}

static void ask_connect(struct smtps_session *s)
{
	smtps_filter_ask(s, META1_PM_CONNECT, buf_str(""), connected);
}

static void named(void *arg, const void *msg)
{
	static const char *const words[] = {[RESOLVE_OK] = "OK",
	    [RESOLVE_FAIL] = "FAIL",
	    [RESOLVE_FORGED] = "FORGED",
	    [RESOLVE_TEMP] = "TEMP"};
	const struct p_client_name_is *m = msg;
	struct smtps_session *s = arg;
	struct smtps_filter *f = s->filter;

	smtps_session_awake(s);
	f->resolve = m != NULL && m->resolve < ARRAY_LEN(words) ? words[m->resolve] : "TEMP";
	if (m != NULL) {
		reply_ascii(m->name.data, m->name.len, f->name, sizeof(f->name));
		reply_ascii(m->ptr.data, m->ptr.len, f->ptr, sizeof(f->ptr));
	}
	ask_connect(s);
	smtps_session_run(s);
}

/* This machine is no business of the DNS. */
static bool loopback(const char *client)
{
	return strncmp(client, "127.", 4) == 0 || strcmp(client, "::1") == 0;
}

/* true: the name of the client is asked for, and named() comes. */
static bool ask_name(struct smtps_session *s)
{
	struct smtps_filter *f = s->filter;
	struct p_client_name q = {.client = buf_str(s->client)};
	uint32_t req = 0;

	if (strcmp(s->client, "unix") == 0 || strcmp(s->client, SMTPS_CLIENT_UNKNOWN) == 0)
		return false;
	if (loopback(s->client)) {
		f->resolve = "OK";
		strcpy(f->name, "localhost");
		strcpy(f->ptr, f->name);
		return false;
	}
	f->resolve = "TEMP";
	if (s->srv->smar != NULL)
		req = chan_ask(s->srv->smar, P_CLIENT_NAME, &q, 0, named, s);
	if (req == 0)
		return false;
	smtps_session_await(s, AWAIT_NAME);
	s->await.req = req;
	return true;
}

/* Who wants to hear of the client wants its name too; where nobody does nobody waits for it. */
void smtps_filter_connect(struct smtps_session *s)
{
	smtps_filter_end(s); /* XCLIENT: another client than before */
	if (s->gear->chain == NULL || !begin(s)) {
		greet(s);
		return;
	}
	s->state = ST_GREET;
	if (!smtps_filter_wants(s, META1_PM_CONNECT) || !ask_name(s))
		ask_connect(s);
}

void smtps_filter_reset(struct smtps_session *s)
{
	struct smtps_filter *f = s->filter;

	if (s->await.what == AWAIT_FILTER)
		smtps_session_awake(s);
	if (f == NULL || f->judging == NULL || (f->fn == NULL && !f->mail))
		return;
	f->fn = NULL;
	f->mail = false;
	f->ask.stage = 0;
	know(s);
	smtps_chain_reset(f->judging);
	f->author[0] = '\0';
	f->about.from = buf_of(NULL, 0); /* the transaction goes */
	f->about.taid = f->about.auth_author = NULL;
}

void smtps_filter_end(struct smtps_session *s)
{
	struct smtps_filter *f = s->filter;

	if (f == NULL)
		return;
	if (f->judging != NULL)
		smtps_chain_end(&f->judging);
	free(f);
	s->filter = NULL;
}

size_t smtps_filter_held(const struct smtps_session *s)
{
	const struct smtps_filter *f = s->filter;

	return f == NULL || f->judging == NULL ? 0 : sizeof(*f) + smtps_chain_held(f->judging);
}

/* ---- a question ---- */

static void answered(void *arg, const struct smtps_answer *a)
{
	struct smtps_session *s = arg;
	struct smtps_filter *f = s->filter;
	smtps_filtered_fn fn = f->fn;
	bool inside = f->inside;

	f->fn = NULL;
	smtps_session_awake(s);
	fn(s, a);
	if (!inside)
		smtps_session_run(s);
}

/* Conditions of filters are about what is known now, whoever was asked before. */
bool smtps_filter_wants(struct smtps_session *s, uint32_t stage)
{
	if (s->filter == NULL)
		return false;
	know(s);
	return smtps_chain_wants(s->filter->judging, stage);
}

static void ask(struct smtps_session *s, unsigned room, smtps_filtered_fn fn)
{
	struct smtps_filter *f = s->filter;

	know(s);
	f->fn = fn;
	f->mail = f->mail || (f->ask.stage & OF_A_MAIL) != 0;
	f->inside = true;
	smtps_session_await(s, AWAIT_FILTER);
	smtps_chain_ask(f->judging, &f->ask, room, answered, s);
	f->inside = false;
}

void smtps_filter_ask(
    struct smtps_session *s, uint32_t stage, struct meta1_buf arg, smtps_filtered_fn fn)
{
	static const struct smtps_answer nothing = {.action = META1_PM_CONTINUE};
	struct smtps_filter *f = s->filter;

	if (!smtps_filter_wants(s, stage)) {
		fn(s, &nothing);
		return;
	}
	if (stage == META1_PM_UNKNOWN) {
		arg.len = arg.len < sizeof(f->text) ? arg.len : sizeof(f->text);
		memcpy(f->text, arg.data, arg.len);
		arg.data = f->text;
	}
	f->ask = (struct meta1_pm_ask){.size = sizeof(f->ask),
	    .stage = stage,
	    .arg = arg,
	    .param = f->param,
	    .nparam = f->ask.nparam};
	if ((stage & (META1_PM_MAIL | META1_PM_RCPT | META1_PM_REFUSED)) == 0)
		f->ask.nparam = 0;
	if (stage == META1_PM_REFUSED) {
		snprintf(f->refused, sizeof(f->refused), "%03d %s%s%s", f->verdict.smtp,
		    f->verdict.dsn, f->verdict.dsn[0] != '\0' ? " " : "", f->verdict.text);
		f->ask.refused = f->refused;
	}
	ask(s, 0, fn);
}

void smtps_filter_params(struct smtps_session *s, const char *p, size_t len)
{
	struct smtps_filter *f = s->filter;
	size_t i = 0, from;

	if (f == NULL)
		return;
	f->ask.nparam = 0;
	len = len < sizeof(f->text) ? len : sizeof(f->text);
	memcpy(f->text, p, len);
	while (i < len && f->ask.nparam < PARAMS_MAX) {
		while (i < len && f->text[i] == ' ')
			i++;
		for (from = i; i < len && f->text[i] != ' ';)
			i++;
		if (i > from)
			f->param[f->ask.nparam++] = buf_of(f->text + from, i - from);
	}
}

/* The value of Message-Id, for people: what is not ASCII is '?'. */
static const char *message_id(struct smtps_filter *f, const struct meta1_pm_message *m)
{
	static const char name[] = "\nmessage-id:";
	const struct meta1_extent *e = m->extent;
	const char *p, *end, *v, *stop;

	if (m->nextent == 0 || e->mem == NULL)
		return NULL;
	p = e->mem;
	end = p + (m->header < e->len ? m->header : e->len);
	while (p < end) {
		size_t n = sizeof(name) - 2;
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		if ((size_t)(end - p) > n && strncasecmp(p, name + 1, n) == 0) {
			for (v = p + n; v < end && (*v == ' ' || *v == '\t'); v++)
				;
			for (stop = v; stop < end && *stop != '\r' && *stop != '\n';)
				stop++;
			reply_ascii(v, (size_t)(stop - v), f->msgid, sizeof(f->msgid));
			return f->msgid;
		}
		p = lf != NULL ? lf + 1 : end;
	}
	return NULL;
}

void smtps_filter_ask_end(struct smtps_session *s, const struct meta1_pm_ask *q, uint32_t hops,
    unsigned room, smtps_filtered_fn fn)
{
	struct smtps_filter *f = s->filter;

	f->ask = *q;
	f->about.hops = hops;
	f->about.msgid = message_id(f, q->msg);
	ask(s, room, fn);
}

/* ---- a refusal ---- */

void smtps_filter_keep(struct smtps_session *s, const struct smtps_verdict *v)
{
	struct smtps_verdict *kept = &s->filter->verdict;

	*kept = *v;
	kept->more = NULL; /* what is not v's own goes with it */
	kept->rule = kept->name = kept->spf_why = buf_of(NULL, 0);
}

const struct smtps_verdict *smtps_filter_kept(const struct smtps_session *s)
{
	return &s->filter->verdict;
}

static void say(struct smtps_session *s, int code, const char *dsn, const struct smtps_answer *a)
{
	unsigned i, n = a->nline < LINES_MAX ? a->nline : LINES_MAX;
	char text[480];

	if (n == 0)
		smtps_session_reply(s, code, dsn, "%s",
		    code >= 500 ? "Refused by policy" : "Not taken now, try again later");
	for (i = 0; i < n; i++) {
		reply_ascii(a->line[i].data, a->line[i].len, text, sizeof(text));
		if (i + 1 < n)
			conn_printf(s->conn, "%03d-%s%s%s\r\n", code, dsn != NULL ? dsn : "",
			    dsn != NULL ? " " : "", text);
		else
			smtps_session_reply(s, code, dsn, "%s", text);
	}
}

static const char *stage_name(uint32_t stage)
{
	static const char *const names[] = {
	    "connect", "helo", "mail", "rcpt", "data", "end", "unknown", "refused"};

	return stage != 0 ? names[__builtin_ctz(stage) % ARRAY_LEN(names)] : "-";
}

bool smtps_filter_refused(struct smtps_session *s, const struct smtps_answer *a)
{
	struct meta1_buf first = a->nline > 0 ? a->line[0] : buf_str("");
	int code = a->smtp >= 400 && a->smtp <= 599 ? a->smtp : 550;
	char dsn[12], text[401];

	if (a->action != META1_PM_REFUSE)
		return false;
	if (s->report != NULL && a->failed && code >= 500)
		code = 451; /* of a client's mail its sender hears; of a report nobody would */
	reply_ascii(first.data, first.len, text, sizeof(text));
	if (code != a->smtp || reply_dsn(code, a->dsn, dsn) == 0)
		str_copy(dsn, sizeof(dsn), code >= 500 ? "5.7.1" : "4.7.1");
	m_refused.value++;
	log_event(LOG_L_INFO, "smtps.filter_refused",
	    SMTPS_WHO " stage=%s filter=%s reply=%d dsn=%s text=%s", SMTPS_WHO_OF(s),
	    stage_name(s->filter->ask.stage), a->by != NULL ? a->by : "-", code, dsn, text);
	if (s->report != NULL)
		smtps_session_reply(s, code, dsn, "%sfilter %s: %s", a->failed ? "failed " : "",
		    a->by != NULL ? a->by : "-", text);
	else
		say(s, code, a->dsn[0] != '\0' || a->smtp != code ? dsn : NULL, a);
	if (code == 421)
		smtps_session_end(s);
	return true;
}
