/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker that lies to its role: descriptors that are not sealed memory, or less of it than is
 * said; answers to what was not asked; frames of which each byte is another. The role loses the
 * worker, never itself, and takes the next one. */
#include "fix.h"

#include "../unit.h"
#include "mod/iso_msg.h"
#include "mod/wire.h"

#include <fcntl.h>
#include <meta1/pmilter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

struct liar {
	struct fix *f;
	struct set_isolate iso;
	struct settings set;
	struct settings_module sm;
	struct mod_inst *in;
	const struct meta1_pmilter_ops *ops;
	int fd; /* the worker's end; -1: none */
	unsigned pid, kills;
	struct meta1_pm_about about;
	void *sess;
	struct said said;
	struct meta1_req *req;
	uint32_t id; /* of the question */
};

static void killed(void *arg, uint32_t pid)
{
	struct liar *l = arg;

	l->kills += pid == l->pid;
}

/* ---- what the worker says ---- */

static void say(struct liar *l, const struct wire_head *h, const void *body, const int *fd)
{
	struct iovec iov[] = {
	    {(void *)(uintptr_t)h, sizeof(*h)}, {(void *)(uintptr_t)body, h->len}};
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} ctl = {0};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};

	if (h->nfd && fd) {
		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * h->nfd);
		ctl.h = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		ctl.h.cmsg_len = CMSG_LEN(sizeof(int) * h->nfd);
		memcpy(CMSG_DATA(&ctl.h), fd, sizeof(int) * h->nfd);
	}
	(void)!sendmsg(l->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_shape(struct liar *l, uint16_t type, uint32_t id, const struct shape *s,
    const void *msg, const int *fd, uint16_t nfd)
{
	struct packed p = {0};

	assert_true(shape_pack(s, msg, &p));
	say(l, &(struct wire_head){(uint32_t)p.n, type, nfd, id}, p.b, fd);
	free(p.b);
}

/* The next process that mcp has started, which is there at once. */
static void come(struct liar *l)
{
	const struct iso_opened opened = {.pid = ++l->pid};
	int sp[2];

	if (l->fd >= 0)
		close(l->fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sp), 0);
	l->fd = sp[1];
	say_shape(l, ISO_OPENED, 0, &iso_shape_opened, &opened, NULL, 0);
	mod_worker_came(&l->f->host, "pmilter_liar/x@1", sp[0], l->pid, 0);
	if (l->in)
		fix_turns(l->f);
}

/* What the role said last: the number of its question. */
static uint32_t asked(struct liar *l)
{
	static uint8_t b[1 << 20];
	ssize_t n = recv(l->fd, b, sizeof(b), 0);
	struct wire_head h = {0};
	uint32_t id = 0;

	for (ssize_t at = 0; at + (ssize_t)sizeof(h) <= n; at += (ssize_t)(sizeof(h) + h.len)) {
		memcpy(&h, b + at, sizeof(h));
		if (h.type == ISO_PM_ASK)
			id = h.id;
	}
	return id;
}

/* ---- the role ---- */

static int up(void **state)
{
	struct liar *l = base_alloc(sizeof(*l));

	fix_up((void **)&l->f);
	l->f->host.worker_kill = killed;
	l->f->host.worker_arg = l;
	l->iso.on = 1;
	l->fd = -1;
	come(l);
	l->f->conf = conf_read_text("options", "");
	l->set = (struct settings){.conf = l->f->conf, .file = "/etc/test.conf"};
	l->sm = (struct settings_module){.use = "test",
	    .kind = "pmilter",
	    .module = "pmilter_liar",
	    .instance = "x",
	    .section = conf_root(l->f->conf),
	    .isolate = &l->iso};
	l->in = mod_use(&l->f->host, &l->sm, &l->set, NULL, &l->f->err);
	if (!l->in)
		fail_msg("%s", l->f->err.text);
	l->ops = mod_ops(l->in);
	l->about = (struct meta1_pm_about){.size = sizeof(l->about), .client = "192.0.2.1"};
	*state = l;
	return 0;
}

static int down(void **state)
{
	struct liar *l = *state;

	mod_close(&l->in);
	if (l->fd >= 0)
		close(l->fd);
	fix_down((void **)&l->f);
	free(l);
	return 0;
}

/* A new session asks at CONNECT. */
static void ask(struct liar *l)
{
	const struct meta1_pm_ask q = {.size = sizeof(q), .stage = META1_PM_CONNECT};

	l->said = (struct said){0};
	l->ops->begin(mod_data(l->in), &l->about, &l->sess);
	l->req = mod_req(l->in, loop_now(l->f->host.loop) + 1000, fix_said, &l->said);
	l->ops->ask(l->sess, l->req, &q);
	fix_turns(l->f);
	l->id = asked(l);
}

