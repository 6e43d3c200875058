/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_milter.h -- pmilter_milter in a host, and a filter whose every byte the test writes and
 * reads.
 */
#ifndef META1_TEST_PMILTER_MILTER_H
#define META1_TEST_PMILTER_MILTER_H
#include "mod/mod.h"

#include "../unit.h"
#include <errno.h>
#include <fcntl.h>
#include <meta1/pmilter.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define ACT    0x1ffu

struct bench { /* a host with the module, and the filter's side */
	struct mod_host host;
	struct conf *conf;
	struct mod *mod;
	struct mod_inst *inst;
	const struct meta1_pmilter_ops *ops;
	struct meta1_err err;
	char dir[64], path[96], other[96];
	int listening, filter; /* the filter's descriptors */
	struct meta1_pm_about about;
	void *sess;
	struct meta1_req *req;
	unsigned told;
	enum meta1_status st;
	char text[512];
	const struct meta1_pm_verdict *v;
	char frame[1 << 18]; /* the last command: with its letter, without its length */
	size_t len;
};

static inline struct meta1_buf str(const char *s)
{
	return (struct meta1_buf){s, strlen(s)};
}

static inline int listen_at(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static inline bool open_with(struct bench *b, const char *options)
{
	conf_free(&b->conf);
	b->conf = conf_read_text("options", options);
	b->inst =
	    mod_open(&b->host, b->mod, "f", b->conf, conf_root(b->conf), NULL, OPT_START, &b->err);
	return b->inst != NULL;
}

static inline struct bench *bench_new(const char *more)
{
	struct bench *b = base_alloc(sizeof(*b));
	char options[512];

	signal(SIGPIPE, SIG_IGN); /* as in a role */
	b->host.loop = loop_new();
	b->host.work = work_new(b->host.loop);
	b->host.role = META1_SMTPS;
	b->host.hostname = "gw.test";
	b->host.qdir = "/";
	b->host.strict = true;
	b->mod = mod_load_file(&b->host, TEST_PMILTER "/pmilter_milter.so", &b->err);
	if (!b->mod)
		fail_msg("%s", b->err.text);
	strcpy(b->dir, "/tmp/m1-milter.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/filter", b->dir);
	snprintf(b->other, sizeof(b->other), "%s/other", b->dir);
	b->listening = listen_at(b->path);
	b->filter = -1;
	snprintf(options, sizeof(options), "socket_path = \"%s\"; %s", b->path, more ? more : "");
	if (!open_with(b, options))
		fail_msg("%s", b->err.text);
	b->ops = mod_ops(b->inst);
	b->about = (struct meta1_pm_about){.size = sizeof(b->about),
	    .hostname = "gw.test",
	    .version = "meta1-0.1",
	    .listener = "in",
	    .local = "192.0.2.1",
	    .local_port = 25,
	    .client = "2001:db8::9",
	    .port = 0x1234,
	    .resolve = "FAIL"};
	return b;
}

static inline void bench_free(struct bench **bp)
{
	struct bench *b = *bp;

	if (b->sess)
		b->ops->end(&b->sess);
	mod_close(&b->inst);
	work_free(&b->host.work);
	for (int i = 0; i < 4; i++)
		loop_turn(b->host.loop, false);
	mod_unload_all(&b->host);
	loop_free(&b->host.loop);
	conf_free(&b->conf);
	if (b->filter >= 0)
		close(b->filter);
	close(b->listening);
	unlink(b->path);
	unlink(b->other);
	rmdir(b->dir);
	free(b);
}

/* ---- the host's side ---- */

static inline void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct bench *b = arg;

	b->told++;
	b->st = st;
	b->v = st == META1_OK ? r->ext : NULL;
	b->req = NULL;
	str_copy(b->text, sizeof(b->text), r->text ? r->text : "");
}

static inline void ask(struct bench *b, struct meta1_pm_ask a)
{
	a.size = sizeof(a);
	b->told = 0;
	b->v = NULL;
	b->req = mod_req(b->inst, loop_now(b->host.loop) + 60000, said, b);
	assert_non_null(b->req);
	b->ops->ask(b->sess, b->req, &a);
}

static inline void begin(struct bench *b)
{
	assert_true(b->ops->begin(mod_data(b->inst), &b->about, &b->sess) & META1_PM_END);
}

static inline void turn(struct bench *b)
{
	loop_turn(b->host.loop, false);
	poll(NULL, 0, 1);
}

/* The answer to what was asked. */
static inline const struct meta1_pm_verdict *answer(struct bench *b)
{
	for (int i = 0; i < 5000 && !b->told; i++)
		turn(b);
	assert_int_equal(b->told, 1);
	return b->v;
}

static inline void expect_failure(struct bench *b, const char *part)
{
	assert_null(answer(b));
	assert_int_equal(b->st, META1_TEMPFAIL);
	if (!strstr(b->text, part))
		fail_msg("\"%s\" has no \"%s\"", b->text, part);
}

static inline void expect_action(struct bench *b, enum meta1_pm_action action)
{
	const struct meta1_pm_verdict *v = answer(b);

	if (!v)
		fail_msg("%s", b->text);
	assert_int_equal(v->action, action);
}

/* ---- the filter's side ---- */

static inline void must_read(struct bench *b, void *p, size_t n)
{
	for (int i = 0; i < 5000 && n > 0; i++) {
		ssize_t got = read(b->filter, p, n);

		if (got > 0) {
			n -= (size_t)got;
			p = (char *)p + got;
			continue;
		}
		assert_true(got < 0 && errno == EAGAIN); /* else it was closed */
		turn(b);
	}
	assert_int_equal(n, 0);
}

