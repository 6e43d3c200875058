/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_dir.c -- tries modules/queue/dir/ without its disk: an outcome that was refused did not
 * happen, an end that was refused is said later, what an admin took away is not remembered for
 * ever, a cursor is said soon, and a name is synced before its message is told unless its owner
 * vouched for it. Files of outcomes are real ones in a folder of the test.
 */
#include "../../../modules/queue/dir/backlog.c"

#include "../unit.h"
#include "queue_host.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FULL (16u << 20)
#define DAY  86400

static struct store l;
static struct manager m;
static struct conf conf = {.status_sync = 1000, .journal_size = 2 << 20};
static enum meta1_status answer;
static char dir[] = "/tmp/m1-queue-dir-XXXXXX";
static struct {
	void (*fn)(int, short, void *);
	void *arg;
	bool armed;
} timer[4];
static unsigned ntimer;
static struct {
	void (*work)(void *), (*done)(void *);
	void *arg;
} job[8];
static unsigned njob;
static char synced[256]; /* folders, in order */
static int folder_fd;	 /* of the writer's folder, under test */

/* ---- the host, and the rest of the store ---- */

static struct meta1_watch *host_timer(
    struct meta1_ctx *ctx, int64_t ms, void (*fn)(int, short, void *), void *arg)
{
	(void)ctx, (void)ms;
	timer[ntimer].fn = fn;
	timer[ntimer].arg = arg;
	timer[ntimer].armed = false;
	return (struct meta1_watch *)&timer[ntimer++];
}

bool store_job(struct store *s, void (*work)(void *), void (*done)(void *), void *arg)
{
	(void)s;
	job[njob].work = work;
	job[njob].done = done;
	job[njob++].arg = arg;
	return true;
}
void store_arm(struct store *s, struct meta1_watch *t, int64_t ms)
{
	(void)s, (void)ms;
	for (unsigned i = 0; i < ntimer; i++)
		timer[i].armed = timer[i].armed || t == (struct meta1_watch *)&timer[i];
}
void store_answer(struct store *s, struct meta1_req **req, enum meta1_status st, const char *text)
{
	(void)s, (void)text;
	*req = NULL;
	answer = st;
}
size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	(void)inst, (void)out;
	return 0;
}
void space_reclaim(void *inst, uint64_t number)
{
	(void)inst, (void)number;
}

/* Jobs and timers, until nothing is left. */
static void settle(void)
{
	for (bool more = true; more;) {
		more = false;
		for (unsigned i = 0; i < ntimer; i++)
			if (timer[i].armed) {
				timer[i].armed = false;
				timer[i].fn(-1, 0, timer[i].arg);
				more = true;
			}
		while (njob > 0) {
			unsigned i = --njob;
			void (*done)(void *) = job[i].done;
			void *arg = job[i].arg;

			job[i].work(arg);
			done(arg);
			more = true;
		}
	}
}

/* What fsync() does to the disk is not the subject; which folders it is called for is. */
int fsync(int fd)
{
	char link[64], path[256];
	ssize_t n;
	const char *base;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	base = strrchr(path, '/');
	if (folder_fd >= 0)
		snprintf(synced + strlen(synced), sizeof(synced) - strlen(synced), "%s ",
		    fd == folder_fd ? "." : base + 1);
	return 0;
}

static uint64_t bytes_read;

ssize_t pread(int fd, void *b, size_t n, off_t off)
{
	ssize_t got = syscall(SYS_pread64, fd, b, n, off);

	bytes_read += got > 0 ? (uint64_t)got : 0;
	return got;
}

/* ---- the tests ---- */

static void on_entry(void *arg, const struct meta1_qentry *e)
{
	(void)arg, (void)e;
}
static unsigned announced;
static void on_space(void *arg, uint32_t writer, uint64_t unit)
{
	(void)arg, (void)writer, (void)unit;
	announced++;
}

static const struct meta1_qevents events = {.size = sizeof(events),
    .entry = on_entry,
    .space = on_space,
    .history_time = 7 * DAY,
    .history_size = 1 << 30};

static void start(void)
{
	struct replay p = {.m = &m};

	folder_fd = -1;
	ntimer = njob = 0;
	l = (struct store){.h = &host, .c = &conf, .m = &m, .qfd = open(dir, O_RDONLY)};
	m = (struct manager){.d = &l, .ev = &events, .lock = -1};
	m.dir = openat(l.qfd, "state", O_RDONLY | O_DIRECTORY);
	assert_true(m.dir >= 0);
	assert_true(outcomes_open(&m));
	p.dir = m.dir;
	p.qfd = l.qfd;
	p.size = conf.journal_size;
	replay_work(&p);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.damaged, 0);
	m.t = p.t;
	journal_start(&m.o.j, p.fd, p.serial);
	m.loaded = true;
	announced = 0;
}

