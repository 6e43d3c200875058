/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_transport.c -- sessions of smtpc with next hops, by the transport of this worker, which
 * makes the connections, and their TLS with the files of smtpc's section tls.
 * Comes from worker.c with frames; goes to the module's open(), send(), shut(). Owns sessions, and
 * each question with hop or mail until it is answered. On failure: as the transport says; a
 * question of no session is nonsense, the role's end.
 */
#include "mod/worker.h"

#include "lib/tls.h"
#include "mod/iso_bytes.h"

#include <meta1/transport.h>
#include <stdlib.h>
#include <unistd.h>

struct session {
	UT_hash_handle hh;
	uint32_t id;
	void *sess;
	uint32_t ask; /* number of the question under way; 0: none */
};
struct question { /* of one worker_ask */
	struct worker_given given;
	struct session *s;
	struct meta1_mail mail; /* valid until the module has finished it */
	bool lost;		/* a result could not be told */
};

static const struct meta1_transport_ops *ops_of(const struct worker *w)
{
	return w->in->m->ops;
}

static struct session *find(struct worker *w, uint32_t id)
{
	struct session *all = w->state, *s;

	HASH_FIND(hh, all, &id, sizeof(id), s);
	return s;
}

static struct session *session_new(struct worker *w, uint32_t id)
{
	struct session *all = w->state, *s;

	if (find(w, id))
		return NULL;
	s = base_alloc(sizeof(*s));
	s->id = id;
	HASH_ADD(hh, all, id, sizeof(s->id), s);
	w->state = all;
	return s;
}

static void session_end(struct worker *w, struct session *s)
{
	struct session *all = w->state;

	HASH_DEL(all, s);
	w->state = all;
	if (s->sess)
		ops_of(w)->shut(&s->sess);
	free(s);
}

/* The question under way; a cancelled one is none. */
static struct worker_ask *busy(struct worker *w, const struct session *s)
{
	return s->ask ? worker_asked(w, s->ask) : NULL;
}

/* ---- the answers ---- */

static void answer(struct worker_ask *a, enum meta1_status st, const struct meta1_reply *r)
{
	const struct meta1_transport_ops *o = ops_of(a->w);
	struct question *q = a->of;
	struct meta1_caps caps = {.size = sizeof(caps)};
	struct session *s = q->s;
	struct iso_tr_answer m = {.status = st, .reply = r};

	a->req = NULL;
	s->ask = 0;
	if (s->sess && st == META1_OK && META1_HAS(o, caps) && o->caps) {
		o->caps(s->sess, &caps);
		m.caps = &caps;
	}
	if (s->sess && META1_HAS(o, tls) && o->tls)
		m.tls = o->tls(s->sess);
	m.usable = s->sess && o->usable(s->sess);
	worker_send(a, &iso_shape_tr_answer, &m, NULL, 0);
}

static void opened(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	answer(arg, st, r);
}

static void on_rcpt(void *arg, uint32_t rcpt, enum meta1_status st, const struct meta1_reply *r)
{
	const struct iso_tr_rcpt m = {.rcpt = rcpt, .status = st, .reply = r};
	struct worker_ask *a = arg;
	struct question *q = a->of;

	if (!wire_send(a->w->wire, ISO_TR_RCPT, a->id, &iso_shape_tr_rcpt, &m, NULL, 0))
		q->lost = true;
}

/* Recipients whose result did not arrive would take this one: it must not be a success. */
static void sent(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	const struct meta1_reply lost = {
	    .size = sizeof(lost), .text = "a result could not be told to smtpc", .dsn = "4.3.0"};
	struct worker_ask *a = arg;
	struct question *q = a->of;

	answer(a, q->lost ? META1_TEMPFAIL : st, q->lost ? &lost : r);
}

/* ---- the questions: false: nonsense ---- */

static bool on_open(struct worker *w, struct wire_frame *f)
{
	struct iso_tr_open m;
	struct worker_ask *a = worker_given(w, f, &iso_shape_tr_open, &m, sizeof(struct question));
	struct question *q;
	struct session *s;

	if (!a)
		return false;
	q = a->of;
	s = m.hop && m.hop->host && m.hop->addr ? session_new(w, m.session) : NULL;
	if (!s)
		return false;
	q->s = s;
	s->ask = a->id;
	worker_begin(a, m.ms, opened);
	ops_of(w)->open(w->in->data, a->req, m.hop, &s->sess);
	return true;
}

static void fill_mail(
    struct meta1_mail *to, const struct iso_tr_send *m, const struct meta1_extent *content)
{
	*to = (struct meta1_mail){.size = sizeof(*to),
	    .nrcpt = m->nrcpt,
	    .sizeof_rcpt = sizeof(struct meta1_rcpt),
	    .flags = m->flags,
	    .id = m->id,
	    .from = m->from,
	    .rcpt = m->rcpt,
	    .extent = content,
	    .nextent = m->npiece,
	    .bytes = m->bytes,
	    .envid = m->envid,
	    .without = m->without};
}

