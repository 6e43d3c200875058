/* SPDX-License-Identifier: BSD-2-Clause */
/* dead.c -- tries core/qmgr/dead.c: dead destinations over a restart, and the bound of their file.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX (16 << 20) /* what a start reads */

static char dir[] = "/tmp/meta1-dead-XXXXXX", file[128];

static struct world *born(void)
{
	struct world *w = world_new(100);

	w->set.queue_directory = dir; /* start() was before: none of its own yet */
	qmgr_dead_load(&w->q);
	return w;
}

static void die(struct world *w, const char *key)
{
	qmgr_sched_restore(&w->q.sched, key, strlen(key), w->now + 600000, 60000, w->now);
	w->q.sched.changed = true;
}

static void kept_over_a_restart(void **state)
{
	struct world *w = born();
	struct qmgr_dest *d;

	(void)state;
	die(w, "[192.0.2.1]:25");
	world_free(&w); /* stops in order, which writes */
	w = born();
	HASH_FIND_STR(w->q.sched.dests, "[192.0.2.1]:25", d);
	assert_non_null(d);
	assert_in_range(qmgr_sched_dead(d, w->now), 590000, 600000);
	world_free(&w);
}

/* More than the file may hold: what is written is whole and is read, the others are tried. */
static void larger_than_the_file(void **state)
{
	struct world *w = born();
	unsigned i, n = 0, pad = 2000;
	struct qmgr_dest *d;
	struct stat st;
	char key[2100];

	(void)state;
	for (i = 0; i < 15000; i++) {
		int at = snprintf(key, sizeof(key), "[192.0.2.1]:%u,", i);

		memset(key + at, 'x', pad);
		key[(unsigned)at + pad] = '\0';
		die(w, key);
	}
	world_free(&w);
	assert_int_equal(stat(file, &st), 0);
	assert_in_range(st.st_size, READ_MAX / 2, READ_MAX);
	w = born();
	for (d = w->q.sched.dests; d; d = d->hh.next)
		n += qmgr_sched_dead(d, w->now) > 0;
	assert_in_range(n, READ_MAX / 2 / (pad + 1200), 14999);
	world_free(&w);
}

/* Of those that nobody needs an eighth of the memory at most stays; what a reload makes too much
 * goes with the next minute, and then there is room for mail again. */
static void no_room_for_mail(void **state)
{
	enum { LITTLE = 256 << 10 };
	struct world *w = world_new(100);
	unsigned i;
	char key[32];

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "[192.0.2.1]:%u", i);
		die(w, key);
	}
	assert_int_equal(HASH_COUNT(w->q.sched.dests), 1000);
	world_run(w);
	w->credits = 0;
	w->set.qmgr.max_memory = LITTLE;
	w->q.role.reload_finish(&w->q.role, true);
	w->q.feeders->credits = 0; /* all were used */
	qmgr_kick(&w->q);
	world_run(w);
	assert_true(w->q.withheld);
	assert_int_equal(w->credits, 0);
	world_pass(w, 61);
	assert_in_range(HASH_COUNT(w->q.sched.dests), 1, LITTLE / 8 / QMGR_DEST);
	assert_false(w->q.withheld);
	assert_in_range(w->credits, 1, LITTLE / QMGR_CREDIT_MEMORY);
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "[192.0.2.2]:%u", i);
		die(w, key);
	}
	assert_in_range(HASH_COUNT(w->q.sched.dests), 1, LITTLE / 8 / QMGR_DEST);
	world_free(&w);
}

/* So many are restored. */
static void restored_within_memory(void **state)
{
	struct world *w = born();
	unsigned i;
	char key[32];

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "[192.0.2.1]:%u", i);
		die(w, key);
	}
	world_free(&w);
	w = world_new(100);
	w->set.queue_directory = dir;
	w->q.sched.kept = 54;
	qmgr_dead_load(&w->q);
	assert_int_equal(HASH_COUNT(w->q.sched.dests), 54);
	world_free(&w);
}

static int make_folder(void **state)
{
	char state_dir[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	assert_int_equal(mkdir(state_dir, 0700), 0);
	snprintf(file, sizeof(file), "%s/destinations", state_dir);
	return 0;
}

static int remove_folder(void **state)
{
	char state_dir[64];

	(void)state;
	unlink(file);
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	rmdir(state_dir);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kept_over_a_restart),
	    cmocka_unit_test(larger_than_the_file),
	    cmocka_unit_test(no_room_for_mail),
	    cmocka_unit_test(restored_within_memory),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
