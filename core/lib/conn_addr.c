/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn_addr.c -- addresses of connections as text and back.
 * Comes from smtps/listen.c, mod/netconn.c, mcp; goes to libc. Owns nothing.
 * On failure: -1 for what is no address; never asks a name server.
 */
#include "lib/conn.h"

#include "lib/log.h"
#include "lib/metric.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>

#define SOURCE_AGAIN 60000 /* ms until it is said again */

METRIC_COUNTER(m_no_source, "connections_without_source_total",
    "Connections that did not get the source address that is configured.");

int conn_addr(const char *text, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_un *un = (struct sockaddr_un *)ss;

	memset(ss, 0, sizeof(*ss));
	if (*text == '/') {
		if (strlen(text) >= sizeof(un->sun_path))
			return -1;
		un->sun_family = AF_UNIX;
		str_copy(un->sun_path, sizeof(un->sun_path), text);
		*len = sizeof(*un);
		return 0;
	}
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		*len = sizeof(*in);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		*len = sizeof(*in6);
		return 0;
	}
	return -1;
}

int conn_addr_bind(int fd, const char *source)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1;

	if (conn_addr(source, 0, &ss, &len) < 0 || ss.ss_family == AF_UNIX) {
		errno = EINVAL;
		return -1;
	}
	/* The port is chosen at connect(), so that one serves many peers. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&ss, len);
}

/* A connection from another address of ours is better than none. */
void conn_from(struct loop *l, int fd, const char *source)
{
	static int64_t told = INT64_MIN / 2;

	if (conn_addr_bind(fd, source) == 0)
		return;
	m_no_source.value++;
	if (loop_now(l) - told < SOURCE_AGAIN)
		return;
	told = loop_now(l);
	log_event(LOG_L_WARN, "conn.source", "address=%s error=%s text=%s", source, strerror(errno),
	    "connections go without it");
}

void conn_addr_text(const struct sockaddr *sa, char *out, size_t size)
{
	const void *a = NULL;

	*out = '\0';
	if (sa->sa_family == AF_INET)
		a = &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
	else if (sa->sa_family == AF_INET6)
		a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	if (!a || !inet_ntop(sa->sa_family, a, out, (socklen_t)size))
		str_copy(out, size, "unix");
}
