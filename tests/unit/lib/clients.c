/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/lib/clients.c: several processes, played by several mappings, count one client
 * together; the dead one's connections come back; the rate slides; a full set harms nobody.
 */
#include "lib/clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

static struct clients *attach(int fd, unsigned index)
{
	struct meta1_err err = {""};
	struct clients *c = clients_open(fd, index, &err);

	if (c == NULL)
		fail_msg("%s", err.text);
	return c;
}

static struct clients_key key(const char *addr)
{
	struct clients_key k;

	assert_true(clients_key(addr, 32, 64, &k));
	return k;
}

static struct clients_count add(struct clients *c, const char *addr, int64_t now)
{
	struct clients_key k = key(addr);
	struct clients_count n;

	assert_true(clients_add(c, &k, now, &n));
	return n;
}

static void drop(struct clients *c, const char *addr, int64_t now, bool undo)
{
	struct clients_key k = key(addr);

	clients_drop(c, &k, now, undo);
}

static void keys(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned v4, v6;
		bool same;
	} row[] = {
	    {"192.0.2.1", "192.0.2.1", 32, 64, true},
	    {"192.0.2.1", "192.0.2.2", 32, 64, false},
	    {"192.0.2.1", "192.0.2.2", 24, 64, true},
	    {"192.0.2.1", "192.0.3.1", 24, 64, false},
	    {"192.0.2.128", "192.0.2.127", 25, 64, false},
	    {"10.0.0.1", "10.255.0.1", 8, 64, true},
	    {"2001:db8::1", "2001:db8::ffff:1", 32, 64, true},
	    {"2001:db8::1", "2001:db8:0:1::1", 32, 64, false},
	    {"2001:db8::1", "2001:db8:0:1::1", 32, 56, true},
	    {"2001:db8::1", "2001:db8::2", 32, 128, false},
	    {"2001:db8::1:1", "2001:db8::1:2", 32, 112, true},
	    {"::1", "0.0.0.1", 32, 128, false},
	};
	struct clients_key a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_true(clients_key(row[i].a, row[i].v4, row[i].v6, &a));
		assert_true(clients_key(row[i].b, row[i].v4, row[i].v6, &b));
		if ((a.hi == b.hi && a.lo == b.lo) != row[i].same)
			fail_msg("%s %s", row[i].a, row[i].b);
	}
	assert_false(clients_key("unix", 32, 64, &a));
	assert_false(clients_key("unknown", 32, 64, &a));
	assert_false(clients_key("", 32, 64, &a));
}

static void together(void **state)
{
	int fd = clients_make(3);
	struct clients *c[3];

	(void)state;
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 3; i++)
		c[i] = attach(fd, i);
	assert_int_equal(add(c[0], "192.0.2.1", 0).connections, 1);
	assert_int_equal(add(c[1], "192.0.2.1", 0).connections, 2);
	assert_int_equal(add(c[2], "192.0.2.1", 0).rate, 3);
	assert_int_equal(add(c[2], "192.0.2.2", 0).connections, 1);
	drop(c[1], "192.0.2.1", 0, false);
	drop(c[1], "192.0.2.1", 0, false); /* it has none left: the others' stay */
	assert_int_equal(add(c[1], "192.0.2.1", 0).connections, 3);
	/* the second dies with two connections; a new life of it begins with none */
	assert_int_equal(add(c[1], "192.0.2.1", 0).connections, 4);
	clients_close(&c[1]);
	clients_forget(fd, 1);
	c[1] = attach(fd, 1);
	assert_int_equal(add(c[1], "192.0.2.1", 0).connections, 3);
	clients_forget(fd, 7); /* no such part */
	for (unsigned i = 0; i < 3; i++)
		clients_close(&c[i]);
	close(fd);
}

static void rates(void **state)
{
	int fd = clients_make(1);
	struct clients *c = attach(fd, 0);
	unsigned i;

	(void)state;
	for (i = 1; i <= 10; i++)
		assert_int_equal(add(c, "2001:db8::1", 6000 * i - 1).rate, i);
	assert_int_equal(add(c, "2001:db8::2", 60000).rate, 11); /* the next minute begins */
	assert_int_equal(add(c, "2001:db8::1", 90000).rate, 7);	 /* half of ten, and two */
	drop(c, "2001:db8::1", 90000, true);
	assert_int_equal(add(c, "2001:db8::1", 90000).rate, 7); /* the refused one is forgotten */
	assert_int_equal(add(c, "2001:db8::1", 600000).rate, 1);
	assert_int_equal(add(c, "2001:db8::1", 600000).connections, 14);
	clients_close(&c);
	close(fd);
}

