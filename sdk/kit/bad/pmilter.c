/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_bad -- pmilter_milter with a fault (is.h) in what it makes of its filter's words.
 */
#include "around.h"

#include <meta1/pmilter.h>

AROUND(pmilter_bad, pmilter_milter)

static void finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *said)
{
	static const struct meta1_pm_verdict yes = {
	    /* the kit looks at it until the next question */
	    .size = sizeof(yes),
	    .wants = META1_PM_MAIL | META1_PM_RCPT | META1_PM_END};
	struct meta1_reply r = {.size = sizeof(r), .ext = &yes};
	const char *text = said && said->text ? said->text : "";
	int refused = strstr(text, "refused") != NULL;

	if ((is("agrees") && st == META1_OK) || (is("forgives") && st != META1_OK && !refused) ||
	    (is("alone") && refused))
		real.finish(rq, META1_OK, &r);
	else
		real.finish(rq, st, said);
}

/* What comes in pieces is thrown away. */
static struct meta1_buf conn_peek(struct meta1_conn *c)
{
	struct meta1_buf b = real.conn->peek(c), none = {NULL, 0};

	if (!is("lumps") || b.len > 4 || !b.len)
		return b;
	real.conn->take(c, b.len);
	return none;
}

static void around_patch(struct around *a)
{
	a->host.finish = finish;
	a->conn.peek = conn_peek;
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	return around_open(inner, h, ctx, conf, inst, err);
}

static void close_(void *inst)
{
	around_close(inner, inst);
}

static void around_describe(struct meta1_module *m)
{
	m->open = open_;
	m->close = close_;
}
