/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_try.c -- one question to one name server: over UDP from a socket of its own, whose
 * port the kernel draws, connected so that only that server is heard, with a random ID and the
 * name in random case; over TCP when the answer says that it was cut, or comes in another case:
 * who guesses an answer cannot do that there, and a server that folds names is not lost. RFC 5452.
 * From dns.c; the result goes back there. Owns the socket, its watches and the TCP connection.
 * On failure (time-out, refused, malformed): DNS_FAIL with the reason.
 */
#include "lib/conn.h"
#include "smar/smar.h"

#include <errno.h>
#include <event2/util.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRANGERS 16 /* wrong packets on one socket before we leave it */

METRIC_COUNTER(m_udp, "dns_udp_queries_total", "Questions sent over UDP.");
METRIC_COUNTER(m_tcp, "dns_tcp_queries_total", "Questions sent over TCP.");
METRIC_COUNTER(m_timeouts, "dns_timeouts_total", "Tries without an answer in time.");
METRIC_COUNTER(m_strangers, "dns_strangers_total", "Packets that answered no question of ours.");

void dns_try_end(struct dns_try *t)
{
	if (t->io)
		loop_unwatch(&t->io);
	if (t->timer)
		loop_unwatch(&t->timer);
	if (t->tcp)
		conn_close(&t->tcp);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

/* The owner may start this try again, or free it: nothing of it is touched afterwards. */
static void finish(struct dns_try *t, struct dns_result *r)
{
	dns_try_end(t);
	t->done(t->arg, r);
}

static void finish_fail(struct dns_try *t, const char *why)
{
	struct dns_result r = {.read = DNS_FAIL};

	str_copy(r.why, sizeof(r.why), why);
	finish(t, &r);
}

static void timed_out(int fd, short what, void *arg)
{
	struct dns_result r = {.read = DNS_FAIL, .silent = true};

	(void)fd, (void)what;
	m_timeouts.value++;
	str_copy(r.why, sizeof(r.why), "no answer in time");
	finish(arg, &r);
}

/* ---- TCP: the same question, two bytes of length before each message ---- */
static void tcp_connected(void *arg)
{
	struct dns_try *t = arg;
	uint8_t packet[2 + 512];
	size_t n = dns_msg_query(&t->q, packet + 2, sizeof(packet) - 2);

	packet[0] = (uint8_t)(n >> 8);
	packet[1] = (uint8_t)n;
	conn_write(t->tcp, packet, n + 2);
}

static void tcp_input(void *arg)
{
	struct dns_try *t = arg;
	struct evbuffer *in = conn_in(t->tcp);
	struct dns_result r;
	uint8_t head[2];
	size_t len;

	if (evbuffer_copyout(in, head, 2) < 2)
		return;
	len = (size_t)head[0] << 8 | head[1];
	if (evbuffer_get_length(in) < len + 2)
		return;
	evbuffer_drain(in, 2);
	r.read = dns_msg_read(evbuffer_pullup(in, (ev_ssize_t)len), len, &t->q, &r);
	if (r.read == DNS_TRUNCATED || r.read == DNS_IGNORE)
		finish_fail(t, "the answer over TCP is not one to our question");
	else
		finish(t, &r);
}

static void tcp_end(void *arg, enum conn_end end, const char *why)
{
	char text[120];

	(void)end;
	snprintf(text, sizeof(text), "TCP: %s", why);
	finish_fail(arg, text);
}

static const struct conn_events tcp_events = {
    .connected = tcp_connected,
    .input = tcp_input,
    .end = tcp_end,
};

static void start_tcp(struct dns_try *t)
{
	struct meta1_err err;

	m_tcp.value++;
	t->q.tcp = true;
	loop_unwatch(&t->io);
	close(t->fd);
	t->fd = -1;
	loop_rearm(t->timer, t->ms);
	t->tcp = conn_connect(t->loop, (const struct sockaddr *)&t->server.addr, t->server.len,
	    NULL, t->ms, &tcp_events, t, &err);
	if (!t->tcp)
		finish_fail(t, err.text);
}

/* ---- UDP ---- */
static void udp_readable(int fd, short what, void *arg)
{
	struct dns_try *t = arg;
	uint8_t packet[4096];

	(void)what;
	for (;;) {
		struct dns_result r;
		ssize_t n = recv(fd, packet, sizeof(packet), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			finish_fail(
			    t, errno == ECONNREFUSED ? "nothing listens there" : "cannot receive");
			return;
		}
		r.read = dns_msg_read(packet, (size_t)n, &t->q, &r);
		if (r.read == DNS_IGNORE) {
			m_strangers.value++;
			if (++t->strangers < STRANGERS)
				continue;
			finish_fail(t, "too many answers to questions that were not asked");
			return;
		}
		if (r.read == DNS_TRUNCATED)
			start_tcp(t);
		else
			finish(t, &r);
		return;
	}
}

/* Every letter in a case of its own: up to 200 bits that a forger must guess besides. */
static void mix_case(char *name)
{
	uint8_t bit[DNS_NAME_MAX / 8];

	evutil_secure_rng_get_bytes(bit, sizeof(bit));
	for (size_t i = 0; name[i]; i++)
		if (name[i] >= 'a' && name[i] <= 'z' && (bit[i / 8] >> (i % 8) & 1))
			name[i] = (char)(name[i] - 32);
}

int dns_try_start(struct dns_try *t, struct loop *l, const struct dns_server *server,
    const struct dns_question *q, int64_t ms, void (*done)(void *, struct dns_result *), void *arg,
    struct meta1_err *err)
{
	uint8_t packet[512];
	size_t n;

	memset(t, 0, sizeof(*t));
	t->loop = l;
	t->server = *server;
	t->q = *q;
	t->ms = ms;
	t->began = loop_now(l);
	t->done = done;
	t->arg = arg;
	evutil_secure_rng_get_bytes(&t->q.id, sizeof(t->q.id));
	if (t->q.mixed)
		mix_case(t->q.name);
	t->fd = socket(server->addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd < 0)
		return err_set(err, "socket for DNS: %s", strerror(errno));
	n = dns_msg_query(&t->q, packet, sizeof(packet));
	if (n == 0)
		err_set(err, "%s: not a domain name", q->name);
	else if (connect(t->fd, (const struct sockaddr *)&server->addr, server->len) < 0 ||
		 send(t->fd, packet, n, 0) < 0)
		err_set(err, "%s: %s", server->text, strerror(errno));
	else {
		m_udp.value++;
		t->io = loop_fd(l, t->fd, EV_READ, udp_readable, t);
		t->timer = loop_timer(l, ms, timed_out, t);
		return 0;
	}
	dns_try_end(t);
	return -1;
}
