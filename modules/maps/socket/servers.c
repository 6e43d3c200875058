/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * servers.c -- where the servers of a socket map are: path, or address and port, then the
 * fallbacks. From map_socket.c at a check and at open. Owns nothing, no I/O.
 */
#include "socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int wrong(struct meta1_err *err, const char *what, const char *why)
{
	snprintf(err->text, sizeof(err->text), "\"%.200s\": %s", what, why);
	return 0;
}

static int unix_server(const char *path, struct socket_server *s, struct meta1_err *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&s->sa;

	if (strlen(path) >= sizeof(un->sun_path))
		return wrong(err, path, "the path of a unix socket has at most 107 bytes");
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	s->len = sizeof(*un);
	snprintf(s->name, sizeof(s->name), "%s", path);
	return 1;
}

static int inet_server(
    const char *address, int64_t port, struct socket_server *s, struct meta1_err *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&s->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&s->sa;

	if (port < 1 || port > 65535)
		return wrong(err, address, "expected a port from 1 to 65535");
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		s->len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		s->len = sizeof(*v6);
	} else {
		return wrong(err, address, "expected an IP address: names are not looked up here");
	}
	snprintf(s->name, sizeof(s->name), "%s port %d", address, (int)port);
	return 1;
}

/* "/path", "192.0.2.1:1234", "[2001:db8::1]:1234" */
static int fallback(const char *text, struct socket_server *s, struct meta1_err *err)
{
	const char *colon = strrchr(text, ':');
	char address[64];
	size_t n;

	if (text[0] == '/')
		return unix_server(text, s, err);
	n = colon ? (size_t)(colon - text) : 0;
	if (n > 1 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(address))
		return wrong(
		    err, text, "expected \"/path\", \"192.0.2.1:1234\" or \"[2001:db8::1]:1234\"");
	memcpy(address, text, n);
	address[n] = '\0';
	return inet_server(address, strtol(colon + 1, NULL, 10), s, err);
}

int socket_servers(
    const struct socket_conf *c, struct socket_server v[SOCKET_SERVERS], struct meta1_err *err)
{
	int n = 0;

	memset(v, 0, SOCKET_SERVERS * sizeof(*v));
	if ((c->path != NULL) == (c->address != NULL))
		return wrong(err, c->path ? c->path : "", "say either path, or address and port");
	if (c->mapname[0] == '\0' || strlen(c->mapname) > 100 || strpbrk(c->mapname, " \t\r\n"))
		return wrong(err, c->mapname, "mapname: expected a word of at most 100 bytes");
	if (c->path ? !unix_server(c->path, &v[n++], err)
		    : !inet_server(c->address, c->port, &v[n++], err))
		return 0;
	for (const char *const *f = c->fallback; f && *f; f++) {
		if (n == SOCKET_SERVERS)
			return wrong(err, *f, "more than 7 fallbacks");
		if (!fallback(*f, &v[n++], err))
			return 0;
	}
	return n;
}
