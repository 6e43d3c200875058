/* SPDX-License-Identifier: BSD-2-Clause */
/* conn.c -- both ends of a socket pair: lines, bounds, order of output, ends. */
#include "lib/conn.h"
#include "../unit.h"
#include "lib/linger.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

static struct loop *loop;
static int inputs, ends, drains;
static enum conn_end how;

static void input(void *arg)
{
	(void)arg;
	inputs++;
}

static void drained(void *arg)
{
	(void)arg;
	drains++;
}

static void ended(void *arg, enum conn_end h, const char *why)
{
	(void)arg;
	(void)why;
	how = h;
	ends++;
}

static const struct conn_events ev = {.input = input, .drained = drained, .end = ended};

static struct conn *pair(int *peer)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	*peer = fd[1];
	loop = loop_new();
	inputs = ends = drains = 0;
	return conn_new(loop, fd[0], &ev, NULL);
}

static void lines(void **state)
{
	static const struct {
		const char *bytes, *line;
		bool bare;
	} t[] = {{"ehlo\r\n", "ehlo", false}, {"\r\n", "", false}, {"a\nb\r\n", "a\nb", true},
	    {"a\rb\r\n", "a\rb", true}, {"a\r\r\n", "a\r", true}};
	bool long_line, bare;
	struct conn *c;
	size_t i, n;
	int peer;
	char *s;

	(void)state;
	c = pair(&peer);
	for (i = 0; i < ARRAY_LEN(t); i++) {
		assert_true(write(peer, t[i].bytes, strlen(t[i].bytes)) > 0);
		loop_turn(loop, true);
		s = conn_line(c, true, 100, &n, &long_line, &bare);
		assert_non_null(s);
		assert_string_equal(s, t[i].line);
		assert_int_equal(bare, t[i].bare);
		assert_null(conn_line(c, true, 100, &n, &long_line, &bare));
		assert_false(long_line);
	}
	assert_true(write(peer, "0123456789", 10) > 0);
	loop_turn(loop, true);
	assert_null(conn_line(c, true, 5, &n, &long_line, &bare));
	assert_true(long_line);
	conn_consume(c, 10);
	close(peer);
	loop_turn(loop, true);
	assert_int_equal(ends, 1);
	assert_int_equal(how, CONN_EOF);
	conn_close(&c);
	loop_free(&loop);
}

/* text, file, text: the order on the wire is the order of the calls, over many EAGAINs. */
static void order(void **state)
{
	enum { FILE_LEN = 3000000 };
	char name[] = "/tmp/conn-test.XXXXXX", *mem, *got;
	int peer, fd = mkstemp(name);
	size_t at = 0, total = 5 + FILE_LEN + 4;
	struct conn *c;
	ssize_t n;

	(void)state;
	unlink(name);
	mem = malloc(FILE_LEN);
	got = malloc(total);
	for (n = 0; n < FILE_LEN; n++)
		mem[n] = (char)('a' + n % 23);
	assert_int_equal(write(fd, mem, FILE_LEN), FILE_LEN);
	c = pair(&peer);
	conn_write(c, "first", 5);
	conn_file(c, fd, 0, FILE_LEN);
	conn_ref(c, "last", 4);
	assert_int_equal(conn_unsent(c), total);
	while (at < total) {
		loop_turn(loop, false);
		while ((n = read(peer, got + at, total - at)) > 0)
			at += (size_t)n;
	}
	loop_turn(loop, false);
	assert_memory_equal(got, "first", 5);
	assert_memory_equal(got + 5, mem, FILE_LEN);
	assert_memory_equal(got + 5 + FILE_LEN, "last", 4);
	assert_int_equal(drains, 1);
	conn_close(&c);
	close(peer);
	close(fd);
	free(mem);
	free(got);
	loop_free(&loop);
}

