/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.c -- plays the scripts of peer.h.
 *
 * Comes from the suites; stands in the kit's loop beside the module. Owns listener, connection and
 * what was received. On failure: error says what the script wanted and what came; the play ends
 * there.
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void hang_up(struct kit_peer *p)
{
	loop_unwatch(&p->reading);
	task_cancel(&p->step);
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	if (p->conn)
		kit_conn_hang_up(p->conn);
	p->conn = NULL;
	p->len = 0;
	p->sent = 0;
}

static void wrong(struct kit_peer *p, const char *what, const char *line, size_t len)
{
	if (!p->error[0])
		snprintf(p->error, sizeof(p->error), "%s: script \"%.*s\", received \"%.60s\"",
		    what, (int)len, line, p->in);
	hang_up(p);
}

/* Takes a whole line out of the input: its text, without the line end. NULL: none yet. */
static char *take_line(struct kit_peer *p, char *out, size_t size)
{
	char *end = memmem(p->in, p->len, "\r\n", 2);
	size_t n;

	if (!end)
		return NULL;
	n = (size_t)(end - p->in);
	snprintf(out, size, "%.*s", (int)n, p->in);
	memmove(p->in, end + 2, p->len - n - 2);
	p->len -= n + 2;
	p->in[p->len] = '\0';
	return out;
}

static bool take_content(struct kit_peer *p)
{
	char *dot = p->in;
	size_t n;

	if (strncmp(p->in, ".\r\n", 3) != 0) {
		dot = memmem(p->in, p->len, "\r\n.\r\n", 5);
		if (!dot)
			return false;
		dot += 2;
	}
	n = (size_t)(dot - p->in);
	memcpy(p->content, p->in, n);
	p->content[n] = '\0';
	p->len -= n + 3;
	memmove(p->in, dot + 3, p->len);
	p->in[p->len] = '\0';
	return true;
}

/* False: the socket is full, the line is played again in the next turn; or the module is gone. */
static bool put(struct kit_peer *p, const char *s, size_t n)
{
	ssize_t sent;

	if (p->conn) {
		kit_conn_say(p->conn, s, n);
		return true;
	}
	sent = n ? send(p->fd, s, n, MSG_NOSIGNAL) : 0;
	if (sent == (ssize_t)n)
		return true;
	if (sent < 0 && errno == EAGAIN)
		loop_defer(p->k->host.loop, &p->step);
	else
		hang_up(p);
	return false;
}

/* A byte a turn. */
static bool dribble(struct kit_peer *p, const char *text, size_t n)
{
	loop_defer(p->k->host.loop, &p->step);
	if (!put(p, p->sent < n ? text + p->sent : &"\r\n"[p->sent - n], 1))
		return false;
	if (++p->sent < n + 2)
		return false;
	p->sent = 0;
	return true;
}

static bool expect(struct kit_peer *p, const char *line, size_t len, const char *text, size_t n)
{
	char got[1024];

	if (!take_line(p, got, sizeof(got)))
		return false;
	if (strncmp(got, text, n) == 0)
		return true;
	snprintf(p->in, sizeof(p->in), "%s", got);
	wrong(p, "another line", line, len);
	return false;
}

static bool secure(struct kit_peer *p, const char *why, size_t n)
{
	char text[128];

	if (!p->conn || !kit_conn_shaking(p->conn))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)n, why);
	kit_conn_secured(p->conn, n ? text : NULL);
	if (n)
		p->conn = NULL;
	return true;
}

static unsigned hex(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32) - 'a' + 10;
}

/* The bytes that a text of "=" or "?" stands for; how many. */
static size_t bytes_of(const char *text, size_t n, char *out, size_t size)
{
	static const char marks[] = "0rnt\\", are[] = "\0\r\n\t\\";
	size_t len = 0;

	for (size_t i = 0; i < n && len < size; i++) {
		const char *mark = i + 1 < n ? strchr(marks, text[i + 1]) : NULL;

		if (text[i] != '\\') {
			out[len++] = text[i];
		} else if (i + 3 < n && text[i + 1] == 'x') {
			out[len++] = (char)(hex(text[i + 2]) << 4 | hex(text[i + 3]));
			i += 3;
		} else {
			out[len++] = mark ? are[mark - marks] : text[i];
			i += mark != NULL;
		}
	}
	return len;
}

static bool take_bytes(struct kit_peer *p, const char *text, size_t n)
{
	char want[1024];
	size_t len = bytes_of(text, n, want, sizeof(want));
	char *at = memmem(p->in, p->len, want, len);

	if (!at)
		return false;
	p->len -= (size_t)(at - p->in) + len;
	memmove(p->in, at + len, p->len);
	p->in[p->len] = '\0';
	return true;
}

