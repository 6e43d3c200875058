/* SPDX-License-Identifier: BSD-2-Clause */
/* import.c -- tries core/qmgr/import.c with a clock that stands still: a client that goes
 * away. The other ends are in world.c. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static int status;

static struct world *recovered(void)
{
	struct world *w = world_new(100);

	world_recovered(w);
	world_run(w);
	return w;
}

static json_t *post(struct world *w, const char *path, const char *part, const char *body)
{
	json_t *j;

	w->body = body;
	j = world_ask(w, "POST", path, part ? "part" : NULL, part, &status);
	w->body = NULL;
	return j;
}

/* Begun, with its recipients and its content; path is that of its parts. */
static void begin(struct world *w, const char *rcpts, char path[64])
{
	json_t *j = post(w, "/v1/import", NULL, "{\"from\":\"s@x.example\",\"time\":1700000000}");

	assert_int_equal(status, 200);
	snprintf(path, 64, "/v1/import/%s", json_string_value(json_object_get(j, "id")));
	json_decref(j);
	json_decref(post(w, path, "recipients", rcpts));
	assert_int_equal(status, 200);
	json_decref(post(w, path, "content", "Subject: x\r\n\r\n.dot\r\n"));
	assert_int_equal(status, 200);
}

/* Silent for 30 s: it is over, nothing of it is mail, and others may begin. */
static void silent(void **state)
{
	struct world *w = recovered();
	char path[4][64];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		begin(w, "[{\"address\":\"a@one.example\"}]", path[i]);
	json_decref(post(w, "/v1/import", NULL, "{\"from\":\"\",\"time\":1}"));
	assert_int_equal(status, 503);
	world_pass(w, 29);
	json_decref(post(w, path[0], "content", "more\r\n"));
	assert_int_equal(status, 200);
	world_pass(w, 2); /* the three others were silent for 31 s */
	for (unsigned i = 1; i < 4; i++) {
		json_decref(post(w, path[i], "commit", ""));
		assert_int_equal(status, 404);
	}
	json_decref(post(w, path[0], "content", "more\r\n"));
	assert_int_equal(status, 200);
	world_pass(w, 31);
	json_decref(post(w, path[0], "commit", ""));
	assert_int_equal(status, 404);
	assert_int_equal(w->ns, 0);
	assert_int_equal(w->q.index.n, 0);
	assert_null(w->q.imports);
	begin(w, "[{\"address\":\"a@one.example\"}]", path[0]);
	json_decref(post(w, path[0], "commit", ""));
	assert_int_equal(status, 200);
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].text, "Subject: x\r\n\r\n..dot\r\n");
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