static void end(struct liar *l)
{
	if (!l->said.times)
		mod_req_cancel(&l->req);
	l->ops->end(&l->sess);
	fix_turns(l->f);
}

/* ---- descriptors ---- */

static int memory(uint64_t size, bool hole, int seals)
{
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	static char zero[8192];

	for (uint64_t at = 0; !hole && at < size; at += sizeof(zero))
		assert_true(write(fd, zero, sizeof(zero)) > 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static int pipe_end(void)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	close(p[1]);
	return p[0];
}

static int some_file(void)
{
	char path[] = "/tmp/meta1-liar-XXXXXX";
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 8192), 0);
	unlink(path);
	return fd;
}

enum { GOOD, PIPE, PLAIN_FILE, UNSEALED, GROWS, HOLES, NO_FD };

static int make(int what)
{
	return what == GOOD	    ? memory(8192, false, SEALS)
	       : what == PIPE	    ? pipe_end()
	       : what == PLAIN_FILE ? some_file()
	       : what == UNSEALED   ? memory(8192, false, 0)
	       : what == GROWS	    ? memory(8192, false, SEALS & ~F_SEAL_GROW)
	       : what == HOLES	    ? memory(1ull << 40, true, SEALS)
				    : -1;
}

static void test_descriptors(void **state)
{
	static const struct {
		int what;
		struct iso_piece piece[3];
		unsigned n;
		bool good;
	} rows[] = {{GOOD, {{.len = 8192}}, 1, true},
	    {GOOD, {{.len = 4096}, {.off = 4096, .len = 4096}}, 2, true},
	    {GOOD, {{.mem = {"abc", 3}, .len = 3, .fd = -1}, {.off = 8192}}, 2, true},
	    {GOOD, {{.len = 8193}}, 1, false}, {GOOD, {{.off = 8192, .len = 1}}, 1, false},
	    {GOOD, {{.off = UINT64_MAX, .len = 2}}, 1, false},
	    {GOOD, {{.off = 1, .len = UINT64_MAX}}, 1, false},
	    {GOOD, {{.len = 8192}, {.len = 8192}}, 2, false}, /* the same twice */
	    {GOOD, {{.len = 1, .fd = 1}}, 1, false},
	    {GOOD, {{.len = 1, .fd = INT32_MAX}}, 1, false},
	    {GOOD, {{.len = 1, .fd = -1}}, 1, false},
	    {GOOD, {{.mem = {"abc", 3}, .len = 4, .fd = -1}}, 1, false},
	    {PIPE, {{.len = 0}}, 1, false}, {PLAIN_FILE, {{.len = 8192}}, 1, false},
	    {UNSEALED, {{.len = 8192}}, 1, false}, {GROWS, {{.len = 8192}}, 1, false},
	    {HOLES, {{.len = 1ull << 40}}, 1, false}, {NO_FD, {{.len = 1}}, 1, false}};
	const struct meta1_pm_verdict v = {.size = sizeof(v), .wants = 255};
	struct liar *l = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct iso_pm_edit e = {
		    .kind = META1_PM_BODY, .npiece = rows[i].n, .piece = rows[i].piece};
		const struct iso_pm_answer m = {.verdict = &v, .nedit = 1, .edit = &e};
		int fd = make(rows[i].what);
		const struct meta1_pm_verdict *got;

		l->kills = 0;
		ask(l);
		say_shape(l, ISO_ANSWER, l->id, &iso_shape_pm_answer, &m, &fd, fd >= 0);
		if (fd >= 0)
			close(fd);
		fix_turns(l->f);
		if (l->said.times != 1 || (l->said.st == META1_OK) != rows[i].good ||
		    l->kills != !rows[i].good)
			fail_msg("row %zu: %u times, %d, %s, %u killed", i, l->said.times,
			    (int)l->said.st, l->said.text, l->kills);
		got = l->said.ext;
		if (rows[i].good)
			assert_int_equal(got->edit[0].nextent, rows[i].n);
		end(l);
		if (!rows[i].good)
			come(l);
	}
}

/* ---- frames ---- */

