/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- what people ask of mcp over RUN/mcp.sock: a reload, to try one, a file of conf.d
 * switched on or off. One line of a few bytes is a request, the answer is a word and lines of text.
 *
 * mcp is root: so this is no HTTP, nobody but root and those in control { admins } is read from,
 * and what comes from them is one of four words and a name, which is no path (lib/snippet.h).
 * Goes to: reload.c, and back with what came of it; then it waits for the roles that had to be
 * restarted. What is switched on and not taken by all of that is switched off again.
 * Owns: the socket, its clients, the one request under way; the others stand in line.
 * On failure: the answer says why, and the configuration is as it was.
 */
#include "mcp.h"

#include "lib/linger.h"
#include "lib/snippet.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS	    16
#define LINE_ROOM   (SNIPPET_NAME_MAX + 32)
#define LINE_MS	    10000 /* for the client to say what it wants */
#define RESTART_MS  60000 /* for roles to come up again */
#define LINGER_MS   2000
#define ANSWER_ROOM 65536

enum step { STEP_LINE, STEP_WAITS, STEP_RELOAD, STEP_RESTART, STEP_UNDO, STEP_UNDONE };

struct mcp_ask {
	TAILQ_ENTRY(mcp_ask) link;
	struct mcp *m;
	enum step step;
	uid_t uid;
	int fd;
	struct watch *watch, *timer;
	char line[LINE_ROOM];
	size_t len;
	const struct verb *verb;
	char name[SNIPPET_NAME_MAX + 1]; /* enable, disable */
	char *text;			 /* what the reload said */
};

struct mcp_control {
	int fd;
	struct watch *watch;
	unsigned n;
	TAILQ_HEAD(, mcp_ask) asks; /* in the order in which they came */
	struct mcp_ask *now;	    /* the one under way */
};

/* <0: err; then nothing has changed. */
static int enable(struct mcp_ask *a, struct meta1_err *err)
{
	return snippet_enable(a->m->file, a->name, err);
}

static int disable(struct mcp_ask *a, struct meta1_err *err)
{
	return snippet_disable(a->m->file, a->name, err);
}

static const struct verb {
	const char *word;
	int (*act)(struct mcp_ask *, struct meta1_err *);
	int (*undo)(struct mcp_ask *, struct meta1_err *);
	bool try; /* the reload is not carried out */
} verbs[] = {
    {"reload", NULL, NULL, false},
    {"try", NULL, NULL, true},
    {"enable", enable, disable, false},
    {"disable", disable, enable, false},
};

/* ---- the end ---- */

static void ask_free(struct mcp_ask **ap)
{
	struct mcp_ask *a = *ap;
	struct mcp_control *c = a->m->control;
	struct outq none = {.buf = NULL};

	*ap = NULL;
	if (c->now == a)
		c->now = NULL;
	TAILQ_REMOVE(&c->asks, a, link);
	c->n--;
	loop_unwatch(&a->watch);
	loop_unwatch(&a->timer);
	/* What it still says is thrown away, so that it reads the answer first. */
	linger_new(a->m->loop, a->fd, &none, false, LINGER_MS);
	free(a->text);
	free(a);
}

/* It is small for a socket's buffer, and nobody waits for a client that does not read. */
static void answer(struct mcp_ask **ap, const char *word, const char *more)
{
	struct mcp_ask *a = *ap;
	char *out = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&out, &len);

	if (f) {
		fprintf(f, "%s\n%.*s%s%s", word, ANSWER_ROOM, a->text ? a->text : "", more,
		    *more ? "\n" : "");
		fclose(f);
		(void)!send(a->fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		free(out);
	}
	log_event(LOG_L_INFO, "mcp.control", "uid=%ld request=%s name=%s result=%s why=%s",
	    (long)a->uid, a->verb ? a->verb->word : "-", a->name, word, more);
	ask_free(ap);
}

/* ---- one request ---- */

static void next(struct mcp *m);

static void start(struct mcp_ask *a)
{
	struct mcp *m = a->m;
	struct meta1_err err = {""};

	m->control->now = a;
	if (a->verb->act && a->verb->act(a, &err) < 0) {
		answer(&a, "wrong", err.text);
		return;
	}
	a->step = STEP_RELOAD;
	mcp_reload_start(m, a->verb->try);
}

static void next(struct mcp *m)
{
	struct mcp_control *c = m->control;
	struct mcp_ask *a;

	while (!c->now && !m->reload && !m->stopping) {
		TAILQ_FOREACH (a, &c->asks, link)
			if (a->step == STEP_WAITS)
				break;
		if (!a)
			return;
		start(a);
	}
}