/* Unconsumed input is bounded, and goes on when consumed. */
static void bounded(void **state)
{
	static char junk[1 << 20];
	struct conn *c;
	size_t at = 0;
	ssize_t n;
	int peer, i;

	(void)state;
	c = pair(&peer);
	conn_limit(c, 10000);
	for (i = 0; i < 50; i++) {
		while (at < sizeof(junk) && (n = write(peer, junk + at, sizeof(junk) - at)) > 0)
			at += (size_t)n;
		loop_turn(loop, false);
	}
	assert_true(evbuffer_get_length(conn_in(c)) >= 10000);
	assert_true(evbuffer_get_length(conn_in(c)) < 10000 + 65536 + 1);
	i = inputs;
	conn_consume(c, evbuffer_get_length(conn_in(c)));
	loop_turn(loop, false);
	loop_turn(loop, false);
	assert_true(inputs > i);
	close(peer);
	conn_close(&c);
	loop_free(&loop);
}

static void times_out(void **state)
{
	struct conn *c;
	int peer;

	(void)state;
	c = pair(&peer);
	conn_timeout(c, 30);
	while (!ends)
		loop_turn(loop, true);
	assert_int_equal(how, CONN_TIMEOUT);
	conn_close(&c);
	close(peer);
	loop_free(&loop);
}

/* The limit of now counts, whatever timer runs: a session changes it several times a mail. */
static void limits_change(void **state)
{
	struct conn *c;
	int peer;

	(void)state;
	c = pair(&peer);
	loop_fake_clock(loop, 1000, 1000);
	conn_timeout(c, 100);
	conn_timeout(c, 0);
	loop_fake_clock(loop, 1500, 1000);
	loop_turn(loop, false);
	assert_int_equal(ends, 0);
	conn_timeout(c, 100);
	conn_timeout(c, 0);
	conn_timeout(c, 1000);
	loop_fake_clock(loop, 1650, 1000); /* the timer of the shorter limit fires */
	loop_turn(loop, false);
	loop_fake_clock(loop, 2499, 1000);
	loop_turn(loop, false);
	assert_int_equal(ends, 0);
	conn_timeout(c, 0);
	loop_fake_clock(loop, 2600, 1000);
	loop_turn(loop, false);
	conn_timeout(c, 1000);
	conn_timeout(c, 50); /* a shorter one is no longer than it is */
	loop_fake_clock(loop, 2649, 1000);
	loop_turn(loop, false);
	assert_int_equal(ends, 0);
	loop_fake_clock(loop, 2650, 1000);
	loop_turn(loop, false);
	assert_int_equal(ends, 1);
	assert_int_equal(how, CONN_TIMEOUT);
	conn_timeout(c, 10); /* it has ended */
	loop_fake_clock(loop, 9000, 1000);
	loop_turn(loop, false);
	assert_int_equal(ends, 1);
	conn_close(&c);
	close(peer);
	loop_free(&loop);
}

static int connections;

static void connected(void *arg)
{
	(void)arg;
	connections++;
}

