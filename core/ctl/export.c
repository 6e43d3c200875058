/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * export.c -- meta1ctl queue export: each message as ID.eml, its text with CRLF, and ID.json, its
 * envelope. The .json is written last: where it is, both are whole and on disk.
 * Comes from queue.c; asks qmgr, piece by piece, or reads the store when no qmgr runs. Owns the
 * files being written: made new, with mode 0600, in a folder that is there or is made with 0700,
 * with names from ids alone. On failure: one line on stderr, exit 1, no file of that message stays;
 * the others go on.
 */
#include "ctl/envelope.h"
#include "ctl/fsck.h"
#include "ctl/tool.h"
#include "mod/mod.h"

#include <meta1/queue.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE	(4u << 20)
#define GONE	404
#define NAME_SZ 64

struct export
{
	struct tool *t;
	const char *folder;
	char socket[512];
	int dir;
	unsigned n, gone;
	int bad;
	char *seen;  /* stopped: a byte an argument, those that were met */
	bool listed; /* it was in the queue a moment ago: may be gone, that is no fault */
};

/* Only what an id can have, so that no name leads elsewhere. */
static bool id_ok(const char *id)
{
	size_t i, n = strlen(id);

	for (i = 0; i < n; i++)
		if (!isalnum((unsigned char)id[i]) && !(i && id[i] == '-'))
			return false;
	return n > 0 && n < META1_ID_MAX;
}

/* ---- the text ---- */

struct plain {	     /* takes the stuffing off */
	bool inside; /* of a line */
	unsigned long long bytes;
};

static size_t unstuff(struct plain *p, char *s, size_t n)
{
	size_t i, o = 0;

	for (i = 0; i < n; i++) {
		if (p->inside || s[i] != '.')
			s[o++] = s[i];
		p->inside = s[i] != '\n';
	}
	p->bytes += o;
	return o;
}

static int write_all(int fd, const char *p, size_t n)
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

/* 0, the status of a refusal, or -1. */
static int content(struct export *x, const char *id, int fd, long long size, struct meta1_err *err)
{
	unsigned long long at = 0;
	struct plain p = {0};
	char target[160];
	size_t got = PIECE, n;
	int status, rc;

	while (got == PIECE) {
		char *body;

		snprintf(
		    target, sizeof(target), "/v1/content/%s?offset=%llu&length=%u", id, at, PIECE);
		body = client_call(x->socket, "GET", target, buf_of("", 0), &status, &got, err);
		if (!body)
			return -1;
		if (status != 200) {
			client_refusal(body, err);
			free(body);
			return status;
		}
		at += got;
		n = unstuff(&p, body, got);
		rc = write_all(fd, body, n);
		free(body);
		if (rc < 0)
			return err_set(err, "%s/%s.eml: %s", x->folder, id, strerror(errno));
	}
	if (p.bytes != (unsigned long long)size)
		return err_set(err, "%s: %llu bytes came, its envelope says %lld; try again", id,
		    p.bytes, size);
	return 0;
}

/* ---- the envelope ---- */

static json_t *envelope(struct export *x, const char *id, int *status, struct meta1_err *err)
{
	json_t *all = tool_message(x->t, "/v1/export/", id, status, err);

	if (all)
		json_object_set_new(all, "format", json_string("meta1-envelope/1"));
	return all;
}

/* ---- one message ---- */