/* The rest of the configuration does not want it: as it was. <0: err says why it is not. */
static int undo(struct mcp_ask *a, struct meta1_err *err)
{
	if (!a->verb->undo || a->verb->undo(a, err) >= 0)
		return 0;
	log_event(LOG_L_ERR, "mcp.control", "request=%s name=%s error=%s", a->verb->word, a->name,
	    err->text);
	return -1;
}

/* more: NULL, or lines too. */
static void keep_text(struct mcp_ask *a, const char *text, const char *more)
{
	char *had = a->text;

	a->text = base_alloc(strlen(text) + strlen(more ? more : "") + 1);
	strcpy(a->text, text);
	strcat(a->text, more ? more : "");
	free(had);
}

/* Of a file that was switched and is not taken. */
static void refuse(struct mcp_ask *a, const char *why)
{
	struct meta1_err err = {""};
	char text[400];

	if (undo(a, &err) < 0) {
		snprintf(text, sizeof(text), "%snot taken back: %s", why, err.text);
		answer(&a, "failed", text);
		return;
	}
	snprintf(text, sizeof(text), "%s%s", why, a->verb->undo ? "taken back" : "");
	answer(&a, "refused", text);
}

/* Roles that were restarted: are they up? <0: not all will be; 0: not yet. */
static int restarted(const struct mcp *m, const char **who)
{
	int rc = 1;

	MCP_EACH_CHILD(m, c)
	{
		if (!c->awaited || c->state == MCP_UP || c->state == MCP_ASLEEP)
			continue;
		*who = c->name;
		if (c->state == MCP_OFF || c->state == MCP_WAITING)
			return -1;
		rc = 0;
	}
	return rc;
}

static void not_up(struct mcp_ask *a, const char *who)
{
	struct meta1_err err = {""};
	char why[200];

	snprintf(why, sizeof(why), "%s does not come up with it; its log says why\n", who);
	keep_text(a, a->verb->undo ? "" : a->text, why);
	if (!a->verb->undo || undo(a, &err) < 0) {
		answer(&a, "failed", err.text);
		return;
	}
	loop_unwatch(&a->timer);
	a->step = STEP_UNDO;
	mcp_reload_start(a->m, false);
}

static const char not_all[] = "taken back, and not all roles have come up again";

/* Not while a reload is under way that is not ours: what came of that would be taken for ours. */
void mcp_control_look(struct mcp *m)
{
	struct mcp_ask *a = m->control ? m->control->now : NULL;
	const char *who = "";
	int rc;

	if (!a || m->reload || (a->step != STEP_RESTART && a->step != STEP_UNDONE))
		return;
	rc = restarted(m, &who);
	if (rc == 0)
		return;
	if (a->step == STEP_UNDONE)
		answer(&a, "refused", rc > 0 ? "taken back" : not_all);
	else if (rc > 0)
		answer(&a, "done", "");
	else
		not_up(a, who);
	next(m);
}

static void too_long(int fd, short what, void *arg)
{
	struct mcp_ask *a = arg;
	struct mcp *m = a->m;

	(void)fd, (void)what;
	if (a->step == STEP_LINE)
		answer(&a, "wrong", "nothing was asked");
	else if (m->reload)
		loop_rearm(a->timer, RESTART_MS); /* which restarts roles too */
	else if (a->step == STEP_UNDONE)
		answer(&a, "refused", not_all);
	else
		not_up(a, "a role");
	next(m);
}

void mcp_control_note(struct mcp *m, const char *line)
{
	struct mcp_ask *a = m->control ? m->control->now : NULL;

	if (a && a->text)
		keep_text(a, a->text, line);
}

/* The files of conf.d are nothing to a configuration that does not include them. */
static bool without_effect(const struct mcp_ask *a)
{
	return a->verb->act == enable && !snippet_read(a->m->set, a->name);
}

void mcp_control_reloaded(struct mcp *m, bool good, const char *text)
{
	struct mcp_ask *a = m->control ? m->control->now : NULL;

	if (a && a->step == STEP_RELOAD) {
		keep_text(a, text, NULL);
		if (!good) {
			refuse(a, "");
		} else if (without_effect(a)) {
			refuse(a, "the configuration does not include conf.d: write include "
				  "\"conf.d/*.conf\"; as its last line; ");
		} else if (a->verb->try) {
			answer(&a, "done", "");
		} else {
			a->step = STEP_RESTART;
			a->timer = loop_timer(m->loop, RESTART_MS, too_long, a);
		}
	} else if (a && a->step == STEP_UNDO && !good) {
		keep_text(a, a->text, text);
		answer(&a, "failed",
		    "the file is as it was, but the reload for that was refused: all goes on as "
		    "with it; mend that and reload");
	} else if (a && a->step == STEP_UNDO) {
		a->step = STEP_UNDONE;
		loop_unwatch(&a->timer);
		a->timer = loop_timer(m->loop, RESTART_MS, too_long, a);
	}
}

