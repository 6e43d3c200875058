/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_bad -- transport_smtp with a fault (is.h), and a small transport without a next hop for
 * what is asked of those alone.
 */
#include "around.h"

#include <meta1/transport.h>
#include <stdint.h>
#include <unistd.h>

AROUND(transport_bad, transport_smtp)
static const struct meta1_transport_ops *good; /* its operations */
static struct meta1_req *opening, *left;       /* of open(): under way; cancelled */
static int lacked, cancelled, probing;	       /* alloc() gave nothing; cancel() came */

/* ---- what it says ---- */

static void spoil(enum meta1_status *st, struct meta1_reply *r)
{
	static const struct meta1_buf huge = {"", 17u << 20};
	const char *text = r->text ? r->text : "";

	if (is("certain") && *st == META1_TEMPFAIL && !strstr(text, "refused"))
		*st = META1_PERMFAIL, r->smtp = 0;
	if (is("innocent") && r->scope == META1_ABOUT_HOST && !strstr(text, "refused"))
		r->scope = META1_ABOUT_MAIL;
	if (is("nobody") && strstr(text, "refused"))
		r->scope = META1_ABOUT_MAIL;
	if (is("optimist") && *st == META1_TEMPFAIL && r->scope == META1_ABOUT_MAIL && !r->smtp)
		*st = META1_OK;
	if (is("session") && r->scope == META1_ABOUT_SESSION)
		r->scope = META1_ABOUT_HOST;
	if (is("proud") && lacked)
		*st = META1_PERMFAIL, r->smtp = 0;
	if (is("status"))
		*st = META1_NOTFOUND;
	if (is("code"))
		r->smtp = 99;
	if (is("values"))
		r->nval = 1, r->val = NULL;
	if (is("huge"))
		r->nval = 1, r->val = &huge;
	if (is("fine") && *st == META1_OK)
		r->smtp = 550;
	if (is("endless"))
		memset(r->dsn, '5', sizeof(r->dsn));
	if (is("dotless"))
		strcpy(r->dsn, "5.1");
}

static void finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *said)
{
	struct meta1_reply r = {.size = sizeof(r)};

	if (said)
		r = *said;
	if ((is("forgets") && rq == left) ||
	    (is("overdue") && cancelled && real.now(real.req_ctx(rq)) >= real.req_deadline(rq)))
		return;
	if (rq == opening)
		opening = NULL;
	spoil(&st, &r);
	real.finish(rq, st, &r);
	if (is("twice"))
		real.finish(rq, st, &r);
	if (is("after"))
		real.rcpt_result(rq, 0, META1_TEMPFAIL, NULL);
	if (is("touches"))
		real.req_slot(rq);
}

static void rcpt_result(
    struct meta1_req *rq, uint32_t i, enum meta1_status st, const struct meta1_reply *said)
{
	struct meta1_reply r = *said;

	if ((is("mute") && !probing) || (is("unasked") && probing))
		return;
	spoil(&st, &r);
	real.rcpt_result(rq, is("stranger") ? 4000 : i, st, &r);
	if (is("again"))
		real.rcpt_result(rq, i, st, &r);
}

static void *alloc_(struct meta1_ctx *ctx, size_t n)
{
	void *p = real.alloc(ctx, n);

	lacked |= p == NULL;
	return p;
}

/* ---- its connection ---- */

static struct meta1_conn *conn_open(struct meta1_ctx *ctx, const struct meta1_hop *hop,
    int64_t timeout, const struct meta1_conn_events *ev, void *arg, struct meta1_err *err)
{
	static const struct meta1_conn_events none = {.size = sizeof(none)};
	struct meta1_conn *c;

	if (is("eventless") && (c = real.conn->open(ctx, hop, timeout, &none, arg, err)))
		real.conn->close(&c);
	c = real.conn->open(ctx, hop, timeout, ev, arg, err);
	if (is("early") && c)
		real.conn->write(c, "x", 1);
	return c;
}

static struct meta1_buf conn_line(struct meta1_conn *c)
{
	struct meta1_buf seen = real.conn->peek(c), none = {NULL, 0}, line;

	if (is("lumps") && seen.len > 0 && !memchr(seen.data, '\n', seen.len))
		real.conn->take(c, seen.len);
	if (is("grabs"))
		real.conn->take(c, 1u << 20);
	if (is("logs_in"))
		real.conn->login(c, "smtp", "PLAIN", NULL);
	if (is("sleeps") && seen.len > 0 && TIMES(4))
		usleep(150000);
	line = real.conn->line(c);
	if (is("patient") && line.len == 4 && memcmp(line.data, "220-", 4) == 0)
		return none;
	return line;
}

static void conn_write(struct meta1_conn *c, const void *p, size_t n)
{
	if (!is("rude") || n < 4 || memcmp(p, "QUIT", 4) != 0)
		real.conn->write(c, p, n);
}

