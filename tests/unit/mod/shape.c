/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames between a role and its workers: what is packed comes out as it was, and of bytes that were
 * cut, changed or are too many, nothing is believed. */
#include "../unit.h"
#include "mod/iso_msg.h"
#include "mod/wire.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct meta1_buf values[] = {{"one", 3}, {"", 0}, {"t\0o", 3}};
static const struct meta1_reply reply = {.size = sizeof(reply),
    .nval = 3,
    .val = values,
    .text = "why",
    .ttl = 7,
    .smtp = 451,
    .dsn = "4.3.0",
    .host = NULL};
static const struct iso_answer answer = {.status = META1_TEMPFAIL, .reply = &reply};

static void pack(const struct shape *s, const void *m, struct packed *p)
{
	*p = (struct packed){0};
	assert_true(shape_pack(s, m, p));
}

static void test_round(void **state)
{
	struct iso_answer m;
	struct packed p;
	struct pool pool;

	(void)state;
	pool_init(&pool, ISO_POOL_MAX);
	pack(&iso_shape_answer, &answer, &p);
	assert_true(shape_unpack(&iso_shape_answer, p.b, p.n, &pool, &m));
	assert_int_equal(m.status, META1_TEMPFAIL);
	assert_int_equal(m.reply->size, sizeof(reply));
	assert_int_equal(m.reply->nval, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(buf_eq(m.reply->val[i], values[i]));
	assert_non_null(m.reply->val[1].data);
	assert_string_equal(m.reply->text, "why");
	assert_string_equal(m.reply->dsn, "4.3.0");
	assert_int_equal(m.reply->ttl, 7);
	assert_int_equal(m.reply->smtp, 451);
	assert_null(m.reply->host);
	pool_clear(&pool);
	free(p.b);
}

/* Each shorter length, and each byte changed: refused, or read within its bounds (ASan sees). */
static void test_broken(void **state)
{
	struct iso_answer m;
	struct packed p;
	struct pool pool;
	uint8_t *copy;

	(void)state;
	pool_init(&pool, ISO_POOL_MAX);
	pack(&iso_shape_answer, &answer, &p);
	for (size_t n = 0; n < p.n; n++) {
		copy = base_alloc(n + 1);
		memcpy(copy, p.b, n);
		assert_false(shape_unpack(&iso_shape_answer, copy, n, &pool, &m));
		free(copy);
	}
	for (size_t i = 0; i < p.n; i++)
		for (unsigned v = 0; v < 256; v += 51) {
			copy = base_alloc(p.n);
			memcpy(copy, p.b, p.n);
			copy[i] = (uint8_t)v;
			if (shape_unpack(&iso_shape_answer, copy, p.n, &pool, &m) && m.reply)
				for (uint32_t k = 0; k < m.reply->nval; k++)
					assert_true(m.reply->val[k].len < p.n);
			pool_clear(&pool);
			free(copy);
		}
	free(p.b);
}

static void test_bounds(void **state)
{
	static const char long_name[100] = {[0 ... 98] = 'a'};
	static const struct {
		const char *name;
		bool good;
	} rows[] = {{"x", true}, {"", true}, {NULL, true}, {long_name, false},
	    {long_name + 35, true}, {long_name + 34, false}};
	struct iso_count m;
	struct packed p = {0};
	struct pool pool;

	(void)state;
	pool_init(&pool, 64);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		m = (struct iso_count){.name = rows[i].name, .value = -5};
		p.n = 0;
		assert_int_equal(shape_pack(&iso_shape_count, &m, &p), rows[i].good);
		if (!rows[i].good)
			continue;
		assert_true(shape_unpack(&iso_shape_count, p.b, p.n, &pool, &m));
		assert_int_equal(m.value, -5);
	}
	/* a NUL within a string; bytes behind the end; more than the pool may have */
	m = (struct iso_count){.name = "abc"};
	p.n = 0;
	assert_true(shape_pack(&iso_shape_count, &m, &p));
	p.b[5] = 0;
	assert_false(shape_unpack(&iso_shape_count, p.b, p.n, &pool, &m));
	p.b[5] = 'b';
	assert_true(shape_unpack(&iso_shape_count, p.b, p.n, &pool, &m));
	assert_false(shape_unpack(&iso_shape_count, p.b, p.n + 1, &pool, &m));
	p.n = 0;
	assert_true(shape_pack(&iso_shape_answer, &answer, &p));
	assert_false(shape_unpack(&iso_shape_answer, p.b, p.n, &pool, &(struct iso_answer){0}));
	pool_clear(&pool);
	free(p.b);
}

/* ---- the stream ---- */

struct got {
	struct wire *w;
	unsigned frames, gone;
	uint32_t id;
	char text[64], why[64];
	int fd;
	bool nonsense;
};

