/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c -- many SMTP sessions at once from one process, and how long each final reply took.
 *
 *	load PORT SESSIONS MESSAGES BYTES [keep | RATE]
 *
 * Comes from bench/latency and bench/tls; connects to 127.0.0.1, each session sends its next mail
 * as soon as the one before was answered, on a new connection unless "keep" is given; with a RATE
 * a second connections begin by the clock, and SESSIONS is how many of them there may be at once.
 *Every recipient is new. Prints one JSON object: microseconds from the final dot to its reply, and
 *of a whole mail with its connection. On failure: says what was expected and found, exit status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS_MAX 5000
#define MESSAGES_MAX 1000000
#define BYTES_MAX    (64 << 20)

enum step { GREETING, HELLO, MAIL, RCPT, DATA, DOT, QUIT, STEPS };
static const int expected[STEPS] = {220, 250, 250, 250, 354, 250, 221};

struct client {
	int fd;
	enum step step; /* whose reply is due */
	char in[1024];
	size_t nin, sent; /* sent: of the body */
	int64_t began, dot;
	struct client *next; /* that has no connection, and waits for its time */
};

static struct {
	int ep, port;
	long left, number, nlive, begun;
	bool keep;
	double rate; /* connections a second, 0: as fast as they are answered */
	int64_t start;
	struct client *free;
	char *body;
	size_t nbody;
	uint32_t *reply_us, *whole_us;
	long done;
} load;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what, const char *found)
{
	fprintf(stderr, "load: %s: %s\n", what, found);
	exit(1);
}

static void watch(struct client *c, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(load.ep, op, c->fd, &ev) < 0)
		fail("epoll_ctl", strerror(errno));
}

static void say(struct client *c, const char *text)
{
	size_t n = strlen(text);

	if (write(c->fd, text, n) != (ssize_t)n)
		fail("write of a command", strerror(errno));
}

static void open_one(struct client *c)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)load.port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;

	c->began = now_us();
	c->step = GREETING;
	c->nin = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket", strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
		fail("connect", strerror(errno));
	watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

/* Opens what is due. Returns microseconds until the next one is, or a minute. */
static int64_t open_due(void)
{
	struct client *c;

	while ((c = load.free) != NULL) {
		int64_t due = load.start + (int64_t)((double)load.begun * 1e6 / load.rate);

		if (due > now_us())
			return due - now_us();
		load.free = c->next;
		load.begun++;
		open_one(c);
	}
	return 60000000;
}

static void begin(struct client *c)
{
	if (load.rate == 0) {
		open_one(c);
		return;
	}
	c->next = load.free;
	load.free = c;
}

static void mail(struct client *c)
{
	load.left--;
	c->step = MAIL;
	say(c, "MAIL FROM:<from@bench.test>\r\n");
}

