/* SPDX-License-Identifier: BSD-2-Clause */
/* chan.c -- two processes' ends in one loop: greeting, questions, deadlines, loss. */
#include "ipc/chan.h"
#include "../unit.h"
#include "lib/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct loop *loop;
static int ups, downs, questions, answers, nulls;
static struct chan *server_end;
static struct chan_reply later;
static bool hold;

static void up(struct chan *c, const struct p_hello *h, void *arg)
{
	(void)h;
	ups++;
	if (arg)
		server_end = c;
}

static void down(struct chan *c, void *arg)
{
	(void)c;
	(void)arg;
	downs++;
}

static void on_route(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_route *m = msg;
	struct p_routes a = {.status = META1_OK, .key = m->domain};

	(void)arg;
	questions++;
	if (hold) {
		chan_reply_drop(&later); /* one struct serves them all here */
		chan_later(c, req, &later);
	} else {
		chan_answer(c, req, P_ROUTES, &a);
	}
}

static void answered(void *arg, const void *msg)
{
	const struct p_routes *m = msg;

	(void)arg;
	if (!m)
		nulls++;
	else if (buf_caseeq(m->key, "example.net"))
		answers++;
}

static const struct chan_handler handlers[] = {{P_ROUTE, on_route}, {P_NONE, NULL}};
static struct chan_side smar = {.who = SMAR,
    .version = "1",
    .store = "",
    .handlers = handlers,
    .up = up,
    .down = down,
    .arg = &smar};
static struct chan_side qmgr = {.who = QMGR, .version = "1", .store = "", .up = up, .down = down};

static int listener(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void turns_until(const int *what, int value)
{
	int i;

	for (i = 0; i < 2000 && *what < value; i++)
		loop_turn(loop, true);
	assert_int_equal(*what, value);
}

static void whole_life(void **state)
{
	struct p_route ask = {.domain = buf_str("example.net")};
	char path[64];
	struct chan_server *s;
	struct chan *c;
	int i;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/chan-test.%d", (int)getpid());
	loop = loop_new();
	smar.loop = qmgr.loop = loop;
	c = chan_connect(&qmgr, SMAR, path);
	assert_int_equal(chan_ask(c, P_ROUTE, &ask, 0, answered, NULL), 0); /* not up: no */
	loop_turn(loop, true);
	s = chan_listen(&smar, listener(path)); /* the client tries again by itself */
	turns_until(&ups, 2);
	assert_true(chan_up(c));

	for (i = 0; i < 10; i++)
		assert_true(chan_ask(c, P_ROUTE, &ask, 0, answered, NULL) != 0);
	assert_int_equal(answers, 0); /* never inside the call */
	turns_until(&answers, 10);

	/* the window bounds open questions; forgetting one makes place */
	hold = true;
	chan_window(c, 2);
	assert_true(chan_ask(c, P_ROUTE, &ask, 300, answered, NULL) != 0);
	i = (int)chan_ask(c, P_ROUTE, &ask, 0, answered, NULL);
	assert_int_equal(chan_ask(c, P_ROUTE, &ask, 0, answered, NULL), 0);
	chan_forget(c, (uint32_t)i);
	turns_until(&nulls, 1); /* the first one's deadline */

	/* a lost peer answers what is open with NULL, then the client comes back */
	assert_true(chan_ask(c, P_ROUTE, &ask, 0, answered, NULL) != 0);
	i = questions;
	turns_until(&questions, i + 1);
	chan_close(&server_end);
	turns_until(&nulls, 2);
	turns_until(&ups, 4);
	assert_int_equal(downs, 1);
	chan_reply_send(&later, P_ROUTES, &(struct p_routes){0}); /* goes nowhere, harmless */

	chan_close(&c);
	chan_server_free(&s);
	unlink(path);
	loop_free(&loop);
}

static void refuses(void **state)
{
	struct chan_side other = qmgr;
	char path[64];
	struct chan_server *s;
	struct chan *c;
	int i, was = ups;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/chan-test.%d", (int)getpid());
	loop = loop_new();
	smar.loop = other.loop = loop;
	other.version = "2";
	s = chan_listen(&smar, listener(path));
	c = chan_connect(&other, SMAR, path);
	for (i = 0; i < 20; i++)
		loop_turn(loop, true);
	assert_int_equal(ups, was);
	assert_false(chan_up(c));
	chan_close(&c);
	chan_server_free(&s);
	unlink(path);
	loop_free(&loop);
}

/* The server closes a connection, with frames unsent, that its client has closed already. */
static void closes_a_lost_peer(void **state)
{
	struct p_routes msg = {.status = META1_OK};
	char path[64];
	struct chan_server *s;
	struct chan *c;
	int was = ups;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/chan-test.%d", (int)getpid());
	loop = loop_new();
	smar.loop = qmgr.loop = loop;
	c = chan_connect(&qmgr, SMAR, path);
	s = chan_listen(&smar, listener(path));
	turns_until(&ups, was + 2);
	chan_close(&c);
	assert_true(chan_send(server_end, P_ROUTES, &msg));
	chan_server_free(&s);
	unlink(path);
	loop_free(&loop);
}

/* A connection of another user that says that it is role. true: it was believed. */
static bool believed(const char *path, uid_t uid, const char *role)
{
	struct p_hello h = {.role = buf_str(role), .version = buf_str("1"), .hash = proto_hash()};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct evbuffer *b = evbuffer_new();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), before = ups, i;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(seteuid(uid), 0);
	i = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(i, 0);
	assert_true(proto_pack(b, P_HELLO, 0, &h));
	evbuffer_write(b, fd);
	evbuffer_free(b);
	for (i = 0; i < 10; i++)
		loop_turn(loop, false);
	close(fd);
	for (i = 0; i < 10; i++)
		loop_turn(loop, false);
	return ups > before;
}

