/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pass.c -- sendmail -bs: bytes of standard input go to smtps, its bytes to standard output.
 *
 * Comes from: sendmail.c. Goes to: server.c for the connection. Owns one buffer a direction.
 * Ends when the server ends; the end of the input is told to it. On failure: status 75.
 */
#include "sendmail/sendmail.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static int put(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t did = write(fd, p, n);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return -1;
		p += did;
		n -= (size_t)did;
	}
	return 0;
}

/* What is there at from, to the other; 0: it has ended, <0: an error. */
static ssize_t move(int from, struct sendmail_server *to)
{
	char buf[16384];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return 1;
	if (n <= 0)
		return n;
	if (to)
		return sendmail_server_write(to, buf, (size_t)n) < 0 ? -1 : n;
	return put(STDOUT_FILENO, buf, (size_t)n) < 0 ? -1 : n;
}

int sendmail_pass(const struct sendmail_options *o)
{
	struct sendmail_server s = {.fd = -1};
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
	int rc = sendmail_server_open(&s, o->server);
	ssize_t n = 1;

	p[1].fd = s.fd;
	while (rc == 0 && n > 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			rc = sendmail_fail(EX_OSERR, "poll: %s", strerror(errno));
		else if (p[1].revents)
			n = move(s.fd, NULL);
		else if (p[0].revents && move(STDIN_FILENO, &s) <= 0) {
			p[0].fd = -1;
			shutdown(s.fd, SHUT_WR);
		}
	}
	if (rc == 0 && n < 0)
		rc = sendmail_fail(EX_TEMPFAIL, "%s: the connection broke", o->server);
	sendmail_server_close(&s);
	return rc;
}
