/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers that are broken into: whatever frames they say, their role gives them up or goes on, and
 * what was asked is a temporary failure. */
#include "fix.h"

#include "../unit.h"
#include "mod/inst.h"
#include "mod/iso_msg.h"
#include "mod/wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct say { /* a frame of the worker */
	uint16_t type, nfd;
	uint32_t id, len; /* len 0: of the body */
	const struct shape *shape;
	const void *msg;
	unsigned times;
};
#define ASKED 0x10000u /* number of the first question */

static const struct meta1_buf one = {"v", 1};
static const struct meta1_reply some = {.size = sizeof(some), .nval = 1, .val = &one};
static const struct iso_opened good = {.status = 0, .pid = 7};
static const struct iso_answer yes = {.status = META1_OK, .reply = &some},
			       empty = {.status = META1_OK}, more = {.status = META1_MORE},
			       odd = {.status = 99};
static const struct iso_map far_map = {.index = 4000000000u, .key = {"k", 1}};
static const struct iso_dns far_dns = {.type = 70000, .name = "a.test"}, nameless = {.type = 1};
static const struct iso_log no_text = {.level = 3}, loud = {.level = 77, .text = "a\n\x01 line"};
static const struct iso_count nobody = {.value = 1}, counted = {.name = "Bad-Name", .value = 1};
static const struct iso_tr_rcpt result = {.rcpt = 5};

/* What follows after it is open and was asked one question. */
static const struct {
	const char *name;
	struct say say;
	bool given_up;
} rows[] = {
    {"an answer to nobody", {.type = ISO_ANSWER, .id = 5, .shape = &iso_shape_answer, .msg = &yes},
	true},
    {"of another life",
	{.type = ISO_ANSWER, .id = 0x20000, .shape = &iso_shape_answer, .msg = &yes}, true},
    {"twice",
	{.type = ISO_ANSWER, .id = ASKED, .shape = &iso_shape_answer, .msg = &yes, .times = 2},
	true},
    {"found nothing", {.type = ISO_ANSWER, .id = ASKED, .shape = &iso_shape_answer, .msg = &empty},
	true},
    {"a challenge", {.type = ISO_ANSWER, .id = ASKED, .shape = &iso_shape_answer, .msg = &more},
	true},
    {"no status", {.type = ISO_ANSWER, .id = ASKED, .shape = &iso_shape_answer, .msg = &odd}, true},
    {"no body", {.type = ISO_ANSWER, .id = ASKED}, true},
    {"opened again", {.type = ISO_OPENED, .shape = &iso_shape_opened, .msg = &good}, true},
    {"a question of a role", {.type = ISO_LOOKUP}, true},
    {"a type that there is not", {.type = 999}, true},
    {"a long frame", {.type = ISO_LOG, .len = WIRE_FRAME_MAX + 1}, true},
    {"descriptors that are not there", {.type = ISO_LOG, .nfd = 3}, true},
    {"many of them", {.type = ISO_LOG, .nfd = 60000}, true},
    {"no map", {.type = ISO_MAP, .shape = &iso_shape_map, .msg = &far_map}, true},
    {"no type of DNS", {.type = ISO_DNS, .shape = &iso_shape_dns, .msg = &far_dns}, true},
    {"no name", {.type = ISO_DNS, .shape = &iso_shape_dns, .msg = &nameless}, true},
    {"a line without text", {.type = ISO_LOG, .shape = &iso_shape_log, .msg = &no_text}, true},
    {"a counter without name", {.type = ISO_COUNT, .shape = &iso_shape_count, .msg = &nobody},
	true},
    {"a result of a recipient",
	{.type = ISO_TR_RCPT, .id = ASKED, .shape = &iso_shape_tr_rcpt, .msg = &result}, true},
    {"an odd line", {.type = ISO_LOG, .shape = &iso_shape_log, .msg = &loud}, false},
    {"an odd counter",
	{.type = ISO_COUNT, .shape = &iso_shape_count, .msg = &counted, .times = 500}, false},
    {"it is there", {.type = ISO_PONG, .times = 50}, false},
    {"all changed", {.type = ISO_CHANGED, .times = 500}, false},
};

/* ---- the worker ---- */

