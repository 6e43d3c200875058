/* SPDX-License-Identifier: BSD-2-Clause */
/* nameserver.h -- a name server on the test's own loop: answers from a table, over UDP and TCP,
 * and can be made to misbehave. */
#ifndef META1_TEST_NAMESERVER_H
#define META1_TEST_NAMESERVER_H
#include "lib/conn.h"
#include "packet.h"

#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

/* In rcode: nothing proves this answer, whatever the server's ad; nothing is answered. */
#define NS_PLAIN  0x100
#define NS_SILENT 0x200
struct ns_row {
	const char *name;
	uint16_t type, rtype; /* asked for, given */
	unsigned rcode;
	const char *text; /* NULL: no record, an SOA */
};
struct nameserver {
	struct loop *loop;
	const struct ns_row *rows;
	int udp, tcp;
	struct watch *udp_watch, *tcp_watch;
	struct conn *conn[16];
	unsigned nconn;
	uint16_t port;
	unsigned udp_asked, tcp_asked;
	unsigned silent; /* so many questions stay unanswered */
	unsigned forged; /* so many wrong packets before the true one */
	bool truncate, no_edns, servfail;
	bool folds;	/* answers in lower case */
	bool badvers;	/* no EDNS0 by the extended code alone */
	bool edns_deaf; /* questions with EDNS0 stay unanswered */
	unsigned edns_asked;
	bool ad;	/* sets AD when it is asked for */
	unsigned upper; /* questions that came with a capital letter */
	unsigned tlsa_asked, cname_asked;
	struct packet in, out;
};

/* What the table has; nothing at all with NS_SILENT. */
static inline void ns_rows(struct nameserver *ns, const char *name, uint16_t type)
{
	bool found = false;

	for (const struct ns_row *r = ns->rows; r->name; r++) {
		if (strcasecmp(r->name, name) != 0 || r->type != type)
			continue;
		found = true;
		ns->out.b[3] |= (uint8_t)r->rcode;
		if (r->rcode & NS_PLAIN)
			ns->out.b[3] &= (uint8_t)~0x20u;
		if (r->rcode & NS_SILENT) {
			ns->out.n = 0;
			return;
		}
		if (r->text)
			put_rr(&ns->out, 0, name, r->rtype, 60, r->text);
		else
			put_rr(&ns->out, 1, "test", DNS_SOA, 30, "30");
	}
	if (!found) {
		bool known = false;

		for (const struct ns_row *r = ns->rows; r->name; r++)
			known |= strcasecmp(r->name, name) == 0;
		if (!known)
			ns->out.b[3] |= 3;
		put_rr(&ns->out, 1, "test", DNS_SOA, 30, "30");
	}
}

/* The answer to ns->in of len bytes into ns->out. */
static inline void ns_answer(struct nameserver *ns, size_t len, bool tcp)
{
	char name[256];
	size_t off = 12, n = 0;
	uint16_t type;

	for (; ns->in.b[off]; off += 1u + ns->in.b[off]) {
		if (n > 0)
			name[n++] = '.';
		memcpy(name + n, ns->in.b + off + 1, ns->in.b[off]);
		n += ns->in.b[off];
	}
	name[n] = '\0';
	ns->upper += strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL;
	for (char *p = name; ns->folds && *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	assert_true(off + 5 <= len);
	type = (uint16_t)(ns->in.b[off + 1] << 8 | ns->in.b[off + 2]);
	ns->tlsa_asked += type == DNS_TLSA;
	ns->cname_asked += type == DNS_CNAME;
	put_head(&ns->out, (unsigned)(ns->in.b[0] << 8 | ns->in.b[1]), 0, name, type);
	if (ns->no_edns && ns->in.b[11] > 0) {
		ns->out.b[3] |= 1;
		return;
	}
	if (ns->badvers && ns->in.b[11] > 0) {
		ns->out.b[11] = 1;
		for (const char *p = "\0\0\51\4\320\1\0\0\0\0\0", *end = p + 11; p < end; p++)
			put8(&ns->out, (unsigned char)*p);
		return;
	}
	if (ns->ad && (ns->in.b[3] & 0x20))
		ns->out.b[3] |= 0x20;
	if (ns->servfail) {
		ns->out.b[3] |= 2;
		return;
	}
	if (ns->truncate && !tcp) {
		ns->out.b[2] |= 2;
		return;
	}
	ns_rows(ns, name, type);
}

static inline void ns_udp(int fd, short what, void *arg)
{
	struct nameserver *ns = arg;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, ns->in.b, sizeof(ns->in.b), 0, (void *)&from, &len);

	(void)what;
	if (n < 12)
		return;
	ns->udp_asked++;
	ns->edns_asked += ns->in.b[11] > 0;
	if (ns->edns_deaf && ns->in.b[11] > 0)
		return;
	if (ns->silent > 0) {
		ns->silent--;
		return;
	}
	ns_answer(ns, (size_t)n, false);
	if (ns->out.n == 0)
		return;
	for (unsigned i = 0; i < ns->forged; i++) {
		ns->out.b[0] ^= 0x55;
		sendto(fd, ns->out.b, ns->out.n, 0, (void *)&from, len);
		ns->out.b[0] ^= 0x55;
	}
	sendto(fd, ns->out.b, ns->out.n, 0, (void *)&from, len);
}

