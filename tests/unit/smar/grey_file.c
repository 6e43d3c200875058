/* SPDX-License-Identifier: BSD-2-Clause */
/* grey_file.c -- the greylist's file: a list outlives its process, whatever clock, disk and damage
 * do. */
#include "smar/grey_file.h"

#include "../unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct grey_conf conf = {
    .wait = 300, .expire = 86400, .white = 1000000, .auto_white = 3, .bits4 = 24, .bits6 = 64};

static char path[64];

static int make_path(void **state)
{
	(void)state;
	strcpy(path, "/tmp/meta1-grey-XXXXXX");
	assert_non_null(mkdtemp(path));
	strcat(path, "/list");
	return 0;
}

static int drop_path(void **state)
{
	static const char *const ends[] = {"", ".new", ".bad"};
	char name[80];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	*strrchr(path, '/') = '\0';
	return rmdir(path);
}

struct life {
	struct loop *loop;
	struct work *work;
	struct grey *grey;
	struct grey_log *log;
	bool idle;
};
static struct life *now;

static void idle(void)
{
	now->idle = true;
}

static void begin(struct life *l, int64_t ms, int64_t sec)
{
	struct meta1_err err = {""};

	memset(l, 0, sizeof(*l));
	now = l;
	l->loop = loop_new();
	loop_fake_clock(l->loop, ms, sec);
	l->work = work_new(l->loop);
	l->grey = grey_new(5000, 9);
	l->log = grey_log_open(l->loop, l->work, l->grey, path, idle, &err);
	if (!l->log)
		fail_msg("%s", err.text);
}

static void flush(struct life *l)
{
	if (!grey_log_flushed(l->log))
		while (!l->idle)
			loop_turn(l->loop, true);
	assert_true(grey_log_flushed(l->log));
}

static void end(struct life *l)
{
	flush(l);
	grey_log_close(&l->log);
	grey_free(&l->grey);
	work_free(&l->work);
	loop_free(&l->loop);
}

static bool ask(struct life *l, const char *net, const char *from, const char *to)
{
	return grey_ask(l->grey, &conf, grey_log_now(l->log), net, from, to, false).pass;
}

static void a_list_outlives_its_process(void **state)
{
	struct life l;
	struct grey_entry *e;

	(void)state;
	begin(&l, 1000000, 1700000000);
	assert_false(ask(&l, "n", "a", "b"));
	assert_false(ask(&l, "n", "gone", "b"));
	assert_false(ask(&l, "n", "", "b"));
	e = grey_find(l.grey, "n\0gone\0b", 9);
	l.grey->changed(l.grey->arg, e, true);
	grey_drop(l.grey, &e);
	end(&l);
	/* 299 s later, by both clocks, then one more */
	begin(&l, 1299000, 1700000299);
	assert_int_equal(grey_count(l.grey), 2);
	assert_null(grey_find(l.grey, "n\0gone\0b", 9));
	assert_false(ask(&l, "n", "a", "b"));
	end(&l);
	begin(&l, 1300000, 1700000300);
	assert_true(ask(&l, "n", "a", "b"));
	assert_true(ask(&l, "n", "", "b"));
	end(&l);
	begin(&l, 1300000, 1700000300);
	assert_int_equal(l.grey->list[GREY_WHITE].n, 2);
	e = grey_find(l.grey, "n", 2);
	assert_int_equal(e->passes, 2);
	assert_false(e->white);
	end(&l);
}

/* The wall clock jumps by a year, ahead and back, while it runs and while it does not. */
static void clocks_that_jump(void **state)
{
	const int64_t year = 31536000;
	struct life l;

	(void)state;
	begin(&l, 1000000, 1700000000);
	ask(&l, "n", "a", "b");
	loop_fake_clock(l.loop, 1010000, 1700000010 + year);
	assert_false(ask(&l, "n", "a", "b"));
	loop_fake_clock(l.loop, 1020000, 1700000020 - year);
	assert_false(ask(&l, "n", "a", "b"));
	end(&l);
	begin(&l, 1030000, 1700000030 + year);
	assert_false(ask(&l, "n", "a", "b"));
	end(&l);
	begin(&l, 1040000, 1700000040 - year);
	assert_int_equal(grey_count(l.grey), 1);
	assert_false(ask(&l, "n", "a", "b"));
	loop_fake_clock(l.loop, 1400000, 1700000400 - year);
	assert_true(ask(&l, "n", "a", "b"));
	end(&l);
}

static off_t size_of_file(void)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

/* Cut at each byte, and each byte changed: the start is never refused, what stands before is there.
 */
