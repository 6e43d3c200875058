/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * import.c -- meta1ctl queue import: files that export wrote (or somebody else) become mail in the
 * queue, each with a new id; only recipients that wait.
 * Comes from queue.c; sends to qmgr, piece by piece. Owns nothing.
 * On failure: one line on stderr that names the file and its field or line, exit 1; of that message
 * nothing is queued, the others go on.
 */
#include "ctl/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE	 (48u << 10) /* a request's body is at most 64 KiB */
#define RCPTS	 200	     /* recipients are sent in such parts, smaller when they are long */
#define PATH_SZ	 4096
#define JSON_MAX (64u << 20)

struct import {
	struct tool *t;
	char socket[512];
	char json[PATH_SZ], eml[PATH_SZ];
	char id[128]; /* of the import under way, encoded */
	unsigned n;
	int bad;
};

/* One request. NULL: err. */
static json_t *call(struct import *x, const char *method, const char *part, struct meta1_buf body,
    struct meta1_err *err)
{
	char target[256], *text;
	json_t *j = NULL;
	int status;
	size_t got;

	snprintf(target, sizeof(target), "/v1/import%s%s%s%s", *x->id ? "/" : "", x->id,
	    *part ? "?part=" : "", part);
	text = client_call(x->socket, method, target, body, &status, &got, err);
	if (!text)
		return NULL;
	if (status != 200)
		client_refusal(text, err);
	else if (!(j = json_loads(text, 0, NULL)))
		err_set(err, "%s: answer is not JSON", x->socket);
	free(text);
	return j;
}

static int named(const char *file, const struct meta1_err *why, struct meta1_err *err)
{
	return err_set(err, "%.200s: %.300s", file, why->text);
}

static int send_json(struct import *x, const char *part, const json_t *j, struct meta1_err *err)
{
	char *text = json_dumps(j, JSON_COMPACT);
	struct meta1_err why = {"cannot be written as JSON"};
	json_t *answer = text ? call(x, "POST", part, buf_str(text), &why) : NULL;

	free(text);
	if (!answer)
		return named(x->json, &why, err);
	if (!*x->id)
		tool_encode(tool_text(answer, "id"), x->id, sizeof(x->id));
	json_decref(answer);
	return 0;
}

/* ---- the envelope ---- */

