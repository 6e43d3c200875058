/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker that lies to its role: descriptors that are not sealed memory, or less of it than is
 * said; answers to what was not asked; frames of which each byte is another. The role loses the
 * worker, never itself, and takes the next one. */
#include "liar.h"

#include "../unit.h"

#include <fcntl.h>
#include <meta1/pmilter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* ---- the role ---- */

struct filter {
	struct liar *l;
	const struct meta1_pmilter_ops *ops;
	struct meta1_pm_about about;
	void *sess;
	struct said said;
	struct meta1_req *req;
	uint32_t id; /* of the question */
};

static int up(void **state)
{
	struct filter *t = base_alloc(sizeof(*t));

	t->l = liar_new("pmilter");
	t->ops = mod_ops(t->l->in);
	t->about = (struct meta1_pm_about){.size = sizeof(t->about), .client = "192.0.2.1"};
	*state = t;
	return 0;
}

static int down(void **state)
{
	struct filter *t = *state;

	liar_free(t->l);
	free(t);
	return 0;
}

/* A new session asks at CONNECT. */
static void ask(struct filter *t)
{
	struct liar *l = t->l;
	const struct meta1_pm_ask q = {.size = sizeof(q), .stage = META1_PM_CONNECT};

	t->said = (struct said){0};
	t->ops->begin(mod_data(l->in), &t->about, &t->sess);
	t->req = mod_req(l->in, loop_now(l->f->host.loop) + 1000, fix_said, &t->said);
	t->ops->ask(t->sess, t->req, &q);
	fix_turns(l->f);
	t->id = liar_asked(l);
}

static void end(struct filter *t)
{
	if (!t->said.times)
		mod_req_cancel(&t->req);
	t->ops->end(&t->sess);
	fix_turns(t->l->f);
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
	struct filter *t = *state;
	struct liar *l = t->l;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct iso_pm_edit e = {
		    .kind = META1_PM_BODY, .npiece = rows[i].n, .piece = rows[i].piece};
		const struct iso_pm_answer m = {.verdict = &v, .nedit = 1, .edit = &e};
		int fd = make(rows[i].what);
		const struct meta1_pm_verdict *got;

		l->kills = 0;
		ask(t);
		liar_tell(l, ISO_ANSWER, t->id, &iso_shape_pm_answer, &m, &fd, fd >= 0);
		if (fd >= 0)
			close(fd);
		fix_turns(l->f);
		if (t->said.times != 1 || (t->said.st == META1_OK) != rows[i].good ||
		    l->kills != !rows[i].good)
			fail_msg("row %zu: %u times, %d, %s, %u killed", i, t->said.times,
			    (int)t->said.st, t->said.text, l->kills);
		got = t->said.ext;
		if (rows[i].good)
			assert_int_equal(got->edit[0].nextent, rows[i].n);
		end(t);
		if (!rows[i].good)
			liar_come(l);
	}
}

/* ---- frames ---- */

static void test_not_asked(void **state)
{
	const struct iso_pm_answer none = {.status = META1_TEMPFAIL};
	const struct iso_map map = {.index = 0, .ms = 5, .key = {"k", 1}};
	const struct iso_dns dns = {.type = UINT32_MAX, .ms = 5, .name = "example.org"};
	const struct iso_opened opened = {.pid = 1};
	struct filter *t = *state;
	struct liar *l = t->l;

	for (int i = 0; i < 10; i++) {
		struct wire_head h = {.len = 0, .type = ISO_ANSWER, .id = t->id};

		l->kills = 0;
		ask(t);
		if (i == 0) /* another place, another life of it, twice */
			liar_tell(l, ISO_ANSWER, t->id + 1, &iso_shape_pm_answer, &none, NULL, 0);
		else if (i == 1)
			liar_tell(
			    l, ISO_ANSWER, t->id + 0x10000, &iso_shape_pm_answer, &none, NULL, 0);
		for (int k = 0; i == 2 && k < 2; k++)
			liar_tell(l, ISO_ANSWER, t->id, &iso_shape_pm_answer, &none, NULL, 0);
		if (i == 3) /* the role has no maps */
			liar_tell(l, ISO_MAP, 1, &iso_shape_map, &map, NULL, 0);
		else if (i == 4)
			liar_tell(l, ISO_DNS, 1, &iso_shape_dns, &dns, NULL, 0);
		else if (i == 5)
			liar_tell(l, ISO_OPENED, 0, &iso_shape_opened, &opened, NULL, 0);
		else if (i == 6) /* without a body, of no type, too long, with more than came */
			liar_say(l, &h, "", NULL);
		else if (i == 7)
			liar_say(l, &(struct wire_head){.type = 999}, "", NULL);
		else if (i == 8)
			liar_say(l, &(struct wire_head){.type = 5, .nfd = 3}, "", NULL);
		if (i == 9) {
			h.len = UINT32_MAX;
			(void)!send(l->fd, &h, sizeof(h), MSG_NOSIGNAL);
		}
		fix_turns(l->f);
		if (t->said.times != 1 || t->said.st != META1_TEMPFAIL || l->kills != 1)
			fail_msg("%d: %u times, %d, %u killed", i, t->said.times, (int)t->said.st,
			    l->kills);
		end(t);
		liar_come(l);
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
	struct filter *t = *state;
	struct liar *l = t->l;
	struct packed p = {0};
	int fd = memory(8192, false, SEALS);
	unsigned fine = 0, lost = 0;

	good_answer(&p);
	for (size_t i = 0; i < sizeof(with) * p.n; i++) {
		l->kills = 0;
		ask(t);
		p.b[i / sizeof(with)] ^= with[i % sizeof(with)];
		liar_say(l, &(struct wire_head){(uint32_t)p.n, ISO_ANSWER, 1, t->id}, p.b, &fd);
		p.b[i / sizeof(with)] ^= with[i % sizeof(with)];
		fix_turns(l->f);
		assert_int_equal(t->said.times, 1);
		if (t->said.st == META1_OK)
			fine += touch(t->said.ext) > 0;
		lost += l->kills;
		end(t);
		if (l->kills)
			liar_come(l);
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
