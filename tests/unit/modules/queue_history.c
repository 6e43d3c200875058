/* SPDX-License-Identifier: BSD-2-Clause */
/* queue_history.c -- which files of history go: the oldest first, for whatever reason. The disk's
 * room is the test's own: a file takes 1000 bytes of it. */
#include "../../../modules/queue/common/common.h"

#include "../unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define FILES 5

static int64_t room; /* of a disk without these files */

static unsigned there(int dir, char out[FILES + 1])
{
	unsigned n = 0;

	for (unsigned i = 0; i < FILES; i++) {
		struct stat st;
		char name[40];

		serial_name(name, "history", i + 1);
		if (fstatat(dir, name, &st, 0) == 0)
			out[n++] = (char)('1' + i);
	}
	out[n] = '\0';
	return n;
}

int fstatvfs(int dir, struct statvfs *s)
{
	char names[FILES + 1];
	int64_t left = room - 1000 * (int64_t)there(dir, names);

	memset(s, 0, sizeof(*s));
	s->f_frsize = 1;
	s->f_bavail = (fsblkcnt_t)(left > 0 ? left : 0);
	return 0;
}

static uint64_t whole(int fd, uint64_t serial)
{
	struct stat st;

	(void)serial;
	return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void the_oldest_go(void **state)
{
	static const struct {
		int64_t room, time, size;
		const char *left;
	} t[] = {{100000, 3600, 1 << 20, "12345"}, {7500, 3600, 1 << 20, "345"},
	    {5999, 3600, 1 << 20, "5"}, {3000, 3600, 1 << 20, ""}, {100000, 3600, 2 * 4096, "45"},
	    {100000, 0, 1 << 20, ""}, {100000, 250, 1 << 20, "45"}};
	char path[] = "/tmp/meta1-history-XXXXXX", names[FILES + 1], block[4096] = "x";
	int dir;

	(void)state;
	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct history h = {.dir = dir,
		    .what = "none",
		    .now = 1700000000,
		    .time = t[i].time,
		    .size = t[i].size,
		    .min_free = 4500};

		for (unsigned k = 1; k <= FILES; k++) { /* 500, 400 … seconds old */
			const struct timespec at[2] = {
			    {.tv_sec = 1700000000}, {.tv_sec = 1700000000 - 100 * (FILES + 1 - k)}};
			char name[40];
			int fd;

			serial_name(name, "history", k);
			fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
			assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
			assert_int_equal(fsync(fd), 0); /* its blocks are counted */
			futimens(fd, at);
			close(fd);
		}
		room = t[i].room;
		history_keep(&h);
		there(dir, names);
		if (strcmp(names, t[i].left) != 0)
			fail_msg("row %zu: left \"%s\", expected \"%s\"", i, names, t[i].left);
	}
	for (unsigned k = 1; k <= FILES; k++) {
		char name[40];

		serial_name(name, "history", k);
		unlinkat(dir, name, 0);
	}
	close(dir);
	rmdir(path);
}

static int pack_result;

static int pack(int from, int to, uint64_t serial)
{
	(void)from;
	assert_int_equal(serial, 1);
	assert_int_equal(write(to, "packed", 6), 6);
	return pack_result;
}

/* It takes the place of the file only when all went well. */
static void packed_or_as_it_was(void **state)
{
	char path[] = "/tmp/meta1-history-XXXXXX", text[16] = "";
	int dir, fd;

	(void)state;
	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY);
	for (pack_result = 1; pack_result >= 0; pack_result--) {
		struct history h = {.dir = dir,
		    .what = "journal",
		    .serial = 2,
		    .end = whole,
		    .pack = pack,
		    .now = time(NULL),
		    .time = 3600,
		    .size = 1 << 20};
		char name[40];

		serial_name(name, "journal", 1);
		fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);
		assert_int_equal(write(fd, "as it was", 9), 9);
		close(fd);
		room = 100000;
		history_keep(&h);
		serial_name(name, "history", 1);
		fd = openat(dir, name, O_RDONLY);
		memset(text, 0, sizeof(text));
		assert_true(read(fd, text, sizeof(text) - 1) > 0);
		assert_string_equal(text, pack_result == 0 ? "packed" : "as it was");
		close(fd);
		assert_int_equal(unlinkat(dir, name, 0), 0);
	}
	close(dir);
	assert_int_equal(rmdir(path), 0); /* nothing else is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_oldest_go), cmocka_unit_test(packed_or_as_it_was)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