static void damage(void **state)
{
	struct life l;
	static char good[4096];
	off_t size, first;
	int fd;

	(void)state;
	begin(&l, 1000000, 1700000000);
	ask(&l, "n", "a", "b");
	end(&l);
	first = size_of_file();
	begin(&l, 1000000, 1700000000);
	ask(&l, "n", "c", "d");
	end(&l);
	size = size_of_file();
	assert_true(first > 0 && size > first);
	fd = open(path, O_RDWR);
	assert_int_equal(read(fd, good, sizeof(good)), size);
	for (off_t cut = 0; cut < 2 * size; cut++) {
		bool short_one = cut < size;
		char byte = short_one ? 0 : (char)(good[cut - size] ^ 0x41);

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(
		    pwrite(fd, good, (size_t)(short_one ? cut : size), 0), short_one ? cut : size);
		if (!short_one)
			assert_int_equal(pwrite(fd, &byte, 1, cut - size), 1);
		begin(&l, 1300000, 1700000300);
		if (short_one && cut >= first)
			assert_true(grey_count(l.grey) >= 1);
		if (!short_one && cut - size >= first)
			assert_non_null(grey_find(l.grey, "n\0a\0b", 6));
		assert_true(grey_count(l.grey) <= 2);
		ask(&l, "n", "e", "f");
		end(&l);
		close(fd); /* it may be another file now */
		begin(&l, 1300000, 1700000300);
		assert_non_null(grey_find(l.grey, "n\0e\0f", 6));
		end(&l);
		fd = open(path, O_RDWR);
	}
	close(fd);
}

/* The rest is cut behind a length that cannot be; somebody may look at what was there. */
static void damage_in_the_middle(void **state)
{
	struct life l;
	char from[32], bad[80];
	struct stat st;
	off_t size;
	int fd;

	(void)state;
	begin(&l, 1000000, 1700000000);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(from, sizeof(from), "x%u", i);
		ask(&l, "n", from, "b");
	}
	end(&l);
	size = size_of_file();
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "\0\0", 2, (off_t)strlen(GREY_FILE_HEAD)), 2);
	close(fd);
	begin(&l, 1000000, 1700000000);
	assert_int_equal(grey_count(l.grey), 0);
	snprintf(bad, sizeof(bad), "%s.bad", path);
	assert_int_equal(stat(bad, &st), 0);
	assert_int_equal(st.st_size, size);
	end(&l);
}

/* What passes stops the start: else an empty list would take the place of the good one. */
static void no_descriptor_at_the_start(void **state)
{
	struct rlimit was, tight;
	struct grey_clock c = {.list = 0};
	struct meta1_err err = {""};
	struct grey *g = grey_new(5000, 9);
	uint64_t size;
	int fd;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &was);
	fd = open("/dev/null", O_RDONLY);
	close(fd);
	tight = was;
	tight.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &tight);
	assert_int_equal(grey_file_open(path, g, &c, &fd, &size, &err), -1);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_non_null(strstr(err.text, "Too many open files"));
	grey_free(&g);
}

/* A busy list's file stays small, and nothing gets lost when it is written anew. */
static void the_file_stays_small(void **state)
{
	struct life l;
	char from[32];
	int64_t ms = 1000000;

	(void)state;
	begin(&l, ms, 1700000000);
	for (unsigned i = 0; i < 60000; i++) {
		snprintf(from, sizeof(from), "x%u", i);
		ask(&l, from, from, "b"); /* each from a net of its own */
		if (i % 500 == 0) {
			ms += 10;
			loop_fake_clock(l.loop, ms, 1700000000);
			loop_turn(l.loop, false);
		}
	}
	for (unsigned i = 0; i < 2000 && size_of_file() > 2000000; i++) {
		ms += 500;
		loop_fake_clock(l.loop, ms, 1700000000);
		usleep(1000);
		loop_turn(l.loop, false);
	}
	assert_int_equal(grey_count(l.grey), 5000);
	assert_true(size_of_file() < 2000000);
	end(&l);
	begin(&l, ms, 1700000000);
	assert_int_equal(grey_count(l.grey), 5000);
	assert_non_null(grey_find(l.grey, "x59999\0x59999\0b", 16));
	end(&l);
}

/* No place on the disk (a limit on the size of files): the list goes on, and is whole on the disk
 * when there is place. */
static void a_full_disk(void **state)
{
	struct rlimit was, tight;
	struct life l;
	char from[32];
	int64_t ms = 1000000;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	begin(&l, ms, 1700000000);
	getrlimit(RLIMIT_FSIZE, &was);
	tight = was;
	tight.rlim_cur = 1000;
	setrlimit(RLIMIT_FSIZE, &tight);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(from, sizeof(from), "x%u", i);
		assert_false(ask(&l, "n", from, "b"));
	}
	for (unsigned i = 0; i < 200; i++) {
		loop_fake_clock(l.loop, ms += 500, 1700000000);
		usleep(1000); /* for a thread to write, in vain: nobody says so */
		loop_turn(l.loop, false);
	}
	assert_true(size_of_file() < 1000);
	setrlimit(RLIMIT_FSIZE, &was);
	for (unsigned i = 0; i < 3000 && size_of_file() < 3000; i++) {
		loop_fake_clock(l.loop, ms += 500, 1700000000);
		usleep(1000);
		loop_turn(l.loop, false);
	}
	end(&l);
	begin(&l, ms, 1700000000);
	assert_int_equal(grey_count(l.grey), 100);
	end(&l);
}

int main(void)
{
#define WITH_FILE(f) cmocka_unit_test_setup_teardown(f, make_path, drop_path)
	const struct CMUnitTest tests[] = {
	    WITH_FILE(a_list_outlives_its_process),
	    WITH_FILE(clocks_that_jump),
	    WITH_FILE(damage),
	    WITH_FILE(damage_in_the_middle),
	    WITH_FILE(no_descriptor_at_the_start),
	    WITH_FILE(the_file_stays_small),
	    WITH_FILE(a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