static void test_not_asked(void **state)
{
	const struct iso_pm_answer none = {.status = META1_TEMPFAIL};
	const struct iso_map map = {.index = 0, .ms = 5, .key = {"k", 1}};
	const struct iso_dns dns = {.type = UINT32_MAX, .ms = 5, .name = "example.org"};
	const struct iso_opened opened = {.pid = 1};
	struct liar *l = *state;

	for (int i = 0; i < 10; i++) {
		struct wire_head h = {.len = 0, .type = ISO_ANSWER, .id = l->id};

		l->kills = 0;
		ask(l);
		if (i == 0) /* another place, another life of it, twice */
			say_shape(l, ISO_ANSWER, l->id + 1, &iso_shape_pm_answer, &none, NULL, 0);
		else if (i == 1)
			say_shape(
			    l, ISO_ANSWER, l->id + 0x10000, &iso_shape_pm_answer, &none, NULL, 0);
		for (int k = 0; i == 2 && k < 2; k++)
			say_shape(l, ISO_ANSWER, l->id, &iso_shape_pm_answer, &none, NULL, 0);
		if (i == 3) /* the role has no maps */
			say_shape(l, ISO_MAP, 1, &iso_shape_map, &map, NULL, 0);
		else if (i == 4)
			say_shape(l, ISO_DNS, 1, &iso_shape_dns, &dns, NULL, 0);
		else if (i == 5)
			say_shape(l, ISO_OPENED, 0, &iso_shape_opened, &opened, NULL, 0);
		else if (i == 6) /* without a body, of no type, too long, with more than came */
			say(l, &h, "", NULL);
		else if (i == 7)
			say(l, &(struct wire_head){.type = 999}, "", NULL);
		else if (i == 8)
			say(l, &(struct wire_head){.type = 5, .nfd = 3}, "", NULL);
		if (i == 9) {
			h.len = UINT32_MAX;
			(void)!send(l->fd, &h, sizeof(h), MSG_NOSIGNAL);
		}
		fix_turns(l->f);
		if (l->said.times != 1 || l->said.st != META1_TEMPFAIL || l->kills != 1)
			fail_msg("%d: %u times, %d, %u killed", i, l->said.times, (int)l->said.st,
			    l->kills);
		end(l);
		come(l);
	}
}

static void good_answer(struct packed *p)
{
	static const struct meta1_buf line[] = {{"one", 3}, {"two", 3}};
	static const struct iso_piece piece[] = {
	    {.mem = {"text\r\n", 6}, .len = 6, .fd = -1}, {.len = 4096}};
	static const struct iso_pm_edit edit[] = {
	    {.kind = META1_PM_ADD_HEADER, .name = {"X-A", 3}, .value = {"b", 1}},
	    {.kind = META1_PM_BODY, .npiece = 2, .piece = piece}};
	static const struct meta1_pm_verdict v = {.size = sizeof(v),
	    .wants = 255,
	    .smtp = 550,
	    .dsn = "5.7.1",
	    .nline = 2,
	    .line = line,
	    .note = "a note",
	    .hold = "why"};
	static const struct meta1_reply r = {.size = sizeof(r), .text = "a text"};
	const struct iso_pm_answer m = {.reply = &r, .verdict = &v, .nedit = 2, .edit = edit};

	assert_true(shape_pack(&iso_shape_pm_answer, &m, p));
}

/* Everything that a verdict points to is read, as smtps would. */
static unsigned touch(const struct meta1_pm_verdict *v)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < v->nline; i++)
		for (size_t k = 0; k < v->line[i].len; k++)
			sum += ((const uint8_t *)v->line[i].data)[k];
	sum += (unsigned)((v->note ? strlen(v->note) : 0) + (v->hold ? strlen(v->hold) : 0));
	for (unsigned i = 0; i < v->nedit; i++) {
		const struct meta1_pm_edit *e = &v->edit[i];

		for (size_t k = 0; k < e->name.len; k++)
			sum += ((const uint8_t *)e->name.data)[k];
		for (size_t k = 0; k < e->value.len; k++)
			sum += ((const uint8_t *)e->value.data)[k];
		for (unsigned x = 0; x < e->nextent; x++)
			for (uint64_t k = 0; e->extent[x].mem && k < e->extent[x].len; k++)
				sum += ((const uint8_t *)e->extent[x].mem)[k];
	}
	return sum;
}

static void test_each_byte(void **state)
{
	static const uint8_t with[] = {0x01, 0x80, 0xff};
	struct liar *l = *state;
	struct packed p = {0};
	int fd = memory(8192, false, SEALS);
	unsigned fine = 0, lost = 0;

	good_answer(&p);
	for (size_t i = 0; i < sizeof(with) * p.n; i++) {
		l->kills = 0;
		ask(l);
		p.b[i / sizeof(with)] ^= with[i % sizeof(with)];
		say(l, &(struct wire_head){(uint32_t)p.n, ISO_ANSWER, 1, l->id}, p.b, &fd);
		p.b[i / sizeof(with)] ^= with[i % sizeof(with)];
		fix_turns(l->f);
		assert_int_equal(l->said.times, 1);
		if (l->said.st == META1_OK)
			fine += touch(l->said.ext) > 0;
		lost += l->kills;
		end(l);
		if (l->kills)
			come(l);
	}
	assert_true(fine > 0 && lost > 0);
	close(fd);
	free(p.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_descriptors, up, down),
	    cmocka_unit_test_setup_teardown(test_not_asked, up, down),
	    cmocka_unit_test_setup_teardown(test_each_byte, up, down)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
