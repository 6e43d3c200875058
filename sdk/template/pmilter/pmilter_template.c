/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_template -- a small whole policy filter that runs in smtps itself: it refuses recipients,
 * and marks each mail that it saw with a field. When it is asked, and what each answer means,
 * stands at the top of meta1/pmilter.h. It answers inside the call; one that asks somebody keeps
 * the request, and goes on by host->conn, host->watch_fd() or host->offload().
 */
#include <meta1/pmilter.h>
#include <string.h>
#include <strings.h>

struct conf {
	const char *const *refuse;
	const char *mark;
};

static const struct meta1_opt opts[] = {
    META1_OPT_LIST(struct conf, refuse, NULL, 0, "Recipients that get no mail."),
    META1_OPT_STR(struct conf, mark, "template", 0,
	"Value of the field X-Seen-By that each mail gets; empty: none."),
};

/* One SMTP session. The verdict, and what it points to, stays until the next call for it. */
struct session {
	struct instance *in;
	struct meta1_pm_verdict verdict;
	struct meta1_pm_edit edit;
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct session none; /* of each client for whom there was no memory */
};

static const struct meta1_buf no_mail = {"this recipient gets no mail", 27};

static int refused(const struct instance *in, struct meta1_buf rcpt)
{
	const char *const *r = in->conf->refuse;

	for (; r && *r; r++)
		if (strlen(*r) == rcpt.len && strncasecmp(*r, rcpt.data, rcpt.len) == 0)
			return 1;
	return 0;
}

/* ---- the ops ---- */

static uint32_t filter_begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct instance *in = inst;
	struct session *s = in->host->alloc(in->ctx, sizeof(*s));

	(void)about; /* who the client is; it stays until end() */
	*sess = s ? s : &in->none;
	if (s)
		s->in = in;
	return META1_PM_RCPT | META1_PM_END;
}

static void filter_ask(void *sess, struct meta1_req *req, const struct meta1_pm_ask *ask)
{
	struct session *s = sess;
	struct meta1_reply r = {.size = sizeof(r), .ext = &s->verdict};

	if (s == &s->in->none) {
		r = (struct meta1_reply){.size = sizeof(r), .text = "no memory for the session"};
		s->in->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	s->verdict = (struct meta1_pm_verdict){.size = sizeof(s->verdict),
	    .action = META1_PM_CONTINUE,
	    .wants = META1_PM_RCPT | META1_PM_END,
	    .sizeof_edit = sizeof(s->edit)};
	if (ask->stage == META1_PM_RCPT && refused(s->in, ask->arg)) {
		s->verdict.action = META1_PM_REFUSE;
		s->verdict.smtp = 550;
		memcpy(s->verdict.dsn, "5.7.1", sizeof("5.7.1"));
		s->verdict.line = &no_mail;
		s->verdict.nline = 1;
		s->in->host->count(s->in->ctx, "refused_total", 1);
	} else if (ask->stage == META1_PM_END && s->in->conf->mark[0]) {
		s->edit = (struct meta1_pm_edit){.kind = META1_PM_ADD_HEADER,
		    .name = {"X-Seen-By", 9},
		    .value = {s->in->conf->mark, strlen(s->in->conf->mark)}};
		s->verdict.edit = &s->edit;
		s->verdict.nedit = 1;
	}
	s->in->host->finish(req, META1_OK, &r);
}

/* The mail is over. What was kept of it would be forgotten here. */
static void filter_reset(void *sess)
{
	(void)sess;
}

static void filter_end(void **sess)
{
	struct session *s = *sess;

	*sess = NULL;
	if (s != &s->in->none)
		s->in->host->free(s->in->ctx, s);
}

/* Each request is answered inside its call. */
static void filter_cancel(void *inst, struct meta1_req *req)
{
	(void)inst, (void)req;
}

static int filter_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (!strpbrk(c->mark, "\r\n"))
		return 0;
	strcpy(err->text, "mark: has more than one line");
	return -1;
}

static int filter_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	if (!in) {
		strcpy(err->text, "no memory");
		return -1;
	}
	*in = (struct instance){.host = host, .ctx = ctx, .conf = conf, .none.in = in};
	*inst = in;
	return 0;
}

static void filter_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = filter_begin,
    .ask = filter_ask,
    .reset = filter_reset,
    .end = filter_end,
    .cancel = filter_cancel};

META1_MODULE(pmilter_template, .kind = META1_PMILTER, .roles = META1_SMTPS | META1_TOOL,
    .version = "0.1", .summary = "Refuses recipients, and marks what it saw.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf),
    .check = filter_check, .open = filter_open, .close = filter_close, .ops = &ops);
