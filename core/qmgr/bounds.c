/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounds.c -- what a row of the map in qmgr { conf { name = N; } } says of a destination:
 * options in the configuration's own syntax, "max_connections = 5; rate = 10/1m;".
 * Comes from route.c with smar's answer; goes to sched.c. Owns the text of a destination's row.
 * On failure: a row that cannot be read is named in one log line when it is met first or
 * changed, and counts as none: mail goes on under the general limits.
 */
#include "lib/opt.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ROW_MAX	   512
#define PORTION_OF 10 /* of a rate of recipients, so much goes at a time */

struct row {
	int64_t max_connections, initial_connections, max_recipients;
	const char *rate, *recipient_rate;
};
static const struct meta1_opt opt_row[] = {
    META1_OPT_INT(struct row, max_connections, "0", "0..10000", "Most connections; 0: general."),
    META1_OPT_INT(struct row, initial_connections, "0", "0..10000", "Connections to begin with."),
    META1_OPT_INT(struct row, max_recipients, "0", "0..1000", "Recipients of one transaction."),
    META1_OPT_STR(struct row, rate, "", 0, "Messages in a time, 10/1m."),
    META1_OPT_STR(struct row, recipient_rate, "", 0, "Recipients in a time, 100/1h."),
};

/* "10/1m": *us is the time from one to the next. */
static int rate(const char *name, const char *s, int64_t *us, int64_t *n, struct meta1_err *err)
{
	static const struct meta1_opt count = {.name = "rate",
					  .type = META1_INT,
					  .range = "1..1000000"},
				      time = {
					  .name = "rate", .type = META1_MSEC, .range = "1s..52w"};
	const char *slash = strchr(s, '/'), *value;
	char number[24] = "";
	int64_t ms;

	if (!*s)
		return 0;
	if (!slash || slash - s >= (int)sizeof(number))
		return err_set(
		    err, "%s: found \"%.40s\", expected NUMBER/TIME such as 10/1m", name, s);
	memcpy(number, s, (size_t)(slash - s));
	value = number;
	if (opt_parse(&count, &value, 1, n, err) < 0)
		return -1;
	value = slash + 1;
	if (opt_parse(&time, &value, 1, &ms, err) < 0)
		return -1;
	*us = ms * 1000 / *n;
	if (*us < 1)
		*us = 1;
	return 0;
}

static int fill(struct qmgr_bounds *b, struct conf *c, struct meta1_err *err)
{
	struct conf_section *root = conf_root(c);
	struct row r;
	int64_t n = 0;

	opt_bind(c, root, opt_row, ARRAY_LEN(opt_row), &r, "", OPT_START, NULL);
	opt_unknown(c, root, "", opt_row, ARRAY_LEN(opt_row), NULL, 0);
	if (conf_errors(c)) {
		char *said = NULL, *end;
		size_t len;
		FILE *f = open_memstream(&said, &len);

		if (f) {
			conf_report(c, f);
			fclose(f);
		}
		end = said ? strchr(said, '\n') : NULL;
		if (end)
			*end = '\0';
		err_set(err, "%s", said ? said : "cannot be read");
		free(said);
		return -1;
	}
	b->max = (uint32_t)r.max_connections;
	b->initial = (uint32_t)r.initial_connections;
	b->max_rcpts = (uint32_t)r.max_recipients;
	if (rate("rate", r.rate, &b->msg_us, &n, err) < 0 ||
	    rate("recipient_rate", r.recipient_rate, &b->rcpt_us, &n, err) < 0)
		return -1;
	if (b->rcpt_us) {
		n = n < PORTION_OF ? 1 : n / PORTION_OF;
		if (!b->max_rcpts || b->max_rcpts > n)
			b->max_rcpts = (uint32_t)(n < QMGR_RCPTS_MAX ? n : QMGR_RCPTS_MAX);
	}
	return 0;
}

int qmgr_bounds_parse(struct qmgr_bounds *b, struct meta1_buf text, struct meta1_err *err)
{
	char s[ROW_MAX + 2];
	struct conf *c;
	int rc;

	memset(b, 0, sizeof(*b));
	if (text.len > ROW_MAX)
		return err_set(err, "longer than %d bytes", ROW_MAX);
	memcpy(s, text.len ? text.data : "", text.len);
	s[text.len] = '\0';
	if (strlen(s) != text.len)
		return err_set(err, "holds a byte 0");
	/* A row is no file: it opens none and has no sections. */
	if (strchr(s, '{') || strcasestr(s, "include"))
		return err_set(err, "found a section or include, expected options only");
	if (text.len && s[text.len - 1] != ';') { /* the last one may stand without */
		s[text.len] = ';';
		s[text.len + 1] = '\0';
	}
	c = conf_read_text("row", s);
	rc = fill(b, c, err);
	conf_free(&c);
	if (rc < 0)
		memset(b, 0, sizeof(*b));
	return rc;
}

void qmgr_bounds_set(
    struct qmgr *q, struct qmgr_dest *d, struct meta1_buf row, struct meta1_buf text)
{
	struct qmgr_bounds b;
	struct meta1_err err;

	if (text.len ? d->bounds && buf_eq(buf_str(d->bounds), text) : !d->bounds)
		return;
	free(d->bounds);
	d->bounds = text.len ? base_strndup(text.data, text.len) : NULL;
	if (qmgr_bounds_parse(&b, text, &err) < 0)
		log_event(LOG_L_WARN, "qmgr.conf", "destination=%s row=%.*s error=%s text=%s",
		    d->key, (int)row.len, row.len ? (const char *)row.data : "", err.text,
		    "ignored; the general limits hold");
	qmgr_sched_bound(&q->sched, d, &b);
}