void mcp_control_idle(struct mcp *m)
{
	if (!m->control)
		return;
	mcp_control_look(m);
	next(m);
}

/* ---- what it says ---- */

/* The line without its end: a word, and for some a name behind one blank. */
static bool understood(struct mcp_ask *a)
{
	size_t word = strcspn(a->line, " ");
	const char *name = a->line + word + (a->line[word] == ' ');

	for (size_t i = 0; i < ARRAY_LEN(verbs) && !a->verb; i++)
		if (strlen(verbs[i].word) == word && strncmp(a->line, verbs[i].word, word) == 0)
			a->verb = &verbs[i];
	return a->verb && !*name == !a->verb->act &&
	       str_copy(a->name, sizeof(a->name), name) < sizeof(a->name);
}

static void said(struct mcp_ask *a)
{
	struct mcp *m = a->m;

	loop_unwatch(&a->watch);
	loop_unwatch(&a->timer);
	if (!understood(a)) {
		answer(&a, "wrong", "expected reload, try, enable NAME or disable NAME");
	} else {
		a->step = STEP_WAITS;
		next(m);
	}
}

static void readable(int fd, short what, void *arg)
{
	struct mcp_ask *a = arg;
	ssize_t n = recv(fd, a->line + a->len, sizeof(a->line) - 1 - a->len, MSG_DONTWAIT);
	char *end;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	a->len += n > 0 ? (size_t)n : 0;
	end = memchr(a->line, '\n', a->len);
	if (end) {
		*end = '\0';
		said(a);
	} else if (n <= 0 && a->len == 0) {
		ask_free(&a); /* it only looked whether we are there */
	} else if (n <= 0 || a->len == sizeof(a->line) - 1) {
		answer(&a, "wrong", "the request is no line of a few bytes");
	}
}

/* ---- who ---- */

static bool admin(const struct mcp *m, uid_t uid)
{
	if (uid == 0 || uid == geteuid())
		return true;
	for (const char *const *w = m->set->control_admins; w && *w; w++) {
		const struct passwd *pw = getpwnam(*w);
		char *end;
		unsigned long n = strtoul(*w, &end, 10);

		if (pw ? pw->pw_uid == uid : **w && !*end && n == uid)
			return true;
	}
	return false;
}

static void on_connect(int lfd, short what, void *arg)
{
	struct mcp *m = arg;
	struct mcp_control *c = m->control;
	int fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);
	struct mcp_ask *a;

	(void)what;
	if (fd < 0)
		return;
	a = base_alloc(sizeof(*a));
	*a = (struct mcp_ask){.m = m, .fd = fd, .step = STEP_LINE};
	TAILQ_INSERT_TAIL(&c->asks, a, link);
	c->n++;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
		a->uid = who.uid;
	else
		a->uid = (uid_t)-1;
	if (!admin(m, a->uid)) {
		answer(
		    &a, "denied", "this needs root or a user named in control { admins = { … }; }");
	} else if (c->n > CLIENTS) {
		answer(&a, "refused", "too many ask at a time");
	} else {
		a->watch = loop_fd(m->loop, fd, EV_READ, readable, a);
		a->timer = loop_timer(m->loop, LINE_MS, too_long, a);
	}
}

/* ---- the socket ---- */

static void path_of(const struct mcp *m, char *out, size_t size)
{
	snprintf(out, size, "%s/mcp.sock", m->set->run_directory);
}

int mcp_control_open(struct mcp *m, struct meta1_err *err)
{
	char path[512];
	int fd;

	path_of(m, path, sizeof(path));
	fd = mcp_listen_control(m, path, NULL, err);
	if (fd < 0)
		return -1;
	m->control = base_alloc(sizeof(*m->control));
	TAILQ_INIT(&m->control->asks);
	m->control->fd = fd;
	m->control->watch = loop_fd(m->loop, fd, EV_READ, on_connect, m);
	return 0;
}

void mcp_control_close(struct mcp *m)
{
	struct mcp_control *c = m->control;
	struct meta1_err err;
	char path[512];

	if (!c)
		return;
	loop_unwatch(&c->watch);
	if (c->now && c->now->step == STEP_RELOAD)
		undo(c->now, &err);
	for (struct mcp_ask *a; (a = TAILQ_FIRST(&c->asks));)
		answer(&a, "failed", "mcp stops");
	close(c->fd);
	path_of(m, path, sizeof(path));
	unlink(path);
	free(c);
	m->control = NULL;
}
