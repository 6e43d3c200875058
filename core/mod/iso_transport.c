/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_transport.c -- a transport whose module runs in a worker, which makes the connections too.
 * The worker gets hop and envelope, and the content without the store's file, where other mail may
 * stand; no credentials.
 * Comes from smtpc; goes to iso_ask.c, content by iso_copy.c and iso_bytes.c. Owns sessions, with
 * what the worker said of each. On failure: a temporary failure, of the mail when the worker ended
 * while it had it (it may be the mail's doing, and others should not wait for it), else of the
 * place; sessions of a worker that ended are of no more use.
 */
#include "mod/iso.h"
#include "mod/iso_bytes.h"

#include <meta1/transport.h>
#include <stdlib.h>

struct session {
	struct iso *iso;
	uint32_t id, life;
	bool begun; /* the worker knows it */
	bool usable, stopping;
	struct meta1_req *mail; /* of send(); NULL: none is under way */
	bool copying;		/* its content, before it is with the worker */
	const struct meta1_mail *sends;
	uint8_t *seen; /* bit a recipient: its result came; memory of the request */
	uint32_t nrcpt;
	struct meta1_caps caps; /* size 0: not known */
	char tls[256];
};
struct tls_set { /* of the worker's connections, as it is told of it */
	struct iso_tls tls;
	struct conf *keeps; /* whose texts these are */
	struct meta1_buf file[];
};

static bool alive(const struct session *s)
{
	return s->begun && s->life == s->iso->life && s->iso->state == ISO_UP;
}

static void finish(struct iso *i, struct meta1_req *rq, enum meta1_scope scope, const char *why)
{
	struct meta1_reply r = {
	    .size = sizeof(r), .text = why, .scope = (uint16_t)scope, .dsn = "4.3.0"};

	i->in->table.finish(rq, META1_TEMPFAIL, &r);
}

static void refused(struct iso *i, struct meta1_req *rq, void *of, const char *why)
{
	struct session *s = of;
	bool mail = s && s->mail == rq;

	if (mail)
		s->mail = NULL;
	finish(i, rq, mail ? META1_ABOUT_MAIL : META1_ABOUT_HOST, why);
}

/* ---- operations ---- */

static void open_session(void *inst, struct meta1_req *rq, const struct meta1_hop *hop, void **sess)
{
	struct iso *i = inst;
	struct session *s = base_alloc(sizeof(*s));
	const struct iso_tr_open m = {.session = ++i->sessions, .ms = iso_left(i, rq), .hop = hop};

	*s = (struct session){.iso = i, .id = m.session, .life = i->life};
	*sess = s;
	if (iso_put(i, rq, ISO_TR_OPEN, &iso_shape_tr_open, &m, NULL, 0, s))
		s->begun = true;
}

/* To the worker, with this content; copied: bytes that it has until it has answered. */
static void put_mail(struct session *s, struct meta1_req *rq, const struct meta1_extent *e,
    uint32_t n, uint64_t copied)
{
	const struct meta1_mail *mail = s->sends;
	struct iso *i = s->iso;
	struct iso_piece *piece = NULL;
	struct meta1_err err = {""};
	struct iso_bytes b;
	struct pool pool;
	struct iso_tr_send m = {.session = s->id,
	    .flags = mail->flags,
	    .without = mail->without,
	    .nrcpt = mail->nrcpt,
	    .npiece = n,
	    .ms = iso_left(i, rq),
	    .bytes = mail->bytes,
	    .id = mail->id,
	    .from = mail->from,
	    .envid = mail->envid,
	    .rcpt = mail->rcpt};

	iso_bytes_init(&b);
	pool_init(&pool, ISO_POOL_MAX);
	if (iso_bytes_put(&b, e, n, false, &pool, &piece, &err)) {
		m.piece = piece;
		s->mail = rq;
		if (iso_put(i, rq, ISO_TR_SEND, &iso_shape_tr_send, &m, b.fd, b.nfd, s))
			iso_charge(i, rq, copied);
	} else {
		iso_bytes_drop(&b);
		finish(i, rq, META1_ABOUT_MAIL, err.text);
	}
	pool_clear(&pool);
}

static const char gone[] = "its worker process ended";

static void copied(void *arg, struct meta1_req *rq, const struct meta1_extent *e, uint32_t n,
    uint64_t len, const struct meta1_err *err)
{
	struct session *s = arg;

	s->copying = false;
	if (err)
		finish(s->iso, rq, META1_ABOUT_MAIL, err->text);
	else if (!alive(s))
		finish(s->iso, rq, META1_ABOUT_SESSION, gone);
	else
		put_mail(s, rq, e, n, len);
}

static void send_mail(void *sess, struct meta1_req *rq, const struct meta1_mail *mail)
{
	struct session *s = sess;
	struct iso *i = s->iso;
	const struct meta1_extent *e = mail->extent;
	struct iso_bytes room;
	struct pool pool;

	s->seen = i->in->table.req_alloc(rq, (mail->nrcpt + 7) / 8);
	s->nrcpt = s->seen ? mail->nrcpt : 0;
	s->sends = mail;
	if (!alive(s) || !s->seen) {
		finish(i, rq, META1_ABOUT_SESSION, gone);
		return;
	}
	iso_bytes_init(&room);
	pool_init(&pool, ISO_POOL_MAX);
	if (iso_copy_now(&e, mail->nextent, &pool, &room)) {
		put_mail(s, rq, e, mail->nextent, 0);
	} else {
		s->copying = true;
		iso_copy_new(i, rq, mail->extent, mail->nextent, copied, s);
	}
	pool_clear(&pool);
}

static void cancel(void *inst, struct meta1_req *rq)
{
	struct session *s = iso_copy_cancel(inst, rq);

	if (s)
		s->copying = false;
	else
		iso_cancel(inst, rq);
}

static int usable(void *sess)
{
	struct session *s = sess;

	return alive(s) && s->usable;
}

static void tell(struct session *s, enum iso_type type)
{
	const struct iso_session m = {.session = s->id};

	if (alive(s))
		wire_send(s->iso->wire, (uint16_t)type, 0, &iso_shape_session, &m, NULL, 0);
}

/* The worker alone knows: it is told to give up what it can, and answers in any case. */
static int past_dot(void *sess)
{
	struct session *s = sess;

	if (s->copying)
		return 0;
	if (!s->stopping)
		tell(s, ISO_TR_STOP);
	s->stopping = true;
	return 1;
}

static void shut(void **sess)
{
	struct session *s = *sess;

	*sess = NULL;
	tell(s, ISO_TR_SHUT);
	free(s);
}

static void caps(void *sess, struct meta1_caps *out)
{
	const struct session *s = sess;
	uint32_t size = out->size;

	if (s->caps.size == 0)
		return;
	memcpy(out, &s->caps, size < sizeof(s->caps) ? size : sizeof(s->caps));
	out->size = size;
}

static const char *tls(void *sess)
{
	return ((struct session *)sess)->tls;
}

/* ---- what the worker says ---- */

/* It goes into reports to senders, and is believed of nobody. */
static bool sane(struct meta1_reply *r)
{
	bool dsn = !r->dsn[0] || strspn(r->dsn, "0123456789.") == strlen(r->dsn);

	return dsn && r->scope <= META1_ABOUT_OFFER && r->taken <= META1_TAKEN_FINAL &&
	       r->tls <= META1_TLS_UNMATCHED && (r->smtp == 0 || (r->smtp >= 200 && r->smtp < 600));
}

static void note(struct session *s, const struct iso_tr_answer *m)
{
	s->usable = m->usable;
	if (m->caps)
		s->caps = *m->caps;
	if (m->tls)
		str_copy(s->tls, sizeof(s->tls), m->tls);
}

static bool answered(struct iso *i, struct iso_ask *a, struct wire_frame *f)
{
	struct session *s = a->of;
	struct iso_tr_answer m;
	struct meta1_reply r = {.size = sizeof(r)};
	struct pool pool;
	bool ok, mail = s->mail == a->rq;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_tr_answer, f->p, f->n, &pool, &m) &&
	     m.status <= META1_CANCELED && m.status != META1_MORE;
	if (ok && m.reply) {
		r = *m.reply;
		ok = sane(&r);
	}
	if (ok) {
		note(s, &m);
		s->mail = NULL;
		i->in->table.finish(a->rq, (enum meta1_status)m.status, &r);
	} else {
		s->mail = NULL;
		finish(i, a->rq, mail ? META1_ABOUT_MAIL : META1_ABOUT_HOST,
		    "its worker process talks nonsense");
	}
	pool_clear(&pool);
	return ok;
}