/* Does one line of the script; false: it waits for something. */
static bool play_line(struct kit_peer *p, const char *line, size_t len)
{
	const char *text = len > 2 ? line + 2 : "";
	size_t n = len > 2 ? len - 2 : 0;
	char got[1024];

	switch (line[0]) {
	case '>':
		snprintf(got, sizeof(got), "%.*s\r\n", (int)n, text);
		return put(p, got, strlen(got));
	case '#':
		return put(p, text, n);
	case '~':
		return dribble(p, text, n);
	case '<':
		return expect(p, line, len, text, n);
	case '=':
		return put(p, got, bytes_of(text, n, got, sizeof(got)));
	case '?':
		return take_bytes(p, text, n);
	case '&':
		return memmem(p->in, p->len, text, n) != NULL;
	case '*':
	case '!':
		return secure(p, text, n);
	case '.':
		if (len == 1)
			return take_content(p);
		p->silent = true; /* not even reading */
		loop_unwatch(&p->reading);
		return false;
	case '-':
		hang_up(p);
		return true;
	default:
		wrong(p, "a bad script", line, len);
		return false;
	}
}

static void play(void *arg)
{
	struct kit_peer *p = arg;

	while ((p->fd >= 0 || p->conn) && *p->at) {
		size_t n = strcspn(p->at, "\n");
		const char *next = p->at + n + (p->at[n] == '\n');

		if (!play_line(p, p->at, n))
			return;
		p->at = next;
	}
}

static void keep_said(struct kit_peer *p, const char *s, size_t n)
{
	if (n >= sizeof(p->said) - p->nsaid)
		return;
	memcpy(p->said + p->nsaid, s, n);
	p->nsaid += n;
	p->said[p->nsaid] = '\0';
}

/* ---- without a socket ---- */

static void meet(struct kit_server *server, struct meta1_conn *c)
{
	struct kit_peer *p =
	    (struct kit_peer *)(void *)((char *)server - offsetof(struct kit_peer, server));

	hang_up(p);
	p->accepted++;
	p->conn = c;
	kit_conn_lead(c, &p->far);
	play(p);
}

static bool reads(const struct kit_far *far)
{
	return !((const struct kit_peer *)(const void *)far)->silent;
}

static size_t take(struct kit_far *far, const void *b, size_t n)
{
	struct kit_peer *p = (struct kit_peer *)(void *)far;
	size_t room = sizeof(p->in) - 1 - p->len;

	if (n > room)
		n = room;
	memcpy(p->in + p->len, b, n);
	keep_said(p, b, n);
	p->len += n;
	p->in[p->len] = '\0';
	play(p);
	return n;
}

static void left(struct kit_far *far)
{
	struct kit_peer *p = (struct kit_peer *)(void *)far;

	p->conn = NULL;
	p->closed = true;
	hang_up(p);
}

static void stir(struct kit_far *far)
{
	struct kit_peer *p = (struct kit_peer *)(void *)far;

	loop_defer(p->k->host.loop, &p->step);
}

static const struct kit_far_ops far_ops = {
    .reads = reads, .take = take, .left = left, .stir = stir};

/* ---- on a socket ---- */

static void on_read(int fd, short what, void *arg)
{
	struct kit_peer *p = arg;
	ssize_t n = recv(fd, p->in + p->len, sizeof(p->in) - 1 - p->len, 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		p->closed = true;
		hang_up(p);
		return;
	}
	keep_said(p, p->in + p->len, (size_t)n);
	p->len += (size_t)n;
	p->in[p->len] = '\0';
	play(p);
}

static void on_accept(int fd, short what, void *arg)
{
	struct kit_peer *p = arg;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (conn < 0)
		return;
	hang_up(p);
	p->accepted++;
	p->fd = conn;
	p->reading = loop_fd(p->k->host.loop, conn, EV_READ, on_read, p);
	play(p);
}

int kit_peer_open(struct kit *k, struct kit_peer *p, struct meta1_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	*p = (struct kit_peer){
	    .far = {&far_ops, false}, .server = {p->path, meet}, .k = k, .at = "", .fd = -1};
	snprintf(p->path, sizeof(p->path), "%s", k->peer);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", p->path);
	unlink(p->path);
	task_init(&p->step, play, p);
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(p->listener, 16) < 0)
		return err_set(err, "%s: %s", p->path, strerror(errno));
	p->accepting = loop_fd(k->host.loop, p->listener, EV_READ, on_accept, p);
	k->host.server = &p->server;
	return 0;
}

void kit_peer_play(struct kit_peer *p, const char *script)
{
	hang_up(p);
	p->at = script;
	p->silent = p->closed = false;
	p->accepted = 0;
	p->nsaid = 0;
	p->said[0] = p->content[0] = p->error[0] = '\0';
}

bool kit_peer_done(struct kit_peer *p)
{
	if (!p->error[0] && *p->at && !p->silent)
		snprintf(p->error, sizeof(p->error),
		    "the script stopped at \"%.*s\", received \"%.60s\"", (int)strcspn(p->at, "\n"),
		    p->at, p->fd >= 0 || p->conn ? p->in : "");
	return !p->error[0];
}

void kit_peer_close(struct kit_peer *p)
{
	hang_up(p);
	p->k->host.server = NULL;
	loop_unwatch(&p->accepting);
	if (p->listener >= 0)
		close(p->listener);
	p->listener = -1;
	unlink(p->path);
}