static void conn_send(struct meta1_conn *c, const struct meta1_extent *x, uint32_t n)
{
	real.conn->send(c, x, is("half") && n > 1 ? n - 1 : n);
}

static int conn_starttls(struct meta1_conn *c, const char *name, struct meta1_err *err)
{
	int rc = real.conn->starttls(c, is("nameless") ? "" : name, err);

	if (is("starts_twice"))
		real.conn->starttls(c, name, err);
	return rc;
}

static void around_patch(struct around *a)
{
	a->host.finish = finish;
	a->host.rcpt_result = rcpt_result;
	a->host.alloc = alloc_;
	a->conn.open = conn_open;
	a->conn.line = conn_line;
	a->conn.write = conn_write;
	a->conn.send = conn_send;
	a->conn.starttls = conn_starttls;
}

/* ---- without a next hop ---- */

struct local {
	struct meta1_ctx *ctx;
	struct meta1_req *rq;
	int over;
};

static int is_local(void)
{
	return is("local") || is("refuses") || is("local_sleeps");
}

static void work(void *arg)
{
	(void)arg;
}

static void done(void *arg)
{
	struct local *l = arg;
	struct meta1_req *rq = l->rq;

	if (is("local_sleeps") && TIMES(4))
		usleep(150000);
	l->rq = NULL;
	real.finish(rq, is("refuses") ? META1_PERMFAIL : META1_OK, NULL);
	if (l->over)
		real.free(l->ctx, l);
}

/* ---- what is asked of it ---- */

static void ops_open(void *inst, struct meta1_req *rq, const struct meta1_hop *hop, void **sess)
{
	struct meta1_ctx *ctx = real.req_ctx(rq);
	struct local *l;

	cancelled = 0;
	if (!is_local()) {
		opening = rq;
		good->open(inst, rq, hop, sess);
		return;
	}
	*sess = l = real.alloc(ctx, sizeof(*l));
	if (l)
		l->ctx = ctx;
	if (is("unopened"))
		return;
	real.finish(rq, l ? META1_OK : META1_TEMPFAIL, NULL);
}

static void ops_send(void *sess, struct meta1_req *rq, const struct meta1_mail *m)
{
	struct local *l = sess;

	cancelled = probing = 0;
	if (is("few") && m->nrcpt > 1000) {
		real.finish(rq, META1_TEMPFAIL, NULL);
	} else if (!is_local()) {
		good->send(sess, rq, m);
	} else {
		l->rq = rq;
		if (real.offload(l->ctx, work, done, l) == META1_OK)
			return;
		l->rq = NULL;
		real.finish(rq, META1_TEMPFAIL, NULL);
	}
}

static void ops_probe(void *sess, struct meta1_req *rq, const struct meta1_mail *m)
{
	probing = 1;
	good->probe(sess, rq, m);
}

static int ops_usable(void *sess)
{
	return is_local() || is("hopeful") || (is("stays") && cancelled) || good->usable(sess);
}

static void ops_shut(void **sess)
{
	struct local *l = *sess;

	if (!is_local()) {
		good->shut(sess);
		return;
	}
	*sess = NULL;
	l->over = 1;
	if (!l->rq)
		real.free(l->ctx, l);
}

static void ops_cancel(void *inst, struct meta1_req *rq)
{
	cancelled = 1;
	if (rq == opening)
		left = rq;
	if (!is_local())
		good->cancel(inst, rq);
}

static int ops_past_dot(void *sess)
{
	return !is_local() && !is("unsure") && good->past_dot(sess);
}

static const char *ops_tls(void *sess)
{
	return is_local() ? "none" : good->tls(sess);
}

static void ops_caps(void *sess, struct meta1_caps *caps)
{
	if (!is_local())
		good->caps(sess, caps);
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	static int64_t times[64]; /* all its options are times */

	memcpy(times, conf, inner->sizeof_conf);
	for (size_t i = 0; i < inner->sizeof_conf / sizeof(times[0]); i++)
		times[i] /= is("hasty") ? 2 : 1;
	if (!is("closed"))
		return around_open(inner, h, ctx, times, inst, err);
	snprintf(err->text, sizeof(err->text), "it is closed today");
	return -1;
}

static void close_(void *inst)
{
	around_close(inner, inst);
}

static void around_describe(struct meta1_module *m)
{
	static struct meta1_transport_ops ops;

	good = inner->ops;
	ops = *good;
	ops.open = ops_open;
	ops.send = ops_send;
	ops.probe = ops_probe;
	ops.usable = ops_usable;
	ops.shut = is("lacks") ? NULL : ops_shut;
	ops.cancel = ops_cancel;
	ops.past_dot = ops_past_dot;
	ops.tls = ops_tls;
	ops.caps = ops_caps;
	m->flags |= is("blocking") ? META1_F_BLOCKING : 0;
	m->open = open_;
	m->close = close_;
	m->ops = &ops;
}