static bool on_rcpt(struct iso *i, const struct iso_ask *a, const struct iso_tr_rcpt *m)
{
	struct meta1_reply r = m->reply ? *m->reply : (struct meta1_reply){.size = sizeof(r)};
	struct session *s = a->of;

	if (!a->rq)
		return true; /* nobody asks any more */
	if (s->mail != a->rq || m->rcpt >= s->nrcpt || m->status > META1_CANCELED || !sane(&r) ||
	    s->seen[m->rcpt / 8] & 1u << m->rcpt % 8)
		return false;
	s->seen[m->rcpt / 8] |= (uint8_t)(1u << m->rcpt % 8);
	i->in->table.rcpt_result(a->rq, m->rcpt, (enum meta1_status)m->status, &r);
	return true;
}

static bool frame(struct iso *i, struct wire_frame *f)
{
	const struct iso_ask *a = f->type == ISO_TR_RCPT ? iso_asked(i, f->id) : NULL;
	struct iso_tr_rcpt m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = a && shape_unpack(&iso_shape_tr_rcpt, f->p, f->n, &pool, &m) && on_rcpt(i, a, &m);
	pool_clear(&pool);
	return ok;
}

/* ---- opening ---- */

static unsigned count(const char *const *list)
{
	unsigned n = 0;

	while (list && list[n])
		n++;
	return n;
}

