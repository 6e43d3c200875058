/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_rate -- an example of a policy that runs in smtps itself: whoever sends to more than so
 * many recipients within a time is told to come again, 450 4.7.1. Who that is: the name that has
 * authenticated, else the client's address. Each process of smtps counts by itself; what was
 * counted is forgotten at a restart.
 *
 * Its options keep clear of those that smtps has for every filter (recipients, senders, timeout
 * ...).
 *
 * It shows a decision at RCPT that needs no content, memory that stays bounded whatever comes (a
 * full table forgets who was quiet for longest), and what is said to client, log and counters.
 */
#include <meta1/pmilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDERS	   4096 /* remembered at a time; a power of 2 */
#define PROBES	   8
#define SENDER_MAX 64

struct conf {
	int64_t limit, time;
	const char *const *exempt;
};

static const struct meta1_opt opts[] = {
    META1_OPT_INT(struct conf, limit, "100", "1..1000000",
	"Recipients that one sender may have within the time."),
    META1_OPT_MSEC(struct conf, time, "1h", "1s..1d", "The time."),
    META1_OPT_LIST(struct conf, exempt, NULL, 0, "Names and addresses that may have any number."),
};

struct sender {
	char name[SENDER_MAX]; /* "": the place is free */
	int64_t since, last;   /* ms */
	int64_t n;
};

struct session {
	struct instance *in;
	const struct meta1_pm_about *about;
	struct meta1_pm_verdict verdict;
	struct meta1_buf line;
	char text[160], note[160];
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct session none; /* of each client for whom there was no memory */
	struct sender sender[SENDERS];
};

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

/* The place of a name: its own, a free one, or that of who was quiet for longest. */
static struct sender *find(struct instance *in, const char *name, int64_t now)
{
	struct sender *oldest = NULL;
	uint32_t h = hash(name);

	for (uint32_t i = 0; i < PROBES; i++) {
		struct sender *s = &in->sender[(h + i) & (SENDERS - 1)];

		if (strncmp(s->name, name, sizeof(s->name) - 1) == 0)
			return s;
		if (!oldest || !s->name[0] || (oldest->name[0] && s->last < oldest->last))
			oldest = s;
	}
	*oldest = (struct sender){.since = now, .last = now};
	snprintf(oldest->name, sizeof(oldest->name), "%s", name);
	return oldest;
}

/* Whether one more is too many; counts it when not. */
static int too_many(struct instance *in, const char *name)
{
	int64_t now = in->host->now(in->ctx);
	struct sender *s = find(in, name, now);

	if (now - s->since >= in->conf->time) {
		s->since = now;
		s->n = 0;
	}
	s->last = now;
	if (s->n >= in->conf->limit)
		return 1;
	s->n++;
	return 0;
}

static int exempt(const struct conf *c, const char *name)
{
	const char *const *e = c->exempt;

	while (e && *e && strcmp(*e, name) != 0)
		e++;
	return e && *e;
}

/* ---- the ops ---- */

static uint32_t rate_begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct instance *in = inst;
	struct session *s = in->host->alloc(in->ctx, sizeof(*s));

	*sess = s ? s : &in->none;
	if (s)
		*s = (struct session){.in = in, .about = about};
	return META1_PM_RCPT;
}

static void refuse(struct session *s, const char *name)
{
	struct meta1_pm_verdict *v = &s->verdict;

	snprintf(s->text, sizeof(s->text), "more than %lld recipients in %lld s, come again later",
	    (long long)s->in->conf->limit, (long long)s->in->conf->time / 1000);
	snprintf(s->note, sizeof(s->note), "too many recipients: %.100s", name);
	s->line = (struct meta1_buf){s->text, strlen(s->text)};
	v->action = META1_PM_REFUSE;
	v->smtp = 450;
	memcpy(v->dsn, "4.7.1", sizeof("4.7.1"));
	v->line = &s->line;
	v->nline = 1;
	v->note = s->note;
	s->in->host->count(s->in->ctx, "refused_total", 1);
}

static void rate_ask(void *sess, struct meta1_req *req, const struct meta1_pm_ask *ask)
{
	struct session *s = sess;
	struct instance *in = s->in;
	struct meta1_reply r = {.size = sizeof(r), .ext = &s->verdict};
	const char *name;

	if (s == &in->none) {
		r = (struct meta1_reply){.size = sizeof(r), .text = "no memory for the session"};
		in->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	s->verdict = (struct meta1_pm_verdict){.size = sizeof(s->verdict),
	    .wants = META1_PM_RCPT,
	    .sizeof_edit = sizeof(struct meta1_pm_edit)};
	name = s->about->auth_user ? s->about->auth_user : s->about->client;
	if (ask->stage == META1_PM_RCPT && name && *name && !exempt(in->conf, name) &&
	    too_many(in, name))
		refuse(s, name);
	in->host->finish(req, META1_OK, &r);
}

static void rate_reset(void *sess)
{
	(void)sess; /* nothing is known of a mail */
}

static void rate_end(void **sess)
{
	struct session *s = *sess;

	*sess = NULL;
	if (s != &s->in->none)
		s->in->host->free(s->in->ctx, s);
}

static void rate_cancel(void *inst, struct meta1_req *req)
{
	(void)inst, (void)req; /* each is answered inside its call */
}

static int rate_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	if (!in) {
		strcpy(err->text, "no memory");
		return -1;
	}
	in->host = host;
	in->ctx = ctx;
	in->conf = conf;
	in->none.in = in;
	*inst = in;
	return 0;
}

static void rate_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = rate_begin,
    .ask = rate_ask,
    .reset = rate_reset,
    .end = rate_end,
    .cancel = rate_cancel};

META1_MODULE(pmilter_rate, .kind = META1_PMILTER, .roles = META1_SMTPS | META1_TOOL,
    .version = "1.0", .summary = "At most so many recipients a sender and time.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf), .open = rate_open,
    .close = rate_close, .ops = &ops);
