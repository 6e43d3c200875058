/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c -- asks a role over its control socket (HTTP/1.0: the answer ends with the
 * connection). Comes from meta1ctl.c; goes to server.c in a role.
 * Owns nothing between calls. On failure: one line that says which socket and what to do.
 */
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (64u << 20)
#define WAIT_SEC   30
#define RELOAD_SEC 240 /* checks, answers of all roles, restarts: each has its own end */

static int dial(const char *path, time_t wait, struct meta1_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = wait};
	int fd, why;

	errno = ENAMETOOLONG;
	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(err, "%s: the path of the control socket is too long", path);
	str_copy(sa.sun_path, sizeof(sa.sun_path), path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, "no socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	why = errno;
	err_set(err, "%s: %s%s", path, strerror(why),
	    why == EACCES			   ? " (members of group meta1 may; or use root)"
	    : why == ENOENT || why == ECONNREFUSED ? " (is mcp running with this configuration?)"
						   : "");
	close(fd);
	errno = why;
	return -1;
}

bool client_gone(const char *path)
{
	struct meta1_err err;
	int fd = dial(path, WAIT_SEC, &err), why = errno;

	if (fd >= 0)
		close(fd);
	return fd < 0 && (why == ENOENT || why == ECONNREFUSED);
}

static char *read_all(int fd, size_t *len, struct meta1_err *err)
{
	size_t cap = 65536, n = 0;
	char *b = base_alloc(cap);
	ssize_t got;

	while ((got = read(fd, b + n, cap - n - 1)) > 0) {
		n += (size_t)got;
		if (cap - n < 2) {
			if (cap >= ANSWER_MAX) {
				err_set(err, "the answer is larger than %u MiB", ANSWER_MAX >> 20);
				free(b);
				return NULL;
			}
			b = base_realloc(b, cap *= 2);
		}
	}
	if (got < 0) {
		err_set(err, "no whole answer: %s",
		    errno == EAGAIN ? "the role did not answer in time" : strerror(errno));
		free(b);
		return NULL;
	}
	b[n] = '\0';
	*len = n;
	return b;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t did = send(fd, p, n, MSG_NOSIGNAL);

		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0)
			return -1;
		p += did;
		n -= (size_t)did;
	}
	return 0;
}

/* The answer's body within all that came; NULL: it is none, or it was cut. */
static const char *body_of(const char *answer, size_t len, int *status, size_t *got)
{
	const char *body = strstr(answer, "\r\n\r\n"), *said;

	if (!body || sscanf(answer, "HTTP/%*d.%*d %d", status) != 1)
		return NULL;
	body += 4;
	*got = len - (size_t)(body - answer);
	said = strstr(answer, "Content-Length: ");
	if (said && said < body && strtoull(said + 16, NULL, 10) != *got)
		return NULL;
	return body;
}

char *client_call(const char *path, const char *method, const char *target, struct meta1_buf data,
    int *status, size_t *got, struct meta1_err *err)
{
	char head[3000], *answer = NULL, *out = NULL;
	int fd = dial(path, WAIT_SEC, err);
	const char *body;
	size_t len;
	int n;

	*status = 0;
	if (fd < 0)
		return NULL;
	n = snprintf(head, sizeof(head),
	    "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", method, target,
	    data.len);
	if (n >= (int)sizeof(head) || send_all(fd, head, (size_t)n) < 0 ||
	    send_all(fd, data.data, data.len) < 0) {
		err_set(err, "%s: cannot send the request", path);
		goto out;
	}
	if (!(answer = read_all(fd, &len, err)))
		goto out;
	body = body_of(answer, len, status, got);
	if (!body) {
		err_set(err, "%s: not a whole HTTP answer", path);
		goto out;
	}
	out = base_alloc(*got + 1);
	memcpy(out, body, *got);
out:
	free(answer);
	close(fd);
	return out;
}

char *client_line(const char *path, const char *line, struct meta1_err *err)
{
	int fd = dial(path, RELOAD_SEC, err);
	char *answer = NULL;
	size_t len;

	if (fd < 0)
		return NULL;
	/* It may have answered already: that we are not the one who may ask. */
	(void)!send_all(fd, line, strlen(line));
	(void)!send_all(fd, "\n", 1);
	answer = read_all(fd, &len, err);
	if (answer && len == 0) {
		err_set(err, "%s: no answer", path);
		free(answer);
		answer = NULL;
	}
	close(fd);
	return answer;
}

char *client_text(
    const char *path, const char *method, const char *target, int *status, struct meta1_err *err)
{
	size_t got;

	return client_call(path, method, target, buf_of("", 0), status, &got, err);
}

void client_refusal(const char *answer, struct meta1_err *err)
{
	json_t *j = json_loads(answer, 0, NULL);
	const char *why = json_string_value(json_object_get(j, "error"));

	err_set(err, "%s", why ? why : "the role refused without a reason");
	client_clean(err->text);
	json_decref(j);
}

void client_clean(char *s)
{
	unsigned char *p = (unsigned char *)s;

	for (; *p; p++) {
		if (*p < 32 || *p == 127)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* U+0080 to U+009F */
			p[0] = p[1] = '?';
	}
}

json_t *client_json(const char *path, const char *method, const char *target, struct meta1_err *err)
{
	json_error_t je;
	json_t *j = NULL;
	char *text;
	int status;

	if (!(text = client_text(path, method, target, &status, err)))
		return NULL;
	if (status != 200)
		client_refusal(text, err);
	else if (!(j = json_loads(text, 0, &je)))
		err_set(err, "%s: answer is not JSON: %s", path, je.text);
	free(text);
	return j;
}