/* A user is only the roles that its sections are: smtps cannot pass itself off as qmgr. */
static void users_and_roles(void **state)
{
	static const struct chan_user users[] = {{65533, SMTPS}, {65534, SMTPS}, {65534, SMTPC}};
	struct log_conf conf = {.ident = "unit", .level = 6};
	char path[64], log[80];
	struct chan_server *s;
	struct meta1_err err;
	struct stat st;
	int i;

	(void)state;
	if (geteuid() != 0)
		skip();
	snprintf(path, sizeof(path), "/tmp/chan-test.%d", (int)getpid());
	loop = loop_new();
	smar.loop = loop;
	s = chan_listen(&smar, listener(path));
	chan_server_users(s, users, ARRAY_LEN(users));
	assert_int_equal(chmod(path, 0666), 0);
	assert_true(believed(path, 65533, "smtps"));
	assert_false(believed(path, 65533, "smtpc"));
	assert_false(believed(path, 65533, "qmgr"));
	assert_true(believed(path, 65534, "smtps"));
	assert_true(believed(path, 65534, "smtpc"));
	assert_false(believed(path, 65534, "mcp"));
	assert_false(believed(path, 65532, "smtps"));
	assert_true(believed(path, 0, "qmgr"));
	/* anyone can connect and be refused: that must not fill the log */
	snprintf(log, sizeof(log), "/tmp/chan-test.%d.log", (int)getpid());
	conf.file = log;
	assert_int_equal(log_open(NULL, &conf, &err), 0);
	for (i = 0; i < 30; i++)
		assert_false(believed(path, 65532, "smtps"));
	log_close();
	assert_int_equal(stat(log, &st), 0);
	assert_in_range(st.st_size, 0, 400);
	unlink(log);
	chan_server_free(&s);
	unlink(path);
	loop_free(&loop);
}

/* Without a descriptor a waiting client does not make the loop spin, and is served later. */
static void no_descriptor(void **state)
{
	struct rlimit was, few;
	struct chan_server *s;
	struct timespec a, b;
	char path[64];
	struct chan *c;
	int i;

	(void)state;
	ups = 0;
	snprintf(path, sizeof(path), "/tmp/chan-test.%d", (int)getpid());
	loop = loop_new();
	smar.loop = qmgr.loop = loop;
	s = chan_listen(&smar, listener(path));
	c = chan_connect(&qmgr, SMAR, path);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	i = dup(0);
	close(i);
	few = was;
	few.rlim_cur = (rlim_t)i + 1; /* for the client's end alone */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (i = 0; i < 5; i++)
		loop_turn(loop, true);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (i = 0; i < 6; i++)
		loop_turn(loop, true);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 100);
	turns_until(&ups, 2);
	chan_close(&c);
	chan_server_free(&s);
	unlink(path);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whole_life), cmocka_unit_test(refuses),
	    cmocka_unit_test(closes_a_lost_peer), cmocka_unit_test(users_and_roles),
	    cmocka_unit_test(no_descriptor)};

	signal(SIGPIPE, SIG_IGN);

	return cmocka_run_group_tests(tests, NULL, NULL);
}