/* The time-out of conn_connect() is for connecting: a quiet connection outlives it. */
static void connects(void **state)
{
	static const struct conn_events both = {
	    .connected = connected, .input = input, .drained = drained, .end = ended};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);
	struct meta1_err err;
	struct conn *c;

	(void)state;
	assert_int_equal(bind(server, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	loop = loop_new();
	loop_fake_clock(loop, 1000, 1000);
	inputs = ends = drains = connections = 0;
	c = conn_connect(loop, (struct sockaddr *)&sa, sizeof(sa), NULL, 50, &both, NULL, &err);
	assert_non_null(c);
	while (!connections)
		loop_turn(loop, true);
	loop_fake_clock(loop, 5000, 1005);
	loop_turn(loop, false);
	loop_turn(loop, false);
	assert_int_equal(ends, 0);
	conn_timeout(c, 50); /* one that is asked for holds */
	loop_fake_clock(loop, 6000, 1006);
	loop_turn(loop, false);
	assert_int_equal(ends, 1);
	assert_int_equal(how, CONN_TIMEOUT);
	conn_close(&c);
	close(server);
	loop_free(&loop);
}

/* A unix socket with a full backlog is waited for, as TCP does it. */
static void full_backlog(void **state)
{
	static const struct conn_events both = {
	    .connected = connected, .input = input, .drained = drained, .end = ended};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), first, fd;
	struct meta1_err err;
	struct conn *c, *late;

	(void)state;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/conn-test.%d", (int)getpid());
	unlink(sa.sun_path);
	assert_int_equal(bind(server, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(server, 0), 0);
	first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(first, (struct sockaddr *)&sa, sizeof(sa)), 0);
	loop = loop_new();
	inputs = ends = drains = connections = 0;
	c = conn_connect(loop, (struct sockaddr *)&sa, sizeof(sa), NULL, 5000, &both, NULL, &err);
	assert_non_null(c);
	late = conn_connect(loop, (struct sockaddr *)&sa, sizeof(sa), NULL, 50, &both, NULL, &err);
	assert_non_null(late);
	while (!ends)
		loop_turn(loop, true);
	assert_int_equal(how, CONN_FAILED); /* its time is over */
	assert_int_equal(connections, 0);
	conn_close(&late);
	fd = accept(server, NULL, NULL);
	close(fd);
	while (!connections)
		loop_turn(loop, true);
	conn_write(c, "x", 1);
	fd = accept(server, NULL, NULL);
	while (!drains)
		loop_turn(loop, true);
	assert_int_equal(read(fd, sa.sun_path, 1), 1);
	assert_int_equal(ends, 1);
	conn_close(&c);
	close(fd);
	close(first);
	close(server);
	loop_free(&loop);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/conn-test.%d", (int)getpid());
	unlink(sa.sun_path);
}

/* ---- the last moments ---- */