static void end(void)
{
	settle();
	if (m.later != NULL)
		host_unwatch(&m.later);
	journal_close(&m.o.j);
	while (m.ws != NULL) {
		struct mwriter *w = m.ws;

		m.ws = w->next;
		free(w);
	}
	table_free(&m.t);
	close(m.dir);
	close(l.qfd);
}

static int clear(void **state)
{
	char cmd[128];

	(void)state;
	if (strstr(dir, "XXXXXX") != NULL)
		assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "rm -rf %s/* && mkdir %s/state", dir, dir);
	return system(cmd); /* NOLINT: a name of our own */
}

static int remove_all(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd); /* NOLINT: a name of our own */
}

static uint64_t nr(uint64_t count)
{
	return (uint64_t)1 << 62 | count << 8 | 1;
}

static void message(uint64_t count, uint32_t nrcpt)
{
	struct rec *r = table_add(&m.t, 1, nr(count));

	table_admit(&m.t, r, nrcpt);
	r->told = r->seen = true;
}

static enum meta1_status outcome(uint64_t count, uint32_t rcpt, enum meta1_rstate state)
{
	struct meta1_qoutcome o = {.size = sizeof(o),
	    .id = "S1",
	    .key = nr(count),
	    .rcpt = rcpt,
	    .state = state,
	    .reason = {"later", 5},
	    .next_try = wall_now + 600};

	answer = META1_OK; /* the journal answers when it was synced */
	manager_outcome(&l, NULL, &o);
	return answer;
}

/* So that one more line is taken, and no second one. */
static size_t fill(void)
{
	size_t had = m.o.j.gather.len;

	assert_true(bytes_room(&m.o.j.gather, FULL + 4096));
	m.o.j.gather.len = FULL;
	m.o.j.busy = true; /* else it goes to the disk at once */
	return had;
}

static void refused_outcome(void **state)
{
	size_t had;

	(void)state;
	start();
	message(7, 2);
	had = fill();
	m.o.j.gather.len++;
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_TEMPFAIL);
	m.o.j.gather.len = had;
	m.o.j.busy = false;
	assert_int_equal(outcome(7, 1, META1_R_DELIVERED), META1_OK);
	assert_int_equal(m.t.ndead, 0); /* its first recipient is not done */
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_OK);
	assert_int_equal(m.t.ndead, 1);
	end();
}

/* All of it is recorded, that it is done finds no room: its file goes all the same, soon. */
static void refused_end(void **state)
{
	size_t had;

	(void)state;
	start();
	message(7, 1);
	message(8, 1);
	had = fill();
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_OK);
	assert_int_equal(m.t.ndead, 0);
	memmove(m.o.j.gather.b + had, m.o.j.gather.b + FULL, m.o.j.gather.len - FULL);
	m.o.j.gather.len -= FULL - had;
	m.o.j.busy = false;
	settle();
	assert_int_equal(m.t.ndead, 1);
	assert_int_equal(announced, 1);
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_PERMFAIL);
	assert_int_equal(outcome(8, 0, META1_R_DELIVERED), META1_OK);
	end();
	start(); /* and the next start knows both as done */
	assert_int_equal(m.t.ndead, 2);
	assert_null(m.t.live.first);
	end();
}

static void cursor_is_said(void **state)
{
	struct meta1_qrcpt rcpt = {.addr = {"a@x.test", 8}};
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = 1, .sizeof_rcpt = sizeof(rcpt), .rcpt = &rcpt};
	struct dir_notice n = {
	    .kind = NOTICE_MESSAGE, .writer = 1, .life = nr(5), .number = nr(6), .len = 10};
	struct mwriter *w;

	(void)state;
	start();
	w = manager_writer(&m, 1);
	w->scan = false;
	w->life = nr(5);
	w->cursor = nr(4);
	manager_notice(&l, (struct meta1_buf){&n, sizeof(n)}, "S1", &env);
	assert_int_equal(w->cursor, nr(6));
	assert_int_equal(m.o.j.put, 0);
	settle(); /* no outcome came */
	assert_int_equal(m.o.j.put, 1);
	assert_int_equal(w->said, nr(6));
	settle();
	assert_int_equal(m.o.j.put, 1);
	end();
}

/* Lives after its file was taken away: it is known for 30 days after its last line, over lives and
 * however often its lines are said again. */
static void forgotten(void **state)
{
	static const struct {
		unsigned days;
		bool known;
	} t[] = {{1, true}, {10, true}, {29, true}, {32, false}, {33, false}};
	int64_t begin = wall_now;

	(void)state;
	start();
	message(7, 2);
	message(8, 2);
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_OK);
	assert_int_equal(outcome(8, 0, META1_R_WAITING), META1_OK);
	end();
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct mwriter *w;
		struct rec *r;

		wall_now = begin + t[i].days * DAY;
		start();
		r = table_find(&m.t, 1, nr(8));
		if (r != NULL)
			r->seen = true; /* this one is there, and cannot be read */
		w = manager_writer(&m, 1);
		w->scan = false;
		w->cursor = nr(9);
		outcomes_clean(&m);
		settle();
		assert_int_equal(table_find(&m.t, 1, nr(7)) != NULL, t[i].known);
		assert_non_null(table_find(&m.t, 1, nr(8)));
		end();
	}
	wall_now = begin;
}