static void feed(struct client *c)
{
	while (c->sent < load.nbody) {
		ssize_t n = write(c->fd, load.body + c->sent, load.nbody - c->sent);

		if (n < 0 && errno == EAGAIN) {
			watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0)
			fail("write of content", strerror(errno));
		c->sent += (size_t)n;
	}
	c->dot = now_us();
	watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void leave(struct client *c)
{
	c->step = QUIT;
	say(c, "QUIT\r\n");
}

static void finish(struct client *c)
{
	int64_t t = now_us();

	load.reply_us[load.done] = (uint32_t)(t - c->dot);
	load.whole_us[load.done++] = (uint32_t)(t - c->began);
	c->began = t;
	if (load.keep && load.left > 0) {
		mail(c);
		return;
	}
	leave(c);
}

static void bye(struct client *c)
{
	close(c->fd);
	if (load.left > 0)
		begin(c);
	else
		load.nlive--;
}

static void on_reply(struct client *c)
{
	char line[64];

	switch (c->step) {
	case GREETING:
		c->step = HELLO;
		say(c, "EHLO bench.test\r\n");
		break;
	case HELLO:
		if (load.left > 0)
			mail(c);
		else
			leave(c);
		break;
	case MAIL:
		c->step = RCPT;
		snprintf(line, sizeof(line), "RCPT TO:<u%ld.%d@bench.test>\r\n", load.number++,
		    (int)getpid());
		say(c, line);
		break;
	case RCPT:
		c->step = DATA;
		say(c, "DATA\r\n");
		break;
	case DATA:
		c->step = DOT;
		c->sent = 0;
		feed(c);
		break;
	case DOT:
		finish(c);
		break;
	default:
		bye(c);
	}
}

/* Takes whole lines; the last of a reply has a blank behind its code. */
static void on_input(struct client *c)
{
	ssize_t n = read(c->fd, c->in + c->nin, sizeof(c->in) - 1 - c->nin);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		fail("a reply was due", n < 0 ? strerror(errno) : "the server closed");
	c->nin += (size_t)n;
	c->in[c->nin] = '\0';
	while ((end = strchr(c->in, '\n')) != NULL) {
		bool last = c->in[3] == ' ';

		if (atoi(c->in) != expected[c->step])
			fail("a good reply was due", c->in);
		c->nin -= (size_t)(end + 1 - c->in);
		memmove(c->in, end + 1, c->nin + 1);
		if (last) {
			on_reply(c);
			return; /* the client says one thing at a time, so nothing is behind it */
		}
	}
}

static int wait_some(struct epoll_event *ev, int max)
{
	int64_t us = open_due();
	struct timespec t = {us / 1000000, us % 1000000 * 1000};
	int n = epoll_pwait2(load.ep, ev, max, &t, NULL);

	if (n == 0 && us == 60000000)
		fail("60 s without a reply", "silence");
	return n;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print(const char *name, uint32_t *v)
{
	long n = load.done;

	qsort(v, (size_t)n, sizeof(*v), by_size);
	printf("\"%s_us\": {\"p50\": %u, \"p95\": %u, \"p99\": %u, \"max\": %u}", name, v[n / 2],
	    v[n * 95 / 100], v[n * 99 / 100], v[n - 1]);
}

/* Lines of 72 bytes behind a header, then the dot. */
static void make_body(size_t bytes)
{
	static const char head[] = "Subject: bench\r\n\r\n";
	size_t at = sizeof(head) - 1, col = 0;

	load.body = malloc(sizeof(head) + bytes + 8);
	if (load.body == NULL)
		fail("memory for the content", strerror(errno));
	memcpy(load.body, head, at);
	for (; at < bytes; at++, col = (col + 1) % 72)
		load.body[at] = col == 70 ? '\r' : col == 71 ? '\n' : 'x';
	if (col == 71)
		load.body[at++] = '\n';
	memcpy(load.body + at, "\r\n.\r\n", 5);
	load.nbody = at + 5;
}

int main(int argc, char **argv)
{
	long sessions = argc > 2 ? atol(argv[2]) : 0, n = argc > 3 ? atol(argv[3]) : 0, i;
	long bytes = argc > 4 ? atol(argv[4]) : -1;
	struct epoll_event ev[256];
	struct client *c;

	if (argc < 5 || argc > 6 || sessions < 1 || sessions > SESSIONS_MAX || n < sessions ||
	    n > MESSAGES_MAX || bytes < 0 || bytes > BYTES_MAX ||
	    (argc == 6 && strcmp(argv[5], "keep") != 0 && atof(argv[5]) <= 0)) {
		fprintf(stderr,
		    "load PORT SESSIONS(1..%d) MESSAGES(SESSIONS..%d) BYTES [keep | RATE]\n",
		    SESSIONS_MAX, MESSAGES_MAX);
		return 64;
	}
	load.port = atoi(argv[1]);
	load.left = n;
	load.rate = argc == 6 ? atof(argv[5]) : 0;
	load.keep = argc == 6 && load.rate == 0;
	load.ep = epoll_create1(EPOLL_CLOEXEC);
	load.reply_us = calloc((size_t)n, sizeof(uint32_t));
	load.whole_us = calloc((size_t)n, sizeof(uint32_t));
	c = calloc((size_t)sessions, sizeof(*c));
	if (load.ep < 0 || load.reply_us == NULL || load.whole_us == NULL || c == NULL)
		fail("start", strerror(errno));
	make_body((size_t)bytes);
	load.start = now_us();
	for (i = 0; i < sessions; i++)
		begin(&c[i]);
	load.nlive = sessions;
	while (load.nlive > 0) {
		int got = wait_some(ev, 256), k;

		for (k = 0; k < got; k++) {
			struct client *who = ev[k].data.ptr;

			if (ev[k].events & EPOLLOUT)
				feed(who);
			else
				on_input(who);
		}
	}
	printf("{\"sessions\": %ld, \"n\": %ld, \"seconds\": %.3f, ", sessions, load.done,
	    (double)(now_us() - load.start) / 1e6);
	print("reply", load.reply_us);
	printf(", ");
	print("mail", load.whole_us);
	printf("}\n");
	free(load.body);
	free(load.reply_us);
	free(load.whole_us);
	free(c);
	return 0;
}
