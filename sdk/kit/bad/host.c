/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_host -- a map that uses what its host gives it wrongly, in one way (is.h).
 */
#include "is.h"

#include <meta1/map.h>

struct bad;
static int opening(struct bad *);
static void fail(struct meta1_err *);
static void closing(struct bad *);
static int absent(struct bad *, struct meta1_req *);
static void drain(void *, struct meta1_req *);
#define BAD	    map_host
#define OPEN(in)    opening(in)
#define CLOSE(in)   closing(in)
#define REASON(err) fail(err)
#define ABSENT(in, rq)                                                                             \
	if (absent(in, rq))                                                                        \
	(in)->host->finish(rq, META1_NOTFOUND, NULL)
#define EXTRA_FIELDS .drain = drain
#include "bad.h"

#include <fcntl.h>
#include <unistd.h>

static struct bad *one;	       /* the first instance that is open */
static struct meta1_req *kept; /* of an instance that was closed */
static const struct meta1_host *host_was;
static struct meta1_ctx *ctx_was;
static int drained;

/* What a sanitizer would say before the kit can. */
static __attribute__((no_sanitize("address"))) void write_to(volatile char *p)
{
	*p = 1;
}

static void fail(struct meta1_err *err)
{
	memset(err->text, is("unended") ? 'x' : 0, sizeof(err->text));
	if (is("long"))
		strcpy(err->text, "one\ntwo");
	else if (!is("unended"))
		strcpy(err->text, "no memory");
}

/* Does an opening, by its number in this run, fail? */
static int refuses(void)
{
	static int n;

	n++;
	return is("closed") || is("long") || is("unended") || (is("tires") && n > 50) ||
	       (is("undrained") && n == 132);
}

static void misuse(struct bad *in)
{
	const struct meta1_host *h = in->host;
	struct meta1_watch *w;
	char name[8] = "c00";
	int fd;

	if (is("level"))
		h->log(in->ctx, (enum meta1_level)77, "x");
	if (is("counter"))
		h->count(in->ctx, "Not A Name", 1);
	for (int i = 0; is("counters") && i < 70; i++) {
		name[1] = (char)('0' + i / 10);
		name[2] = (char)('0' + i % 10);
		h->count(in->ctx, name, 1);
	}
	if (is("no_file"))
		h->watch_fd(in->ctx, 9999, META1_READ, NULL, NULL);
	if (is("foreign") && one && one != in)
		h->free(in->ctx, one->block);
	if (is("stack"))
		h->free(in->ctx, (char *)in + 16);
	if (!is("rearms") && !is("unwatches"))
		return;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	w = fd >= 0 ? h->watch_fd(in->ctx, fd, META1_READ, NULL, NULL) : NULL;
	if (w && is("rearms"))
		h->rearm(w, 100);
	if (is("unwatches"))
		close(fd);
	h->unwatch(&w);
	if (!is("unwatches"))
		close(fd);
}

static int opening(struct bad *in)
{
	if (kept && is("ghost"))
		host_was->finish(kept, META1_NOTFOUND, NULL);
	if (kept && is("speaks"))
		host_was->log(ctx_was, META1_INFO, "still here");
	kept = NULL;
	if (refuses() || !(in->block = in->host->alloc(in->ctx, 64)))
		return -1;
	if (!one)
		one = in;
	misuse(in);
	return 0;
}

static void closing(struct bad *in)
{
	char *block = in->block;
	int fd = is("high") ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

	if (fd >= 0)
		close(fd);
	if (one == in)
		one = NULL;
	if (fd > 1024 || (is("drains") && drained))
		return; /* it leaves the block */
	in->host->free(in->ctx, block);
	if (is("writes"))
		write_to(block);
	if (in->req) {
		kept = in->req;
		host_was = in->host;
		ctx_was = in->ctx;
	}
}

/* 0: it keeps the request. */
static int absent(struct bad *in, struct meta1_req *rq)
{
	if ((!is("ghost") && !is("speaks")) || in->req)
		return 1;
	in->req = rq;
	return 0;
}

static void drain(void *inst, struct meta1_req *rq)
{
	struct bad *in = inst;

	drained = 1;
	in->host->finish(rq, META1_OK, NULL);
}
