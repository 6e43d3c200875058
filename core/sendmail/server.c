/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c -- the connection to smtps: a unix socket, or host:port; commands and replies.
 *
 * Comes from: sendmail.c, content.c. Goes to: smtps. Owns the descriptor. It blocks, within bounds.
 * On failure: what the server said, without control bytes, and a status: 75 when it is worth to
 * try again, also when nobody is there; 76 when that is no SMTP server.
 */
#include "sendmail/sendmail.h"

#include "mail/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_SEC  600 /* RFC 5321 4.5.3.2.6: after the dot; the longest of all */
#define LINES_MAX 100

static int no_server(const struct sendmail_server *s, int why)
{
	const char *hint =
	    why == ENOENT || why == ECONNREFUSED
		? "; no server listens there: is meta1 running, with a listen_socket for it?"
		: "";

	return sendmail_fail(
	    EX_TEMPFAIL, "%s: %s%s; the mail was not taken", s->where, strerror(why), hint);
}

static int dial(struct sendmail_server *s, int family, const struct sockaddr *sa, socklen_t len)
{
	const struct timeval tv = {.tv_sec = WAIT_SEC};

	s->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -1;
	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(s->fd, sa, len) == 0)
		return 0;
	len = (socklen_t)errno;
	sendmail_server_close(s);
	errno = (int)len;
	return -1;
}

/* "host:port", "[v6]:port". */
static int dial_inet(struct sendmail_server *s)
{
	const struct addrinfo want = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	const char *colon = strrchr(s->where, ':');
	char host[256];
	int rc, why = 0;
	size_t n;

	if (!colon || colon == s->where || !colon[1] || (size_t)(colon - s->where) >= sizeof(host))
		return sendmail_fail(
		    EX_USAGE, "%s: expected the path of a socket, or host:port", s->where);
	n = (size_t)(colon - s->where);
	if (s->where[0] == '[' && colon[-1] == ']')
		str_copy(host, n - 1, s->where + 1);
	else
		str_copy(host, n + 1, s->where);
	rc = getaddrinfo(host, colon + 1, &want, &all);
	if (rc != 0)
		return sendmail_fail(
		    EX_TEMPFAIL, "%s: %s; the mail was not taken", s->where, gai_strerror(rc));
	for (const struct addrinfo *a = all; a && s->fd < 0; a = a->ai_next)
		if (dial(s, a->ai_family, a->ai_addr, a->ai_addrlen) < 0)
			why = errno;
	freeaddrinfo(all);
	return s->fd < 0 ? no_server(s, why) : 0;
}

int sendmail_server_open(struct sendmail_server *s, const char *where)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	s->fd = -1;
	s->where = where;
	if (where[0] != '/')
		return dial_inet(s);
	if (str_copy(sun.sun_path, sizeof(sun.sun_path), where) != strlen(where))
		return sendmail_fail(EX_USAGE, "%s: too long for the name of a socket", where);
	if (dial(s, AF_UNIX, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return 0;
	return no_server(s, errno);
}

void sendmail_server_close(struct sendmail_server *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

int sendmail_server_write(struct sendmail_server *s, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t did = send(s->fd, data, n, MSG_NOSIGNAL);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return -1;
		data += did;
		n -= (size_t)did;
	}
	return 0;
}

/* A line without its end into line; -1: none, it is too long or has a NUL. */
static int read_line(struct sendmail_server *s, char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		ssize_t got;

		while (s->pos < s->len) {
			char c = s->buf[s->pos++];

			if (c == '\n') {
				n -= n > 0 && line[n - 1] == '\r';
				line[n] = '\0';
				return 0;
			}
			if (n + 1 == size || c == '\0')
				return -1;
			line[n++] = c;
		}
		got = recv(s->fd, s->buf, sizeof(s->buf), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		s->pos = 0;
		s->len = (size_t)got;
	}
}

/* Fit for a terminal and a log. */
static void clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		uint32_t c;
		size_t n = utf8_get(p, strlen((char *)p), &c);

		if (n == 0 || c < 32 || (c >= 127 && c < 160))
			*p = '?';
		else
			p += n - 1;
	}
}

static void capability(struct sendmail_server *s, const char *word)
{
	static const struct {
		const char *name;
		unsigned cap;
	} all[] = {{"8BITMIME", CAP_8BITMIME}, {"SMTPUTF8", CAP_SMTPUTF8}, {"DSN", CAP_DSN}};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcasecmp(word, all[i].name) == 0)
			s->caps |= all[i].cap;
}

int sendmail_server_reply(struct sendmail_server *s, char digit, const char *what, int refused)
{
	char line[2048], code[4] = "";

	for (unsigned i = 0;; i++) {
		if (read_line(s, line, sizeof(line)) < 0)
			return sendmail_fail(EX_TEMPFAIL,
			    "%s: the server ended the connection; the mail was not taken",
			    s->where);
		if (s->verbose) {
			str_copy(s->text, sizeof(s->text), line);
			clean(s->text);
			printf("%s\n", s->text);
		}
		for (int k = 0; k < 3; k++)
			if (!isdigit((unsigned char)line[k]) || i == LINES_MAX)
				return sendmail_fail(
				    EX_PROTOCOL, "%s: its reply is not SMTP", s->where);
		str_copy(code, sizeof(code), line);
		if (line[3] != '\0' && strlen(line) > 4)
			capability(s, line + 4);
		if (line[3] != '-')
			break;
	}
	str_copy(s->text, sizeof(s->text), line);
	clean(s->text);
	if (code[0] == digit)
		return 0;
	return sendmail_fail(code[0] == '5'   ? refused
			     : code[0] == '4' ? EX_TEMPFAIL
					      : EX_PROTOCOL,
	    "%s: %s; nothing was sent", what, s->text);
}

int sendmail_server_command(
    struct sendmail_server *s, const char *command, char digit, const char *what, int refused)
{
	char line[2048];
	int n = snprintf(line, sizeof(line), "%s\r\n", command);

	if (n < 0 || n >= (int)sizeof(line))
		return sendmail_fail(EX_DATAERR, "%s: too long; nothing was sent", what);
	if (s->verbose)
		printf(">>> %s\n", command);
	/* when it is gone, its last words tell why */
	(void)!sendmail_server_write(s, line, (size_t)n);
	return sendmail_server_reply(s, digit, what, refused);
}

int sendmail_server_greeting(struct sendmail_server *s)
{
	int rc = sendmail_server_reply(s, '2', s->where, EX_TEMPFAIL);
	size_t n;

	if (rc != 0)
		return rc;
	n = strcspn(s->text + 4, " ");
	if (strlen(s->text) < 5 || n == 0 || !addr_domain_ok(buf_of(s->text + 4, n)) ||
	    n >= sizeof(s->name))
		return sendmail_fail(EX_PROTOCOL, "%s: its greeting has no name", s->where);
	str_copy(s->name, n + 1, s->text + 4);
	return 0;
}

int sendmail_server_ehlo(struct sendmail_server *s, const char *domain)
{
	char command[SENDMAIL_NAME_MAX + 8];

	s->caps = 0;
	snprintf(command, sizeof(command), "EHLO %s", domain);
	return sendmail_server_command(s, command, '2', s->where, EX_UNAVAILABLE);
}