static inline char next(struct bench *b)
{
	unsigned char head[4];

	must_read(b, head, 4);
	b->len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	assert_in_range(b->len, 1, sizeof(b->frame) - 1);
	must_read(b, b->frame, b->len);
	b->frame[b->len] = '\0';
	return b->frame[0];
}

/* The next command but macros is this one, with this data; NULL: any. */
static inline void expect(struct bench *b, char cmd, const char *data, size_t len)
{
	while (next(b) == 'D')
		;
	assert_int_equal(b->frame[0], cmd);
	if (!data)
		return;
	assert_int_equal(b->len - 1, len);
	assert_memory_equal(b->frame + 1, data, len);
}
#define EXPECT(b, cmd, data) expect(b, cmd, data, sizeof(data) - 1)

/* The socket's buffer may be smaller than what is said. */
static inline void raw(struct bench *b, const void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = write(b->filter, (const char *)p + at, n - at);

		assert_true(got > 0 || errno == EAGAIN);
		if (got > 0)
			at += (size_t)got;
		else
			turn(b);
	}
}

static inline void say(struct bench *b, char cmd, const char *data, size_t len)
{
	unsigned char head[5] = {(unsigned char)((len + 1) >> 24), (unsigned char)((len + 1) >> 16),
	    (unsigned char)((len + 1) >> 8), (unsigned char)(len + 1), (unsigned char)cmd};

	raw(b, head, 5);
	raw(b, data, len);
}
#define SAY(b, cmd, data) say(b, cmd, data, sizeof(data) - 1)

static inline void accept_one(struct bench *b)
{
	if (b->filter >= 0)
		close(b->filter);
	for (int i = 0; i < 5000; i++) {
		b->filter = accept4(b->listening, NULL, NULL, SOCK_NONBLOCK);
		if (b->filter >= 0)
			return;
		turn(b);
	}
	fail_msg("nobody connected");
}

static inline void negotiate(struct bench *b, uint32_t version, uint32_t actions, uint32_t steps)
{
	char o[12] = {0, 0, 0, (char)version, (char)(actions >> 24), (char)(actions >> 16),
	    (char)(actions >> 8), (char)actions, (char)(steps >> 24), (char)(steps >> 16),
	    (char)(steps >> 8), (char)steps};

	assert_int_equal(next(b), 'O');
	say(b, 'O', o, sizeof(o));
}

/* The first ask, up to what the filter agrees to. */
static inline void connecting(struct bench *b, uint32_t version, uint32_t actions, uint32_t steps)
{
	begin(b);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_CONNECT});
	accept_one(b);
	negotiate(b, version, actions, steps);
}

/* From nothing to a mail with one recipient, each step asked and answered. */
static inline void up_to_end(struct bench *b, uint32_t version, uint32_t actions, uint32_t steps)
{
	connecting(b, version, actions, steps);
	EXPECT(b, 'C',
	    "[2001:db8::9]\0006\x12\x34"
	    "2001:db8::9\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->about.helo = "client.test";
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_HELO, .arg = str("client.test")});
	EXPECT(b, 'H', "client.test\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	b->about.from = str("a@x.test");
	b->about.taid = "S0001";
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_MAIL,
		   .arg = str("a@x.test"),
		   .nparam = 2,
		   .param = (struct meta1_buf[]){str("SIZE=10"), str("BODY=8BITMIME")}});
	EXPECT(b, 'M', "<a@x.test>\0SIZE=10\0BODY=8BITMIME\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_RCPT, .arg = str("b@y.test")});
	EXPECT(b, 'R', "<b@y.test>\0");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
	if (version < 4)
		return;
	ask(b, (struct meta1_pm_ask){.stage = META1_PM_DATA});
	EXPECT(b, 'T', "");
	SAY(b, 'c', "");
	expect_action(b, META1_PM_CONTINUE);
}

static inline void ask_end(struct bench *b, const struct meta1_pm_message *m)
{
	struct meta1_buf rcpt = str("b@y.test");

	ask(b, (struct meta1_pm_ask){.stage = META1_PM_END, .msg = m, .nrcpt = 1, .rcpt = &rcpt});
}

/* A message in memory, in two extents that break where they like. */
static inline struct meta1_pm_message message(
    struct meta1_extent e[2], const char *text, size_t header, size_t cut)
{
	size_t n = strlen(text);

	e[0] = (struct meta1_extent){.mem = text, .len = cut, .fd = -1};
	e[1] = (struct meta1_extent){.mem = text + cut, .len = n - cut, .fd = -1};
	return (struct meta1_pm_message){.size = sizeof(struct meta1_pm_message),
	    .nextent = 2,
	    .extent = e,
	    .bytes = n,
	    .header = header};
}

/* To the wait for the answer to the end of a short message. */
static inline void at_end(struct bench *b, uint32_t actions)
{
	static struct meta1_extent e[2];
	static struct meta1_pm_message m;

	up_to_end(b, 6, actions, 0);
	m = message(e, "A: b\r\n\r\nbody\r\n", 8, 3);
	ask_end(b, &m);
	EXPECT(b, 'L', "A\0b\0");
	SAY(b, 'c', "");
	EXPECT(b, 'N', "");
	SAY(b, 'c', "");
	EXPECT(b, 'B', "body\r\n");
	SAY(b, 'c', "");
	EXPECT(b, 'E', "");
	turn(b); /* what was said so far is heard */
}

static inline void expect_nothing(struct bench *b)
{
	char c;

	for (int i = 0; i < 5; i++)
		turn(b);
	assert_int_equal(read(b->filter, &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

#endif