static void names_synced(void **state)
{
	static const struct {
		uint64_t v[3], life, known; /* counts; folders change each 64 */
		const char *folders;
	} t[] = {{{10, 70, 130}, 0, 0, ". 00 01 02 "}, {{10, 70, 130}, 5, 200, ""},
	    {{10, 70, 130}, 5, 70, ". 02 "}, {{10, 70, 130}, 60, 200, ". 00 "},
	    {{10, 11, 130}, 100, 200, ". 00 "}, {{10, 70, 130}, 300, 290, ". 00 01 02 "}};
	struct mwriter w = {.number = 1};
	int at;

	(void)state;
	at = open(dir, O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < 3; i++) {
		char sub[4];

		snprintf(sub, sizeof(sub), "%02x", i);
		assert_int_equal(mkdirat(at, sub, 0700), 0);
	}
	folder_fd = at;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t v[3] = {nr(t[i].v[0]), nr(t[i].v[1]), nr(t[i].v[2])};
		struct list_job job_ = {.w = &w,
		    .v = v,
		    .n = 3,
		    .life = t[i].life > 0 ? nr(t[i].life) : 0,
		    .known = t[i].known > 0 ? nr(t[i].known) : 0};

		synced[0] = '\0';
		sync_names(&job_, at);
		assert_int_equal(job_.unsynced, 0);
		if (strcmp(synced, t[i].folders) != 0)
			fail_msg(
			    "row %zu: synced \"%s\", expected \"%s\"", i, synced, t[i].folders);
	}
	folder_fd = -1;
	close(at);
}

/* A start reads what was written, not the room behind it; and a line that has no end is damage when
 * a later piece stands behind the gap. */
static void room_is_not_read(void **state)
{
	struct replay p = {.serial = 0};
	char path[128], torn[] = "0123456789abcdef 1 40000";
	int fd;

	(void)state;
	start();
	message(7, 1);
	assert_int_equal(outcome(7, 0, META1_R_DELIVERED), META1_OK);
	settle();
	snprintf(path, sizeof(path), "%s/state/outcomes.0000000000000001", dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_true(replay_end(fd, 1) <= m.o.j.off && replay_end(fd, 1) > m.o.j.off - 4096);
	assert_int_equal(pwrite(fd, torn, sizeof(torn) - 1, 8192), sizeof(torn) - 1);
	assert_int_equal(pwrite(fd, "#\n", 2, 409600), 2);
	assert_int_equal(replay_end(fd, 1), 409602);
	close(fd);
	p.dir = m.dir;
	bytes_read = 0;
	replay_file(&p, "outcomes.0000000000000001", false);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.damaged, 1);
	assert_int_equal(p.t.ndead, 1);
	assert_true(bytes_read < 1 << 20); /* of a file of 4 MB */
	table_free(&p.t);
	end();
}

/* History has the same lines in less room, unless they are damaged. */
static void packed(void **state)
{
	struct replay p = {.serial = 0};
	char path[128];
	int from, to;

	(void)state;
	start();
	for (uint64_t i = 0; i < 20; i++) {
		message(7 + i, 1);
		assert_int_equal(outcome(7 + i, 0, META1_R_DELIVERED), META1_OK);
		settle(); /* a sync each */
	}
	snprintf(path, sizeof(path), "%s/state/outcomes.0000000000000001", dir);
	from = open(path, O_RDWR);
	snprintf(path, sizeof(path), "%s/state/new", dir);
	to = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(from >= 0 && to >= 0);
	assert_int_equal(replay_pack(from, to, 1), 0);
	assert_true(replay_end(from, 1) > 19 * JOURNAL_ALIGN);
	assert_true(replay_end(to, 1) < JOURNAL_ALIGN);
	p.dir = m.dir;
	replay_file(&p, "new", false);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.damaged, 0);
	assert_int_equal(p.t.ndead, 20);
	assert_int_equal(pwrite(from, "x", 1, 4 * JOURNAL_ALIGN + 30), 1);
	assert_int_not_equal(replay_pack(from, to, 1), 0);
	table_free(&p.t);
	close(from);
	close(to);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(refused_outcome, clear),
	    cmocka_unit_test_setup(refused_end, clear),
	    cmocka_unit_test_setup(cursor_is_said, clear), cmocka_unit_test_setup(forgotten, clear),
	    cmocka_unit_test_setup(names_synced, clear),
	    cmocka_unit_test_setup(room_is_not_read, clear), cmocka_unit_test_setup(packed, clear)};

	return cmocka_run_group_tests(tests, NULL, remove_all);
}