/* A TCP connection: ours, and the peer's end, blocking neither. */
static struct conn *tcp(int *peer)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sin);
	int lfd = socket(AF_INET, SOCK_STREAM, 0), fd;

	assert_int_equal(bind(lfd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(listen(lfd, 1), 0);
	assert_int_equal(getsockname(lfd, (struct sockaddr *)&sin, &len), 0);
	*peer = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(*peer, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(fcntl(*peer, F_SETFL, O_NONBLOCK), 0);
	fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	close(lfd);
	loop = loop_new();
	inputs = ends = drains = 0;
	return conn_new(loop, fd, &ev, NULL);
}

static size_t push(int peer, size_t most)
{
	static const char junk[4096];
	size_t sent = 0;
	ssize_t n = 1;

	while (n > 0 && sent < most) {
		n = send(peer, junk, sizeof(junk), MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		loop_turn(loop, false);
	}
	return sent;
}

/* "bye" and the end of the stream, never a reset. */
static void hears_bye(int peer)
{
	char got[8];

	assert_int_equal(recv(peer, got, sizeof(got), 0), 3);
	assert_memory_equal(got, "bye", 3);
	assert_int_equal(recv(peer, got, sizeof(got), 0), 0);
}

/* What the peer sends before and after the last word does it no harm. */
static void lingers(void **state)
{
	static const struct {
		bool unix_socket, sends_before, linger, closes;
	} t[] = {{false, false, true, false}, {true, false, true, false},
	    {false, true, false, false}, {true, true, false, false}, {false, false, false, true},
	    {true, false, false, true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int peer;
		struct conn *c = t[i].unix_socket ? pair(&peer) : tcp(&peer);

		if (t[i].sends_before) {
			assert_true(push(peer, 20000) >= 20000);
			assert_true(inputs > 0);
		}
		conn_write(c, "bye", 3);
		conn_finish(&c, t[i].linger, 5000);
		assert_null(c);
		assert_int_equal(linger_count(), t[i].closes ? 0 : 1);
		if (!t[i].closes)
			assert_true(push(peer, 100000) >= 100000);
		hears_bye(peer);
		close(peer);
		for (int turns = 0; turns < 50 && linger_count() > 0; turns++)
			loop_turn(loop, false);
		assert_int_equal(linger_count(), 0);
		assert_int_equal(ends, 0);
		loop_free(&loop);
	}
}

/* Sends without end: so much is taken, then no more; it still reads, until the time is over. */
static void lingers_bounded(void **state)
{
	struct conn *c;
	size_t sent;
	int peer;

	(void)state;
	c = pair(&peer);
	loop_fake_clock(loop, 1000, 1);
	conn_write(c, "bye", 3);
	conn_finish(&c, true, 5000);
	sent = push(peer, 64u << 20);
	assert_true(sent >= LINGER_BYTES && sent < 4 * LINGER_BYTES);
	assert_int_equal(linger_count(), 1);
	hears_bye(peer);
	loop_fake_clock(loop, 5999, 6);
	loop_turn(loop, false);
	assert_int_equal(linger_count(), 1);
	loop_fake_clock(loop, 6000, 6);
	loop_turn(loop, false);
	assert_int_equal(linger_count(), 0);
	close(peer);
	loop_free(&loop);
}

/* A slow reader gets all of it, but not more than the time: bytes that move do not prolong it. */
static void lingers_slow(void **state)
{
	enum { LEN = 1 << 20 };
	static char text[LEN], got[4096];
	size_t have = 0;
	struct conn *c;
	int64_t now;
	ssize_t n;
	int peer;

	(void)state;
	for (int round = 0; round < 2; round++) {
		have = 0;
		c = pair(&peer);
		loop_fake_clock(loop, 1000, 1);
		conn_write(c, text, LEN);
		conn_finish(&c, true, 5000);
		assert_int_equal(linger_count(), 1);
		for (now = 1000; linger_count() == 1 && have < LEN; now += round == 0 ? 1 : 100) {
			n = recv(peer, got, sizeof(got), 0);
			have += n > 0 ? (size_t)n : 0;
			loop_fake_clock(loop, now, 1);
			loop_turn(loop, false);
		}
		assert_int_equal(have == LEN, round == 0);
		assert_true(round == 0 || (now >= 6000 && now < 6300));
		close(peer);
		for (int turns = 0; turns < 50 && linger_count() > 0; turns++)
			loop_turn(loop, false);
		assert_int_equal(linger_count(), 0);
		loop_free(&loop);
	}
}

static void all_over(void *arg)
{
	++*(int *)arg;
}

/* The oldest makes room; a stop ends all, and waits no longer than it says. */
static void lingers_in_number(void **state)
{
	static int peer[LINGER_MAX + 1];
	int stops = 0;
	char got[4];

	(void)state;
	linger_stop(300, all_over, &stops);
	assert_int_equal(stops, 1);
	loop = loop_new();
	loop_fake_clock(loop, 1000, 1);
	for (unsigned i = 0; i <= LINGER_MAX; i++) {
		struct outq none = {.buf = NULL};
		int fd[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		peer[i] = fd[1];
		linger_new(loop, fd[0], &none, false, 5000);
	}
	assert_int_equal(linger_count(), LINGER_MAX);
	assert_true(send(peer[0], "x", 1, MSG_NOSIGNAL) < 0);
	assert_int_equal(send(peer[1], "x", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(peer[1], got, sizeof(got), 0), 0);
	linger_stop(300, all_over, &stops);
	assert_int_equal(stops, 1);
	loop_fake_clock(loop, 1300, 1);
	loop_turn(loop, false);
	assert_int_equal(linger_count(), 0);
	assert_int_equal(stops, 2);
	for (unsigned i = 0; i <= LINGER_MAX; i++)
		close(peer[i]);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(order),
	    cmocka_unit_test(bounded), cmocka_unit_test(times_out), cmocka_unit_test(limits_change),
	    cmocka_unit_test(connects), cmocka_unit_test(full_backlog), cmocka_unit_test(lingers),
	    cmocka_unit_test(lingers_bounded), cmocka_unit_test(lingers_slow),
	    cmocka_unit_test(lingers_in_number)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