static int create(struct export *x, const char *id, const char *end, struct meta1_err *err)
{
	char name[NAME_SZ];
	int fd;

	snprintf(name, sizeof(name), "%s.%s", id, end);
	fd = openat(x->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		err_set(err, "%s/%s: %s%s", x->folder, name, strerror(errno),
		    errno == EEXIST ? " (nothing is overwritten; take another folder)" : "");
	return fd;
}

/* On disk, or not there. */
static int finish(
    struct export *x, const char *id, const char *end, int fd, int rc, struct meta1_err *err)
{
	char name[NAME_SZ];

	snprintf(name, sizeof(name), "%s.%s", id, end);
	if (rc == 0 && fsync(fd) < 0)
		rc = err_set(err, "%s/%s: %s", x->folder, name, strerror(errno));
	if (close(fd) < 0 && rc == 0)
		rc = err_set(err, "%s/%s: %s", x->folder, name, strerror(errno));
	if (rc != 0)
		unlinkat(x->dir, name, 0);
	return rc;
}

/* The envelope's file is the last: where it is, both are whole. */
static int end_files(struct export *x, const char *id, const json_t *env, struct meta1_err *err)
{
	char name[NAME_SZ], *text;
	int fd = create(x, id, "json", err), rc = -1;

	if (fd >= 0) {
		text = json_dumps(env, JSON_INDENT(1));
		rc = text && write_all(fd, text, strlen(text)) == 0 && write_all(fd, "\n", 1) == 0
			 ? 0
			 : err_set(err, "%s/%s.json: %s", x->folder, id, strerror(errno));
		rc = finish(x, id, "json", fd, rc, err);
		free(text);
	}
	snprintf(name, sizeof(name), "%s.eml", id);
	if (rc != 0)
		unlinkat(x->dir, name, 0);
	return rc;
}

static int files(struct export *x, const char *id, const json_t *env, struct meta1_err *err)
{
	int fd = create(x, id, "eml", err), rc;

	if (fd < 0)
		return -1;
	rc = finish(x, id, "eml", fd, content(x, id, fd, tool_number(env, "size"), err), err);
	return rc != 0 ? rc : end_files(x, id, env, err);
}

static void done(struct export *x, const char *id)
{
	x->n++;
	if (x->t->json)
		printf("{\"id\":\"%s\"}\n", id);
}

static void one(struct export *x, const char *id)
{
	struct meta1_err err = {"the envelope cannot be read now; see the log"};
	json_t *env = NULL;
	int status = -1;

	if (!id_ok(id))
		err_set(&err, "\"%.40s\" is no id of a message", id);
	else if ((env = envelope(x, id, &status, &err)))
		status = files(x, id, env, &err);
	json_decref(env);
	if (env && status == 0) {
		done(x, id);
	} else if (x->listed && status == GONE) {
		x->gone++;
	} else {
		x->bad |= tool_fail(&err);
	}
}

/* ---- all that is wanted ---- */

static int listed(struct export *x)
{
	char base[2000], target[2200], cursor[128];
	struct meta1_err err;
	json_t *page, *m;
	size_t i;

	snprintf(base, sizeof(base), "/v1/queue?limit=500%s", x->t->filter);
	str_copy(target, sizeof(target), base);
	x->listed = true;
	for (*cursor = '1'; *cursor;) {
		if (!(page = tool_ask(x->t, "qmgr", "GET", target, &err)))
			return tool_fail(&err);
		json_array_foreach(json_object_get(page, "messages"), i, m)
		    one(x, tool_text(m, "id"));
		tool_encode(tool_text(page, "next"), cursor, sizeof(cursor));
		snprintf(target, sizeof(target), "%s&cursor=%s", base, cursor);
		json_decref(page);
	}
	return 0;
}

/* ---- from a queue that stands still ---- */

static char *string(struct meta1_buf b)
{
	return base_strndup(b.len ? b.data : "", b.len);
}

/* What an older store does not have is zero. */
static json_t *stored_rcpt(const void *rcpt, size_t size)
{
	struct meta1_qrcpt r = {.tries = 0};
	char *s[5];
	struct envelope_rcpt v;
	unsigned i;
	json_t *j;

	memcpy(&r, rcpt, size < sizeof(r) ? size : sizeof(r));
	s[0] = string(r.addr);
	s[1] = string(r.orcpt);
	s[2] = string(r.reason);
	s[3] = string(r.sender);
	s[4] = string(r.alias);
	v = (struct envelope_rcpt){.address = s[0],
	    .orcpt = s[1],
	    .sender = s[3],
	    .alias = s[4],
	    .state = r.state,
	    .tries = r.tries,
	    .notify = r.notify,
	    .flags = r.flags,
	    .next_try = r.next_try};
	envelope_marks(&v, s[2]);
	if (v.state != META1_R_WAITING || v.held)
		v.next_try = 0;
	j = envelope_rcpt_json(&v);
	for (i = 0; i < ARRAY_LEN(s); i++)
		free(s[i]);
	return j;
}

static json_t *stored_envelope(const struct meta1_qentry *e)
{
	const struct meta1_env *env = e->env;
	char *from = string(env->from), *client = string(env->client), *envid = string(env->envid);
	json_t *list = json_array(), *all;
	uint32_t i;

	for (i = 0; i < env->nrcpt; i++)
		json_array_append_new(
		    list, stored_rcpt((const char *)env->rcpt + (size_t)i * env->sizeof_rcpt,
			      env->sizeof_rcpt));
	all = envelope_json(e->id, from, client, envid, env, list);
	json_object_set_new(all, "format", json_string("meta1-envelope/1"));
	free(from);
	free(client);
	free(envid);
	return all;
}

static int stored_content(struct export *x, const struct meta1_qentry *e,
    const struct meta1_content *c, int fd, struct meta1_err *err)
{
	char *b = base_alloc(PIECE);
	struct plain p = {0};
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < c->nextent; i++) {
		const struct meta1_extent *at = &c->extent[i];

		for (uint64_t off = 0; rc == 0 && off < at->len;) {
			size_t n = at->len - off < PIECE ? (size_t)(at->len - off) : PIECE;
			ssize_t got = pread(at->fd, b, n, (off_t)(at->off + off));

			if (got <= 0)
				rc = err_set(err, "%s: its content: %s", e->id, strerror(errno));
			else if (write_all(fd, b, unstuff(&p, b, (size_t)got)) < 0)
				rc = err_set(
				    err, "%s/%s.eml: %s", x->folder, e->id, strerror(errno));
			off += got > 0 ? (uint64_t)got : 0;
		}
	}
	if (rc == 0 && p.bytes != e->env->bytes)
		rc = err_set(err, "%s: its content has %llu bytes, its envelope says %llu", e->id,
		    p.bytes, (unsigned long long)e->env->bytes);
	free(b);
	return rc;
}