static void put(int fd, const struct say *s)
{
	struct wire_head h = {.type = s->type, .nfd = s->nfd, .id = s->id};
	struct packed p = {0};

	if (s->shape && !shape_pack(s->shape, s->msg, &p))
		_exit(9);
	h.len = s->len ? s->len : (uint32_t)p.n;
	if (write(fd, &h, sizeof(h)) < 0 || (p.n && write(fd, p.b, p.n) < 0))
		_exit(0); /* it was given up */
}

static void take(int fd)
{
	struct wire_head h;
	char body[65536];

	if (read(fd, &h, sizeof(h)) != sizeof(h) || h.len > sizeof(body) ||
	    (h.len && recv(fd, body, h.len, MSG_WAITALL) != (ssize_t)h.len))
		_exit(8);
}

static pid_t hostile(struct fix *f, const struct say *first, const struct say *then)
{
	const struct say open = {.type = ISO_OPENED, .shape = &iso_shape_opened, .msg = &good};
	int sp[2];
	char c;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	pid = fork();
	if (pid == 0) {
		close(sp[0]);
		take(sp[1]);
		put(sp[1], first ? first : &open);
		if (!first)
			take(sp[1]);
		for (unsigned i = 0; then && i < (then->times ? then->times : 1); i++)
			put(sp[1], then);
		while (read(sp[1], &c, 1) > 0)
			;
		_exit(0);
	}
	close(sp[1]);
	assert_int_equal(fcntl(sp[0], F_SETFL, O_NONBLOCK), 0);
	mod_worker_came(&f->host, "map_try/x@1", sp[0], (uint32_t)pid, 0);
	return pid;
}

/* ---- the role ---- */

static struct mod_inst *use(struct fix *f)
{
	static struct settings set;
	static const struct set_isolate iso = {.on = 1};
	static struct settings_module sm;

	f->conf = conf_read_text("options", "");
	set = (struct settings){.conf = f->conf, .file = "/etc/test.conf"};
	sm = (struct settings_module){.use = "test",
	    .kind = "map",
	    .module = "map_try",
	    .instance = "x",
	    .section = conf_root(f->conf),
	    .isolate = &iso};
	return fix_await(f, mod_use(&f->host, &sm, &set, NULL, &f->err));
}

static void is_up(void *arg, const struct mod_worker_state *s)
{
	*(bool *)arg = s->up;
}

static bool up_now(struct fix *f)
{
	bool up = false;

	mod_workers(&f->host, is_up, &up);
	return up;
}

static void one_row(size_t i)
{
	struct fix *f = NULL;
	struct mod_inst *in;
	struct said s = {0};
	bool up;
	pid_t pid;

	fix_up((void **)&f);
	pid = hostile(f, NULL, &rows[i].say);
	in = use(f);
	assert_non_null(in);
	fix_ask(f, in, "now", &s);
	up = up_now(f);
	for (int k = 0; k < 5000 && (rows[i].given_up ? up : k < 20); k++) {
		loop_turn(f->host.loop, false);
		usleep(1000); /* of what is not to come there is no event: 20 ms of nothing */
		up = up_now(f);
	}
	if (up == rows[i].given_up)
		fail_msg("%s: %s", rows[i].name, up ? "it goes on" : "it was given up");
	if (s.times && rows[i].say.times != 2)
		assert_int_equal(s.st, META1_TEMPFAIL);
	mod_close(&in);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(f->faults, 0);
	fix_down((void **)&f);
}

static void test_serving(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		one_row(i);
}

/* The role waits for its first word: nonsense ends that. */
static void test_opening(void **state)
{
	static const struct say first[] = {
	    {.type = ISO_ANSWER, .id = ASKED, .shape = &iso_shape_answer, .msg = &yes},
	    {.type = ISO_OPENED}, {.type = ISO_LOG, .len = UINT32_MAX}, {.type = ISO_PONG},
	    {.type = 0xffff, .nfd = 0xffff}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		struct fix *f = NULL;
		pid_t pid;

		fix_up((void **)&f);
		pid = hostile(f, &first[i], NULL);
		assert_null(use(f));
		assert_non_null(strstr(f->err.text, " did not open it: protocol error"));
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_int_equal(f->faults, 0);
		fix_down((void **)&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_serving), cmocka_unit_test(test_opening)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