/* The hop has gone since the role thought it was there: another session, the mail was not said. */
static void not_there(struct worker_ask *a)
{
	const struct meta1_reply r = {
	    .size = sizeof(r), .text = "the session is over", .scope = META1_ABOUT_SESSION};

	answer(a, META1_TEMPFAIL, &r);
}

static bool on_send(struct worker *w, struct wire_frame *f)
{
	struct iso_tr_send m;
	struct worker_ask *a = worker_given(w, f, &iso_shape_tr_send, &m, sizeof(struct question));
	const struct meta1_extent *content;
	struct question *q;
	struct session *s;

	if (!a)
		return false;
	q = a->of;
	content = iso_bytes_get(m.piece, m.npiece, q->given.fd, q->given.nfd, NULL, &q->given.pool);
	s = find(w, m.session);
	if (!content || !s || busy(w, s) || !m.id || !m.nrcpt)
		return false;
	q->s = s;
	s->ask = a->id;
	fill_mail(&q->mail, &m, content);
	if (!s->sess || !ops_of(w)->usable(s->sess)) {
		not_there(a);
		return true;
	}
	worker_begin(a, m.ms, sent);
	mod_req_rcpts(a->req, on_rcpt, m.nrcpt);
	ops_of(w)->send(s->sess, a->req, &q->mail);
	return true;
}

/* What the hop may have is waited for, the rest was no try. */
static void give_up(struct worker *w, struct session *s)
{
	const struct meta1_transport_ops *o = ops_of(w);
	const struct meta1_reply r = {
	    .size = sizeof(r), .text = "smtpc stops", .scope = META1_ABOUT_SESSION};
	const struct iso_tr_answer m = {.status = META1_CANCELED, .reply = &r};
	struct worker_ask *a = busy(w, s);

	if (!a || (s->sess && META1_HAS(o, past_dot) && o->past_dot && o->past_dot(s->sess)))
		return;
	s->ask = 0;
	worker_give_up(a, &iso_shape_tr_answer, &m);
}

static bool on_session(struct worker *w, struct wire_frame *f)
{
	uint32_t id;
	struct session *s = worker_session(f, &id) ? find(w, id) : NULL;

	if (s && f->type == ISO_TR_SHUT)
		session_end(w, s);
	else if (s)
		give_up(w, s);
	return s != NULL;
}

static int frame(struct worker *w, struct wire_frame *f)
{
	if (f->type == ISO_TR_OPEN)
		return on_open(w, f) ? 1 : -1;
	if (f->type == ISO_TR_SEND)
		return on_send(w, f) ? 1 : -1;
	if (f->type == ISO_TR_STOP || f->type == ISO_TR_SHUT)
		return on_session(w, f) ? 1 : -1;
	return 0;
}

static void end(struct worker *w)
{
	while (w->state)
		session_end(w, w->state);
}

/* ---- opening ---- */

static const char *const *names(struct pool *pool, const struct meta1_buf *b, uint32_t n)
{
	const char **list = pool_try(pool, (n + 1) * sizeof(*list));

	for (uint32_t k = 0; list && k < n; k++)
		list[k] = b[k].data ? b[k].data : ""; /* a NUL is behind it */
	return list;
}

/* One that delivers on this host needs none, and so none of its files. */
static int open_tls(struct worker *w, const struct iso_open *m, struct meta1_err *err)
{
	const struct iso_tls *t = m->tls;
	struct set_tls set;
	struct tls_ctx *ctx;

	if (!t || ops_of(w)->props & META1_T_LOCAL)
		return 0;
	set = (struct set_tls){.cert_file = names(&w->pool, t->cert, t->ncert),
	    .key_file = names(&w->pool, t->key, t->nkey),
	    .CAcert_file = t->ca_file,
	    .CAcert_directory = t->ca_directory,
	    .CRL_file = t->crl_file,
	    .ciphers = t->ciphers};
	ctx = tls_ctx_new(&set, false, w->work, err);
	if (!ctx)
		return -1;
	mod_tls(w->in, ctx);
	tls_ctx_free(&ctx);
	return 0;
}

static void tell(struct worker *w, struct iso_opened *said)
{
	const struct meta1_transport_ops *o = ops_of(w);

	said->props = o->props;
	said->heeds = META1_HAS(o, heeds) ? o->heeds : 0;
}

const struct worker_kind worker_transport = {
    .kind = META1_TRANSPORT, .frame = frame, .end = end, .opened = open_tls, .tell = tell};