static bool wanted(const struct export *x, const char *id)
{
	bool yes = !x->seen;

	for (int i = 1; x->seen && i < x->t->nargs; i++)
		if (!strcmp(id, x->t->args[i]))
			x->seen[i] = yes = true;
	return yes;
}

static bool stored(void *arg, const struct meta1_qentry *e, const struct meta1_content *c)
{
	struct export *x = arg;
	struct meta1_err err;
	json_t *env;
	int fd;

	if (!id_ok(e->id) || !wanted(x, e->id))
		return true;
	fd = create(x, e->id, "eml", &err);
	if (fd < 0 || finish(x, e->id, "eml", fd, stored_content(x, e, c, fd, &err), &err) != 0) {
		x->bad |= tool_fail(&err);
		return true;
	}
	env = stored_envelope(e);
	if (end_files(x, e->id, env, &err) == 0)
		done(x, e->id);
	else
		x->bad |= tool_fail(&err);
	json_decref(env);
	return true;
}

static void found(void *arg, enum meta1_qfinding what, const char *text)
{
	struct export *x = arg;

	if (what != META1_QF_LOST && what != META1_QF_DAMAGE)
		return;
	fprintf(stderr, "meta1ctl: %s\n", text);
	x->bad = 1;
}

static void fate(void *arg, const struct meta1_qfate *f)
{
	(void)arg, (void)f;
}

static int read_store(struct mod_inst *in, void *arg)
{
	static const struct meta1_qcheck ev = {
	    .size = sizeof(ev), .fate = fate, .found = found, .message = stored};
	const struct meta1_queue_ops *ops = mod_ops(in);
	struct meta1_err err = {"this store cannot be read without qmgr"};

	if (META1_HAS(ops, check) && ops->check && ops->check(mod_data(in), &ev, arg, &err) >= 0)
		return 0;
	return tool_fail(&err);
}

/* The store is locked meanwhile: a qmgr that is started waits for the end. */
static int stopped(struct export *x)
{
	struct meta1_err err;
	int i;

	if (*x->t->filter) {
		err_set(&err, "qmgr does not run, and only it knows filters: name ids, or all");
		return tool_fail(&err);
	}
	if (x->t->nargs > 1 && strcmp(x->t->args[1], "all"))
		x->seen = base_alloc((size_t)x->t->nargs);
	x->bad |= ctl_store(x->t->set, read_store, x) != 0;
	for (i = 1; x->seen && i < x->t->nargs; i++)
		if (!x->seen[i]) {
			err_set(&err, "%.40s: not in the queue", x->t->args[i]);
			x->bad |= tool_fail(&err);
		}
	free(x->seen);
	return x->bad;
}

/* ---- the command ---- */

static int open_folder(struct export *x)
{
	struct meta1_err err;

	x->folder = x->t->args[0];
	if (mkdir(x->folder, 0700) < 0 && errno != EEXIST) {
		err_set(&err, "%s: %s", x->folder, strerror(errno));
		return tool_fail(&err);
	}
	x->dir = open(x->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0) {
		err_set(&err, "%s: %s (expected: a folder)", x->folder, strerror(errno));
		return tool_fail(&err);
	}
	return 0;
}

int tool_export(struct tool *t)
{
	struct export x = {.t = t, .dir = -1};
	struct meta1_err err;
	int i;

	snprintf(x.socket, sizeof(x.socket), "%s/qmgr.ctl", t->run);
	if (open_folder(&x))
		return 1;
	if (client_gone(x.socket))
		x.bad |= stopped(&x);
	else if (t->nargs == 1 || (t->nargs == 2 && !strcmp(t->args[1], "all")))
		x.bad |= listed(&x);
	else
		for (i = 1; i < t->nargs; i++)
			one(&x, t->args[i]);
	if (fsync(x.dir) < 0) {
		err_set(&err, "%s: %s", x.folder, strerror(errno));
		x.bad |= tool_fail(&err);
	}
	close(x.dir);
	if (!t->json) {
		printf("%u message%s exported to %s", x.n, x.n == 1 ? "" : "s", x.folder);
		if (x.gone)
			printf(", %u left the queue meanwhile", x.gone);
		printf("; all are still in the queue\n");
	}
	return x.bad;
}
