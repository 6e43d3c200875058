/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.h -- a small filter that keeps every law, for filters that break just one: each defines
 * what it does otherwise, then includes this. It adds a field that has the length of the message,
 * read from its extents. BAD is the file's name. tests/unit/mod/bad.py says for which reason the
 * kit must refuse each of them.
 */
#include <meta1/pmilter.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct filter;
struct sess {
	struct filter *f;
	struct sess *next;
	struct meta1_pm_verdict verdict;
	struct meta1_pm_edit edit;
	struct meta1_buf line;
	char value[64];
	char *block;
	unsigned asked, mails;
};

struct filter {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	struct sess *all, none; /* none: there was no memory for one; its questions fail */
};

#ifndef WANTS
#define WANTS (META1_PM_CONNECT | META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END)
#endif
#ifndef CHANGE /* of the verdict that would be given */
#define CHANGE(s, a)
#endif
#ifndef FINISH
#define FINISH(s, rq, reply) (s)->f->host->finish(rq, META1_OK, reply)
#endif
#ifndef NO_MEMORY /* for a session */
#define NO_MEMORY(f, sess)                                                                         \
	do {                                                                                       \
		*(sess) = &(f)->none;                                                              \
		return WANTS;                                                                      \
	} while (0)
#endif
#ifndef END
#define END(s, sess) (s)->f->host->free((s)->f->ctx, s), *(sess) = NULL
#endif
#ifndef OPENS
#define OPENS 1
#endif
#ifndef CLOSE
#define CLOSE(f)
#endif
#ifndef RESET
#define RESET(s) (s)->mails = 0
#endif
#ifndef LENGTH
#define LENGTH length
#endif

/* Every byte is looked at, wherever it stands. */
static inline size_t length(const struct meta1_pm_message *m)
{
	char b[4096], last = 0;
	ssize_t got = 0;
	size_t n = 0;

	for (uint32_t i = 0; i < m->nextent; i++) {
		const struct meta1_extent *x = &m->extent[i];

		for (uint64_t at = 0; at < x->len; at += (uint64_t)got) {
			got = (ssize_t)(x->len - at < sizeof(b) ? x->len - at : sizeof(b));
			if (x->mem)
				memcpy(b, (const char *)x->mem + at, (size_t)got);
			else
				got = pread(x->fd, b, (size_t)got, (off_t)(x->off + at));
			if (got <= 0)
				return 0;
			last ^= b[got - 1];
			n += (size_t)got;
		}
	}
	(void)last;
	return n;
}

static uint32_t begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct filter *f = inst;
	struct sess *s = f->host->alloc(f->ctx, sizeof(*s));

	(void)about;
	*sess = s;
	if (!s)
		NO_MEMORY(f, sess);
	s->f = f;
	s->next = f->all;
	f->all = s;
	return WANTS;
}

static void ask(void *sess, struct meta1_req *rq, const struct meta1_pm_ask *a)
{
	struct sess *s = sess;
	struct meta1_reply r = {.size = sizeof(r), .ext = &s->verdict};

	s->asked++;
	if (s == &s->f->none) {
		r.text = "no memory for the session";
		s->f->host->finish(rq, META1_TEMPFAIL, &r);
		return;
	}
	s->verdict = (struct meta1_pm_verdict){
	    .size = sizeof(s->verdict), .wants = WANTS, .sizeof_edit = sizeof(s->edit)};
	if (a->stage == META1_PM_END) {
		s->mails++;
		snprintf(s->value, sizeof(s->value), "%zu", LENGTH(a->msg));
		s->edit = (struct meta1_pm_edit){.kind = META1_PM_ADD_HEADER,
		    .name = {"X-Length", 8},
		    .value = {s->value, strlen(s->value)}};
		s->verdict.edit = &s->edit;
		s->verdict.nedit = 1;
	}
	CHANGE(s, a);
	FINISH(s, rq, &r);
}

static void reset(void *sess)
{
	struct sess *s = sess;

	RESET(s);
}

static void end(void **sess)
{
	struct sess *s = *sess, **at;

	if (s == &s->f->none) {
		*sess = NULL;
		return;
	}
	for (at = &s->f->all; *at != s; at = &(*at)->next)
		;
#ifndef KEEPS_IT
	*at = s->next;
#endif
	END(s, sess);
}

#ifndef CANCEL
#define CANCEL cancel
#endif
static __attribute__((unused)) void cancel(void *inst, struct meta1_req *rq)
{
	(void)inst, (void)rq; /* all is answered within its call */
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct filter *f = h->alloc(ctx, sizeof(*f));

	(void)conf;
	if (!(OPENS)) {
		h->free(ctx, f);
		f = NULL;
	}
	if (!f) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*f = (struct filter){.host = h, .ctx = ctx, .none.f = f};
	*inst = f;
	return 0;
}

static void close_(void *inst)
{
	struct filter *f = inst;

	CLOSE(f);
	f->host->free(f->ctx, f);
}

static const struct meta1_pmilter_ops ops = {
    .size = sizeof(ops), .begin = begin, .ask = ask, .reset = reset, .end = end, .cancel = CANCEL};

#define MODULE_(n, ...) META1_MODULE(n, __VA_ARGS__)
MODULE_(BAD, .kind = META1_PMILTER, .roles = META1_SMTPS, .version = "1",
    .summary = "Breaks one law.", .open = open_, .close = close_, .ops = &ops);