/* More clients than there are places: those with connections keep theirs. */
static void full(void **state)
{
	int fd = clients_make(1);
	struct clients *c = attach(fd, 0);
	struct clients_count n;
	struct clients_key k;
	unsigned i, lost = 0;
	char addr[40];

	(void)state;
	for (i = 0; i < 2 * CLIENTS_MAX; i++) {
		snprintf(addr, sizeof(addr), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		k = key(addr);
		lost += !clients_add(c, &k, 0, &n);
	}
	assert_true(lost >= CLIENTS_MAX);
	assert_int_equal(add(c, "10.0.0.0", 0).connections, 2);
	for (i = 0; i < 2 * CLIENTS_MAX; i++) {
		snprintf(addr, sizeof(addr), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		drop(c, addr, 0, false);
	}
	/* now each has a place again */
	for (i = 0; i < CLIENTS_MAX / 16; i++) {
		snprintf(addr, sizeof(addr), "172.16.%u.%u", i >> 8, i & 255);
		assert_int_equal(add(c, addr, 1000000).connections, 1);
	}
	clients_close(&c);
	close(fd);
}

/* Real processes that add at the same time: never does each of them see too few. */
static void race(void **state)
{
	enum { PROCS = 4, MAX = 3, ROUNDS = 2000 };
	int fd = clients_make(PROCS), in[2], status;
	char ok;

	(void)state;
	assert_int_equal(pipe(in), 0);
	for (unsigned i = 0; i < PROCS; i++) {
		if (fork() != 0)
			continue;
		struct clients *c = attach(fd, i);
		struct clients_key k = key("192.0.2.1");
		struct clients_count n;
		char bad = 0;

		for (unsigned r = 0; r < ROUNDS; r++) {
			clients_add(c, &k, 0, &n);
			bad |= n.connections < 1 || n.connections > PROCS;
			clients_drop(c, &k, 0, n.connections > MAX);
		}
		_exit(write(in[1], &bad, 1) != 1);
	}
	for (unsigned i = 0; i < PROCS; i++) {
		assert_int_equal(read(in[0], &ok, 1), 1);
		assert_int_equal(ok, 0);
		wait(&status);
	}
	struct clients *c = attach(fd, 0);

	assert_int_equal(add(c, "192.0.2.1", 0).connections, 1); /* nothing leaked */
	clients_close(&c);
	close(fd);
	close(in[0]);
	close(in[1]);
}

/* By a reload: who is there already counts the new ones too. */
static void more(void **state)
{
	int fd = clients_make(1);
	struct clients *first = attach(fd, 0), *late;

	(void)state;
	clients_more(fd, 200);
	late = attach(fd, 199);
	assert_int_equal(add(late, "192.0.2.1", 0).connections, 1);
	assert_int_equal(add(first, "192.0.2.1", 0).connections, 2);
	assert_int_equal(add(late, "192.0.2.1", 0).connections, 3);
	clients_close(&first);
	clients_close(&late);
	clients_more(fd, 2); /* one before it is added: there is room for it still */
	late = attach(fd, 199);
	clients_close(&late);
	close(fd);
}

static void wrong(void **state)
{
	struct meta1_err err = {""};
	int fd = clients_make(2);

	(void)state;
	assert_null(clients_open(fd, 2, &err));
	assert_non_null(strstr(err.text, "no room for process 2"));
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_null(clients_open(fd, 0, &err));
	assert_non_null(strstr(err.text, "another version"));
	assert_int_equal(ftruncate(fd, 0), -1); /* sealed: nobody can make the others fault */
	close(fd);
}

/* The busiest first, over all processes; networks as they were cut; memory is not filled by a look.
 */
static void top(void **state)
{
	static const struct {
		const char *addr, *text;
		unsigned v4, v6, process, n;
	} t[] = {{"192.0.2.1", "192.0.2.1", 32, 64, 0, 3}, {"192.0.2.1", "192.0.2.1", 32, 64, 2, 4},
	    {"198.51.100.7", "198.51.100.0/24", 24, 64, 1, 5},
	    {"2001:db8:1:2:3::4", "2001:db8:1:2::/64", 32, 64, 2, 9},
	    {"2001:db8:1:2:3::4", "2001:db8:1::/48", 32, 48, 2, 1},
	    {"2001:db8::1", "2001:db8::1", 32, 128, 0, 2}};
	static const char *const order[] = {
	    "2001:db8:1:2::/64", "192.0.2.1", "198.51.100.0/24", "2001:db8::1", "2001:db8:1::/48"};
	struct clients_row row[ARRAY_LEN(t)];
	int fd = clients_make(3);
	struct clients *c[3];
	char text[CLIENTS_TEXT];
	struct clients_count n;
	struct clients_key k;
	struct stat before, after;
	unsigned total, i, j;

	(void)state;
	for (i = 0; i < 3; i++)
		c[i] = attach(fd, i);
	for (i = 0; i < ARRAY_LEN(t); i++) {
		assert_true(clients_key(t[i].addr, t[i].v4, t[i].v6, &k));
		for (j = 0; j < t[i].n; j++)
			assert_true(clients_add(c[t[i].process], &k, 60000, &n));
	}
	fstat(fd, &before);
	assert_int_equal(clients_top(c[0], 60000, row, ARRAY_LEN(t), &total), ARRAY_LEN(order));
	fstat(fd, &after);
	assert_int_equal(before.st_blocks, after.st_blocks);
	assert_int_equal(total, ARRAY_LEN(order));
	for (i = 0; i < ARRAY_LEN(order); i++) {
		clients_text(&row[i].key, text);
		assert_string_equal(text, order[i]);
	}
	assert_int_equal(row[1].n.connections, 7);
	assert_int_equal(row[1].n.rate, 7);
	/* fewer rows than clients: the first of them */
	assert_int_equal(clients_top(c[1], 60000, row, 2, &total), 2);
	assert_int_equal(total, ARRAY_LEN(order));
	clients_text(&row[1].key, text);
	assert_string_equal(text, "192.0.2.1");
	/* who has no connection and made none of late is not known any more */
	drop(c[0], "192.0.2.1", 60000, false);
	assert_true(clients_key("2001:db8:1:2:3::4", 32, 48, &k));
	clients_drop(c[2], &k, 60000, false);
	clients_top(c[0], 60000 + 120000, row, ARRAY_LEN(t), &total);
	assert_int_equal(total, ARRAY_LEN(order) - 1);
	for (i = 0; i < 3; i++)
		clients_close(&c[i]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys),
	    cmocka_unit_test(together),
	    cmocka_unit_test(rates),
	    cmocka_unit_test(full),
	    cmocka_unit_test(race),
	    cmocka_unit_test(top),
	    cmocka_unit_test(more),
	    cmocka_unit_test(wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