static bool on_frame(void *arg, struct wire_frame *f)
{
	struct got *g = arg;
	struct iso_log m;
	struct pool pool;

	g->frames++;
	g->id = f->id;
	pool_init(&pool, 4096);
	if (f->n && shape_unpack(&iso_shape_log, f->p, f->n, &pool, &m))
		str_copy(g->text, sizeof(g->text), m.text);
	if (f->nfd) {
		g->fd = f->fd[0];
		f->fd[0] = -1;
	}
	return !g->nonsense;
}

static void on_gone(void *arg, const char *why)
{
	struct got *g = arg;

	g->gone++;
	str_copy(g->why, sizeof(g->why), why);
}

struct ends {
	struct loop *loop;
	struct got a, b;
	int raw; /* the other end of b, when a is not there */
};

static void ends_up(struct ends *e, bool both)
{
	const struct wire_user ua = {on_frame, on_gone, &e->a}, ub = {on_frame, on_gone, &e->b};
	int sp[2];

	*e = (struct ends){.loop = loop_new(), .raw = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sp), 0);
	if (both)
		e->a.w = wire_new(e->loop, sp[0], &ua);
	else
		e->raw = sp[0];
	e->b.w = wire_new(e->loop, sp[1], &ub);
}

static void turns(struct ends *e)
{
	for (int i = 0; i < 50; i++)
		loop_turn(e->loop, false);
}

static void ends_down(struct ends *e)
{
	wire_close(&e->a.w);
	wire_close(&e->b.w);
	if (e->raw >= 0)
		close(e->raw);
	loop_free(&e->loop);
}

static void test_wire(void **state)
{
	const struct iso_log m = {.level = 1, .text = "a line"};
	struct ends e;
	int fds[2], pipefd[2];
	char c = 0;

	(void)state;
	ends_up(&e, true);
	for (uint32_t i = 1; i <= 100; i++)
		assert_true(wire_send(e.a.w, ISO_LOG, i, &iso_shape_log, &m, NULL, 0));
	assert_int_equal(pipe(pipefd), 0);
	fds[0] = pipefd[0];
	assert_true(wire_send(e.a.w, ISO_CANCEL, 101, NULL, NULL, fds, 1));
	turns(&e);
	assert_int_equal(e.b.frames, 101);
	assert_int_equal(e.b.id, 101);
	assert_string_equal(e.b.text, "a line");
	assert_int_equal(write(pipefd[1], "x", 1), 1);
	assert_int_equal(read(e.b.fd, &c, 1), 1);
	assert_int_equal(c, 'x');
	close(pipefd[1]);
	close(e.b.fd);
	wire_close(&e.a.w);
	turns(&e);
	assert_int_equal(e.b.gone, 1);
	assert_false(wire_send(e.b.w, ISO_LOG, 1, &iso_shape_log, &m, NULL, 0));
	ends_down(&e);
}

/* Heads that promise what is not to be had end the stream, once. */
static void test_heads(void **state)
{
	static const struct {
		struct wire_head h;
		bool bad;
	} rows[] = {{{.len = 0}, false}, {{.len = WIRE_FRAME_MAX + 1}, true},
	    {{.len = UINT32_MAX}, true}, {{.nfd = 1}, true}, {{.nfd = WIRE_FDS_MAX + 1}, true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ends e;

		ends_up(&e, false);
		assert_int_equal(write(e.raw, &rows[i].h, sizeof(rows[i].h)), sizeof(rows[i].h));
		turns(&e);
		assert_int_equal(e.b.gone, rows[i].bad);
		assert_int_equal(e.b.frames, !rows[i].bad);
		ends_down(&e);
	}
}

/* Nobody reads: it says no in time, and short words still go; nonsense ends it. */
static void test_full(void **state)
{
	static char text[4000];
	struct iso_log m = {.text = text}, brief = {.text = "brief"};
	struct ends e;
	unsigned n = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	ends_up(&e, false);
	while (wire_send(e.b.w, ISO_LOG, 1, &iso_shape_log, &m, NULL, 0))
		assert_true(n++ < 2 * WIRE_UNSENT_MAX / sizeof(text));
	assert_true(n >= WIRE_UNSENT_MAX / (sizeof(text) + 100));
	assert_true(wire_send(e.b.w, ISO_LOG, 1, &iso_shape_log, &brief, NULL, 0));
	ends_down(&e);
	ends_up(&e, true);
	e.b.nonsense = true;
	wire_send(e.a.w, ISO_LOG, 1, &iso_shape_log, &brief, NULL, 0);
	wire_send(e.a.w, ISO_LOG, 2, &iso_shape_log, &brief, NULL, 0);
	turns(&e);
	assert_int_equal(e.b.frames, 1);
	assert_string_equal(e.b.why, "protocol error");
	ends_down(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round),
	    cmocka_unit_test(test_broken), cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_wire), cmocka_unit_test(test_heads), cmocka_unit_test(test_full)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