struct ns_conn {
	struct nameserver *ns;
	struct conn **conn;
};
static inline void ns_input(void *arg)
{
	struct ns_conn *c = arg;
	struct evbuffer *in = conn_in(*c->conn);
	size_t len = evbuffer_get_length(in);
	uint8_t head[2];

	if (len < 3)
		return;
	evbuffer_remove(in, head, 2);
	assert_int_equal(evbuffer_remove(in, c->ns->in.b, len - 2), head[0] << 8 | head[1]);
	c->ns->tcp_asked++;
	ns_answer(c->ns, len - 2, true);
	head[0] = (uint8_t)(c->ns->out.n >> 8);
	head[1] = (uint8_t)c->ns->out.n;
	conn_write(*c->conn, head, 2);
	conn_write(*c->conn, c->ns->out.b, c->ns->out.n);
}
static inline void ns_end(void *arg, enum conn_end end, const char *why)
{
	struct ns_conn *c = arg;

	(void)end, (void)why;
	conn_close(c->conn);
	free(c);
}
static inline void ns_accept(int fd, short what, void *arg)
{
	static const struct conn_events events = {.input = ns_input, .end = ns_end};
	struct nameserver *ns = arg;
	struct ns_conn *c = base_alloc(sizeof(*c));
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	assert_true(client >= 0 && ns->nconn < ARRAY_LEN(ns->conn));
	c->ns = ns;
	c->conn = &ns->conn[ns->nconn++];
	*c->conn = conn_new(ns->loop, client, &events, c);
}

static inline struct nameserver *ns_new(struct loop *l, const struct ns_row *rows)
{
	struct nameserver *ns = base_alloc(sizeof(*ns));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);

	ns->loop = l;
	ns->rows = rows;
	/* Any port that is free for both. */
	for (int i = 0; i < 50; i++) {
		ns->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ns->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		a.sin_port = 0;
		assert_int_equal(bind(ns->udp, (void *)&a, sizeof(a)), 0);
		getsockname(ns->udp, (void *)&a, &len);
		if (bind(ns->tcp, (void *)&a, sizeof(a)) == 0)
			break;
		close(ns->udp);
		close(ns->tcp);
	}
	assert_int_equal(listen(ns->tcp, 8), 0);
	ns->port = ntohs(a.sin_port);
	ns->udp_watch = loop_fd(l, ns->udp, EV_READ, ns_udp, ns);
	ns->tcp_watch = loop_fd(l, ns->tcp, EV_READ, ns_accept, ns);
	return ns;
}

static inline void ns_free(struct nameserver *ns)
{
	for (int i = 0; i < 100 && ns->nconn > 0 && ns->conn[ns->nconn - 1]; i++)
		loop_turn(ns->loop, true); /* the resolver closed its end */
	loop_unwatch(&ns->udp_watch);
	loop_unwatch(&ns->tcp_watch);
	close(ns->udp);
	close(ns->tcp);
	free(ns);
}

/* A resolver that asks it. */
static inline struct dns *ns_resolver_conf(
    struct loop *l, const uint16_t *ports, unsigned n, struct dns_conf conf, bool trusted)
{
	static char text[4][40];
	const char *list[5] = {NULL};
	struct meta1_err err;
	struct dns *d;

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "127.0.0.1:%u", ports[i]);
		list[i] = text[i];
	}
	conf.nameserver = list;
	conf.trusted = trusted ? list : NULL;
	conf.tries = 3;
	d = dns_new(l, &conf, &err);
	assert_non_null(d);
	return d;
}

static inline struct dns *ns_resolver(struct loop *l, const uint16_t *ports, unsigned n, int64_t ms)
{
	struct dns_conf conf = {.timeout = ms};

	return ns_resolver_conf(l, ports, n, conf, false);
}

/* A test's own name server and the resolver that asks it. */
struct ns_world {
	struct loop *loop;
	struct nameserver *ns;
	struct dns *dns;
};
static inline int ns_set_up(void **state, const struct ns_row *rows, int64_t ms)
{
	struct ns_world *w = base_alloc(sizeof(*w));

	w->loop = loop_new();
	w->ns = ns_new(w->loop, rows);
	w->dns = ns_resolver(w->loop, &w->ns->port, 1, ms);
	*state = w;
	return 0;
}
static inline int ns_tear_down(void **state)
{
	struct ns_world *w = *state;

	dns_free(&w->dns);
	ns_free(w->ns);
	loop_free(&w->loop);
	free(w);
	return 0;
}

#endif
