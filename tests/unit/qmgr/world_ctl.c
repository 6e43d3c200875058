/* SPDX-License-Identifier: BSD-2-Clause */
/* world_ctl.c -- the control socket of a qmgr under test, without a socket; see world.h. */
#include "world.h"

#include <stdio.h>

static struct {
	const struct ctl_request *rows;
	unsigned n;
} tables[8];
static unsigned ntables;

void world_ctl_new(void)
{
	ntables = 0;
}

void ctl_add(struct ctl *c, const struct ctl_request *r, unsigned n, void *arg)
{
	(void)c, (void)arg;
	tables[ntables].rows = r;
	tables[ntables++].n = n;
}
struct meta1_buf ctl_body(void)
{
	return buf_str(W->body ? W->body : "");
}
void ctl_answer_data(struct ctl_later **l, const char *type, struct evbuffer *b)
{
	(void)l, (void)type, (void)b;
}

struct ctl_later {
	json_t *out;
	int status;
	bool done;
};
static struct ctl_later client; /* one at a time */

struct ctl_later *ctl_later(void)
{
	client = (struct ctl_later){0};
	return &client;
}

void ctl_answer(struct ctl_later **l, json_t *out, int status, const char *error)
{
	(void)error;
	(*l)->out = out;
	(*l)->status = out ? 200 : status;
	(*l)->done = true;
	*l = NULL;
}

static json_t *ask_row(struct world *w, const struct ctl_request *r, const char *method,
    const char *path, json_t *query, int *status, bool *found)
{
	size_t len = strlen(r->path);
	bool prefix = r->path[len - 1] == '/';
	struct meta1_err err;

	*found = !strcmp(r->method, method) &&
		 !(prefix ? strncmp(r->path, path, len) : strcmp(r->path, path));
	*status = *found ? 200 : 404;
	return *found ? r->fn(&w->q, prefix ? path + len : "", query, status, &err) : NULL;
}

json_t *world_ask(struct world *w, const char *method, const char *path, const char *key,
    const char *value, int *status)
{
	json_t *query = json_object(), *out = NULL;
	unsigned t, i;
	bool found = false;

	json_object_set_new(query, "uid", json_integer(1234)); /* server.c: the peer's */
	json_object_set_new(query, "admin", json_true());
	if (key)
		json_object_set_new(query, key, json_string(value));
	*status = 404;
	for (t = 0; t < ntables && !found; t++)
		for (i = 0; i < tables[t].n && !found; i++)
			out = ask_row(w, &tables[t].rows[i], method, path, query, status, &found);
	json_decref(query);
	world_run(w);
	return *status == CTL_LATER ? world_answer(w, status) : out;
}

json_t *world_answer(struct world *w, int *status)
{
	world_run(w);
	*status = client.done ? client.status : 0;
	return client.done ? client.out : NULL;
}

json_int_t world_number(json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

int64_t world_act(struct world *w, const char *path, const char *key, const char *value)
{
	int status;
	json_t *j = world_ask(w, "POST", path, key, value, &status);
	int64_t n = j ? world_number(j, "recipients") : -status;

	json_decref(j);
	return n;
}

const char *world_why(struct world *w, const char *id, unsigned rcpt, int64_t *until)
{
	static char what[40];
	char path[64];
	int status;
	json_t *j, *r;

	snprintf(path, sizeof(path), "/v1/why/%s", id);
	j = world_ask(w, "GET", path, NULL, NULL, &status);
	assert_non_null(j);
	r = json_array_get(json_object_get(j, "recipients"), rcpt);
	str_copy(what, sizeof(what), json_string_value(json_object_get(r, "waits_for")));
	*until = world_number(r, "until");
	json_decref(j);
	return what;
}