/* The worker makes its own TLS; it opens the files itself. */
static void fill(struct iso *i, const struct settings *set)
{
	const struct set_tls *from = &set->smtpc.tls_set;
	unsigned ncert = count(from->cert_file), nkey = count(from->key_file);
	struct tls_set *t = base_alloc(sizeof(*t) + (ncert + nkey + 1) * sizeof(struct meta1_buf));

	for (unsigned k = 0; k < ncert; k++)
		t->file[k] = buf_str(from->cert_file[k]);
	for (unsigned k = 0; k < nkey; k++)
		t->file[ncert + k] = buf_str(from->key_file[k]);
	t->keeps = conf_ref(set->conf);
	t->tls = (struct iso_tls){.ca_file = from->CAcert_file,
	    .ca_directory = from->CAcert_directory,
	    .crl_file = from->CRL_file,
	    .ciphers = from->ciphers,
	    .ncert = ncert,
	    .nkey = nkey,
	    .cert = t->file,
	    .key = t->file + ncert};
	i->own = t;
	i->open.tls = &t->tls;
}

static void drop(struct iso *i)
{
	struct tls_set *t = i->own;

	if (t)
		conf_free(&t->keeps);
}

static void opened(struct iso *i, const struct iso_opened *m)
{
	struct meta1_transport_ops *o = (void *)(uintptr_t)i->in->m->ops;

	o->props = m->props & META1_T_LOCAL;
	o->heeds = m->heeds;
}

static const struct meta1_transport_ops ops = {.size = sizeof(ops),
    .open = open_session,
    .send = send_mail,
    .usable = usable,
    .shut = shut,
    .cancel = cancel,
    .past_dot = past_dot,
    .caps = caps,
    .tls = tls};
const struct iso_kind iso_transport = {.kind = META1_TRANSPORT,
    .name = "transport",
    .ops = &ops,
    .ops_size = sizeof(ops),
    .answered = answered,
    .frame = frame,
    .refused = refused,
    .fill = fill,
    .drop = drop,
    .opened = opened};