static json_t *read_envelope(struct import *x, struct meta1_err *err)
{
	int fd = open(x->json, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	const char *format;
	json_error_t je;
	struct stat st;
	json_t *o = NULL;

	if (!f || fstat(fd, &st) < 0) {
		err_set(err, "%.400s: %s", x->json, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > JSON_MAX) {
		err_set(err, "%.400s: expected a file of at most %u MiB", x->json, JSON_MAX >> 20);
	} else if (!(o = json_loadf(f, JSON_REJECT_DUPLICATES, &je))) {
		err_set(err, "%.300s: line %d: %s", x->json, je.line, je.text);
	} else {
		format = json_string_value(json_object_get(o, "format"));
		if (!format || strcmp(format, "meta1-envelope/1")) {
			err_set(err,
			    "%.300s: format: found \"%.40s\", expected \"meta1-envelope/1\"",
			    x->json, format ? format : "(no text)");
			json_decref(o);
			o = NULL;
		}
	}
	if (f)
		fclose(f);
	else if (fd >= 0)
		close(fd);
	return o;
}

/* In parts that fit into requests. */
static int send_rcpts(struct import *x, const json_t *all, struct meta1_err *err)
{
	json_t *part = json_array(), *one;
	size_t i, bytes = 0;
	int rc = 0;

	json_array_foreach(all, i, one)
	{
		char *text = json_dumps(one, JSON_COMPACT | JSON_ENCODE_ANY);
		size_t n = text ? strlen(text) : 0;

		free(text);
		if (json_array_size(part) &&
		    (bytes + n > PIECE || json_array_size(part) >= RCPTS)) {
			rc = send_json(x, "recipients", part, err);
			json_array_clear(part);
			bytes = 0;
		}
		if (rc < 0)
			break;
		json_array_append(part, one);
		bytes += n + 1;
	}
	if (rc == 0 && json_array_size(part))
		rc = send_json(x, "recipients", part, err);
	json_decref(part);
	return rc;
}

/* ---- the text ---- */

static int send_content(struct import *x, struct meta1_err *err)
{
	int fd = open(x->eml, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), rc = 0;
	char *piece = base_alloc(PIECE);
	struct meta1_err why;
	struct stat st;
	json_t *answer;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		rc = err_set(err, "%.400s: %s", x->eml, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, "%.400s: expected a file", x->eml);
	while (rc == 0 && (n = read(fd, piece, PIECE)) > 0) {
		answer = call(x, "POST", "content", buf_of(piece, (size_t)n), &why);
		if (!answer)
			rc = named(x->eml, &why, err);
		json_decref(answer);
	}
	if (rc == 0 && n < 0)
		rc = err_set(err, "%.400s: %s", x->eml, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(piece);
	return rc;
}

/* ---- one message ---- */

static int send_all(struct import *x, json_t *o, struct meta1_err *err)
{
	json_t *rcpts = json_incref(json_object_get(o, "recipients")), *done = NULL;
	struct meta1_err why;
	int rc;

	json_object_del(o, "recipients");
	json_object_del(o, "format");
	if (!json_is_array(rcpts))
		rc = err_set(err, "%.300s: recipients: expected a list", x->json);
	else
		rc = send_json(x, "", o, err);
	if (rc == 0)
		rc = send_rcpts(x, rcpts, err);
	if (rc == 0)
		rc = send_content(x, err);
	if (rc == 0 && !(done = call(x, "POST", "commit", buf_of("", 0), &why)))
		rc = named(strncmp(why.text, "line ", 5) ? x->json : x->eml, &why, err);
	json_decref(rcpts);
	if (done && x->t->json)
		tool_dump(done);
	else if (done)
		printf("%s: queued as %s, %lld recipients\n", x->json, tool_text(done, "id"),
		    tool_number(done, "recipients"));
	json_decref(done);
	return rc;
}

static void one(struct import *x)
{
	struct meta1_err err, ignored;
	json_t *o = read_envelope(x, &err);
	int rc = o ? send_all(x, o, &err) : -1;

	if (rc == 0)
		x->n++;
	else
		x->bad |= tool_fail(&err);
	/* What was begun and not refused by qmgr itself: it need not wait. */
	if (rc < 0 && *x->id)
		json_decref(call(x, "DELETE", "", buf_of("", 0), &ignored));
	json_decref(o);
	x->id[0] = '\0';
}

static bool ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && !strcmp(s + n - m, end);
}

static void set_paths(struct import *x, const char *folder, const char *name, size_t len)
{
	snprintf(
	    x->json, sizeof(x->json), "%s%s%.*s.json", folder, *folder ? "/" : "", (int)len, name);
	snprintf(
	    x->eml, sizeof(x->eml), "%s%s%.*s.eml", folder, *folder ? "/" : "", (int)len, name);
}

static int is_ours(const struct dirent *d)
{
	return ends(d->d_name, ".json") || ends(d->d_name, ".eml");
}

/* Each pair once, in order of name; half a pair is an error. */
static void folder(struct import *x, const char *path)
{
	struct dirent **v = NULL;
	struct meta1_err err;
	int i, n = scandir(path, &v, is_ours, alphasort);

	if (n < 0) {
		err_set(&err, "%.400s: %s", path, strerror(errno));
		x->bad |= tool_fail(&err);
	}
	if (n == 0) {
		err_set(&err, "%.400s: has no ID.json and ID.eml", path);
		x->bad |= tool_fail(&err);
	}
	for (i = 0; i < n; i++) {
		const char *name = v[i]->d_name;
		size_t len = (size_t)(strrchr(name, '.') - name);
		bool eml = ends(name, ".eml");

		set_paths(x, path, name, len);
		if (!eml || access(x->json, F_OK) < 0)
			one(x);
		free(v[i]);
	}
	free(v);
}

static void argument(struct import *x, const char *path)
{
	struct meta1_err err;
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		folder(x, path);
	} else if (ends(path, ".json") || ends(path, ".eml")) {
		set_paths(x, "", path, (size_t)(strrchr(path, '.') - path));
		one(x);
	} else {
		err_set(&err, "%.300s: expected a folder, or a file ID.json or ID.eml", path);
		x->bad |= tool_fail(&err);
	}
}

int tool_import(struct tool *t)
{
	struct import x = {.t = t};
	int i;

	snprintf(x.socket, sizeof(x.socket), "%s/qmgr.ctl", t->run);
	for (i = 0; i < t->nargs; i++)
		argument(&x, t->args[i]);
	if (!t->json)
		printf("%u message%s imported\n", x.n, x.n == 1 ? "" : "s");
	return x.bad;
}
