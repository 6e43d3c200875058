/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c -- what a line looks like, in text and in JSON, and that nothing can forge one. */
#include "lib/log.h"
#include "../unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static char *lines_of(bool json)
{
	static char text[65536];
	struct log_conf c = {.ident = "unit", .file = path, .json = json, .level = 12};
	struct meta1_err err;
	int fd;
	ssize_t n;

	unlink(path);
	assert_int_equal(log_open(NULL, &c, &err), 0);
	log_event(
	    LOG_L_NORMAL, "unit.event", "id=%s from=<%s> size=%llu n=%d", "S1", "a b@c", 7ULL, -3);
	log_event(
	    LOG_L_WARN, "unit.forged", "text=%s cut=%.*s", "x\r\n2026 evil=\"1\" \x01", 2, "abc");
	log_event(LOG_L_DEBUG, "unit.silent", "x=%d", 1);
	log_close();
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	unlink(path);
	return text;
}

static void text(void **state)
{
	char *s = lines_of(false);

	(void)state;
	assert_non_null(strstr(s, " info unit.event id=S1 from=\"<a b@c>\" size=7 n=-3\n"));
	assert_non_null(strstr(s, "text=\"x\\x0d\\x0a2026 evil=\\\"1\\\" \\x01\" cut=ab\n"));
	assert_null(strstr(s, "silent"));
}

static void json(void **state)
{
	char *s = lines_of(true), *line, *save = NULL;
	int n = 0;
	json_t *j;

	(void)state;
	for (line = strtok_r(s, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
		j = json_loads(line, 0, NULL);
		assert_non_null(j);
		if (!n) {
			assert_string_equal(
			    json_string_value(json_object_get(j, "event")), "unit.event");
			assert_int_equal(json_integer_value(json_object_get(j, "size")), 7);
			assert_string_equal(
			    json_string_value(json_object_get(j, "from")), "<a b@c>");
		}
		json_decref(j);
	}
	assert_int_equal(n, 2);
}

/* What others wrote may fill a line, each byte of it six in JSON; the line stays one. */
static void long_values(void **state)
{
	struct log_conf c = {.ident = "unit", .file = path, .json = true, .level = 12};
	char value[3000], line[4096];
	struct meta1_err err;
	json_t *j;
	FILE *f;

	(void)state;
	for (size_t len = 1; len < sizeof(value); len += len < 1700 ? 7 : 1) {
		memset(value, len % 2 ? '\xe9' : 'x', len);
		value[len] = '\0';
		unlink(path);
		assert_int_equal(log_open(NULL, &c, &err), 0);
		log_event(LOG_L_NORMAL, "unit.long", "id=%s reply=%s host=<%s> next_s=%lld", "S1",
		    value, "a", 1234567890123LL);
		log_close();
		f = fopen(path, "r");
		assert_non_null(fgets(line, sizeof(line), f));
		fclose(f);
		j = json_loads(line, 0, NULL);
		if (!j)
			fail_msg("%zu bytes: %s", len, line);
		assert_string_equal(json_string_value(json_object_get(j, "id")), "S1");
		json_decref(j);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text), cmocka_unit_test(json), cmocka_unit_test(long_values)};

	snprintf(path, sizeof(path), "/tmp/log-test.%d", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
