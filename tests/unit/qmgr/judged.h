/* SPDX-License-Identifier: BSD-2-Clause */
/* judged.h -- a world in which filters judge reports, and the smtps that says what they do. */
#ifndef TEST_QMGR_JUDGED_H
#define TEST_QMGR_JUDGED_H
#include "told.h"

#include <sys/socket.h>
#include <unistd.h>

/* What the smtps of a session says; NULL: the usual. */
struct says {
	const char *greeting, *mail, *rcpt, *data, *end;
};
#define TAKEN "250-RCPT me@example.org\r\n250 2.0.0 report 0 7 7\r\nhello\r\n"

static inline struct world *begin_late(bool judges, int64_t warning)
{
	struct p_judges m = {.reports = judges};
	struct world *w = start(warning);

	w->q.lim.dsn_filters = true;
	w->filters = -1;
	assert_true(chan_send(w->as_smtps, P_JUDGES, &m));
	world_run(w);
	return w;
}

static inline struct world *begin(bool judges)
{
	return begin_late(judges, 0);
}

static inline void finish(struct world *w)
{
	if (w->filters >= 0)
		close(w->filters);
	while (w->nbefore)
		close(w->before[--w->nbefore]);
	end(w);
}

/* A mail that fails: its report is due. */
static inline void fails(struct world *w, const char *id)
{
	world_mail_to(w, id, "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
}

static inline const char *answer(const struct says *s, const char *line)
{
	if (!strncmp(line, "EHLO", 4))
		return "250-x\r\n250 SIZE\r\n";
	if (!strncmp(line, "MAIL FROM:<> ", 13))
		return s->mail ? s->mail : "250 2.1.0 ok\r\n";
	if (!strncmp(line, "RCPT TO:<me@example.org>", 24))
		return s->rcpt ? s->rcpt : "250 2.1.5 ok\r\n";
	if (!strncmp(line, "DATA", 4))
		return s->data ? s->data : "354 go\r\n";
	if (!strncmp(line, ".\r", 2))
		return s->end ? s->end : TAKEN;
	return NULL; /* content */
}

static inline void say_to(struct world *w, int fd, const char *text)
{
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
	world_run(w);
}

static inline void say(struct world *w, const char *text)
{
	say_to(w, w->filters, text);
}

/* The newest session is the caller's, and the one before it the newest. */
static inline int take(struct world *w)
{
	int fd = w->filters;

	w->filters = w->nbefore ? w->before[--w->nbefore] : -1;
	return fd;
}

/* One session, to its end. */
static inline void session(struct world *w, const struct says *s)
{
	char in[65536], *line, *lf;
	int fd = take(w);
	ssize_t n;

	assert_true(fd >= 0);
	say_to(w, fd, s->greeting ? s->greeting : "220 x ESMTP\r\n");
	while ((n = read(fd, in, sizeof(in) - 1)) > 0) {
		in[n] = 0;
		for (line = in; (lf = strchr(line, '\n')); line = lf + 1) {
			const char *text = answer(s, line);

			if (text)
				say_to(w, fd, text);
		}
	}
	close(fd);
	world_run(w);
}

/* Each session that is open hears this instead of a greeting. */
static inline void all_hear(struct world *w, const char *text)
{
	while (w->filters >= 0) {
		int fd = take(w);

		say_to(w, fd, text);
		close(fd);
		world_run(w);
	}
}

/* How often filters are asked in so many seconds, when each session hears this. */
static inline unsigned tries(struct world *w, const char *text, unsigned sec)
{
	unsigned was = w->sessions;

	for (; sec > 0; sec--) {
		world_pass(w, 1);
		all_hear(w, text);
	}
	return w->sessions - was;
}

#endif
