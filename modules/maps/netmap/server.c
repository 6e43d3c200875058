/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c -- where the servers of a map are, and the file with the password.
 * From the modules' check() and netmap_open(). Owns nothing. No names are looked up here.
 */
#include "netmap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int netmap_fail(struct meta1_err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

static int unix_server(const char *path, struct netmap_server *s, struct meta1_err *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&s->addr[0];

	if (strlen(path) >= sizeof(un->sun_path))
		return netmap_fail(err,
		    "server \"%.200s\": the path of a unix socket has at most 107 bytes", path);
	snprintf(s->path, sizeof(s->path), "%s", path);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	s->len[0] = sizeof(*un);
	s->naddr = 1;
	snprintf(s->name, sizeof(s->name), "%s", path);
	return 0;
}

/* An address is taken as it is, any other host is a name. */
static void inet_server(struct netmap_server *s)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&s->addr[0];
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&s->addr[0];

	if (inet_pton(AF_INET, s->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(s->port);
		s->len[0] = sizeof(*v4);
		s->naddr = 1;
	} else if (inet_pton(AF_INET6, s->host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(s->port);
		s->len[0] = sizeof(*v6);
		s->naddr = 1;
	} else {
		s->named = true;
	}
	snprintf(s->name, sizeof(s->name), "%s port %u", s->host, s->port);
}

int netmap_server(const char *text, struct netmap_server *s, struct meta1_err *err)
{
	const char *end = text + strlen(text), *colon, *host = text;
	char *rest = NULL;
	long port;

	if (text[0] == '/')
		return unix_server(text, s, err);
	if (text[0] == '[') {
		host = text + 1;
		end = strchr(host, ']');
		colon = end && end[1] == ':' ? end + 1 : NULL;
		if (!end || (end[1] != '\0' && !colon))
			return netmap_fail(
			    err, "server \"%.200s\": expected \"[2001:db8::1]:port\"", text);
	} else {
		colon = strchr(text, ':');
		if (colon && strchr(colon + 1, ':'))
			return netmap_fail(err,
			    "server \"%.200s\": an IPv6 address stands in brackets, "
			    "\"[2001:db8::1]\"",
			    text);
		end = colon ? colon : end;
	}
	if (end == host || (size_t)(end - host) >= sizeof(s->host))
		return netmap_fail(err,
		    "server \"%.200s\": expected \"host\", \"host:port\", \"[2001:db8::1]:port\" "
		    "or \"/path\"",
		    text);
	memcpy(s->host, host, (size_t)(end - host));
	s->host[end - host] = '\0';
	port = colon ? strtol(colon + 1, &rest, 10) : s->port;
	if (port < 1 || port > 65535 || (colon && *rest != '\0'))
		return netmap_fail(err, "server \"%.200s\": expected a port from 1 to 65535", text);
	s->port = (uint16_t)port;
	inet_server(s);
	return 0;
}

int netmap_servers(const struct netmap_ops *ops, const struct netmap_conf *c,
    struct netmap_server *v, struct meta1_err *err)
{
	struct netmap_server one;
	int n = 0;

	for (const char *const *t = c->servers; t && *t; t++, n++) {
		if (n == NETMAP_SERVERS)
			return netmap_fail(err, "servers: more than %d", NETMAP_SERVERS);
		memset(&one, 0, sizeof(one));
		one.port = ops->port;
		if ((ops->server ? ops->server : netmap_server)(*t, &one, err) < 0)
			return -1;
		if (v)
			v[n] = one;
	}
	return n > 0 ? n : netmap_fail(err, "servers: there is none");
}

int netmap_secret(const char *file, char out[NETMAP_SECRET], struct meta1_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n = -1;

	if (fd < 0 || fstat(fd, &st) < 0)
		netmap_fail(err, "%s: %s", file, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		netmap_fail(err, "%s: not a file", file);
	else if (st.st_mode & 07)
		netmap_fail(err,
		    "%s: everybody may read or write it (mode %03o), and it holds a password: "
		    "chmod o= and give it to the group of the role",
		    file, (unsigned)(st.st_mode & 0777));
	else if ((n = read(fd, out, NETMAP_SECRET - 1)) < 0)
		netmap_fail(err, "%s: %s", file, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -1;
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	return out[0] != '\0' ? 0 : netmap_fail(err, "%s: its first line is empty", file);
}
