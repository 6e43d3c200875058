/* SPDX-License-Identifier: BSD-2-Clause */
/* filter.c -- tries core/qmgr/filter.c and mark.c: which recipients an admin means, and what is
 * recorded of holds and ways. */
#include "qmgr/filter.h"
#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

#define NOW INT64_C(100000000)

static struct qmgr_msg *message(void)
{
	struct qmgr_msg *m = base_alloc(sizeof(*m) + 3 * sizeof(struct qmgr_rcpt));
	static const char *const addr[] = {"a@One.example", "b@sub.one.example", "nodomain"};

	str_copy(m->id, sizeof(m->id), "S1");
	m->from = "List@news.example";
	m->bytes = 5000;
	m->born = NOW - 7200 * 1000;
	m->nrcpt = 3;
	for (uint32_t i = 0; i < 3; i++) {
		m->rcpt[i].addr = addr[i];
		m->rcpt[i].index = i & 0xffffff;
		m->rcpt[i].item.group = m;
	}
	m->rcpt[1].reason = base_alloc(sizeof(struct qmgr_reason));
	m->rcpt[1].reason->line = "mx: 451 4.7.1 Greylisted";
	m->rcpt[1].phase = QP_SENT;
	return m;
}

/* Bits of the recipients that are meant; -1: refused. */
static int means(const struct qmgr_msg *m, const char *text)
{
	char copy[200], *at, *save = NULL;
	json_t *query = json_object();
	struct qmgr_filter f;
	struct meta1_err err;
	int got = 0;

	str_copy(copy, sizeof(copy), text);
	for (at = strtok_r(copy, "&", &save); at; at = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(at, '=');

		*eq = '\0';
		json_object_set_new(query, at, json_string(eq + 1));
	}
	if (qmgr_filter_read(&f, query, &err) < 0)
		got = -1;
	else if (qmgr_filter_msg(&f, m, NOW))
		for (unsigned i = 0; i < m->nrcpt; i++)
			got |= qmgr_filter_rcpt(&f, &m->rcpt[i],
				   m->rcpt[i].reason ? m->rcpt[i].reason->line : "")
			       << i;
	json_decref(query);
	return got;
}

static void filters(void **state)
{
	static const struct {
		const char *query;
		int want;
	} row[] = {{"", 7}, {"id=S1", 7}, {"id=S11", 0}, {"sender=list@NEWS.example", 7},
	    {"sender=@news.example", 7}, {"sender=news.example", 0}, {"sender=<>", 0},
	    {"recipient=a@one.example", 1}, {"recipient=@one.example", 1},
	    {"domain=one.example", 1}, {"domain=.one.example", 2}, {"domain=.example", 3},
	    {"domain=ne.example", 0}, {"domain=nodomain", 0}, {"recipient=NoDomain", 4},
	    {"reason=greylist", 2}, {"reason=4.7.1", 2}, {"state=waiting", 5},
	    {"state=delivering", 2}, {"state=held", 0}, {"state=sleeping", -1}, {"older=7200", 7},
	    {"older=7201", 0}, {"younger=7199", 0}, {"younger=7200", 7}, {"older=2d", -1},
	    {"larger=5000", 7}, {"larger=5001", 0}, {"smaller=4999", 0}, {"smaller=-1", -1},
	    {"state=waiting&domain=.one.example", 0},
	    {"sender=@news.example&state=waiting&domain=one.example&older=60&larger=1", 1}};
	struct qmgr_msg *m = message();

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row); i++)
		if (means(m, row[i].query) != row[i].want)
			fail_msg("%s: %d", row[i].query, means(m, row[i].query));
	qmgr_mark_hold(&m->rcpt[0], true, 1000);
	assert_int_equal(means(m, "state=held"), 1);
	assert_int_equal(means(m, "state=waiting"), 4);
	m->dying = true;
	assert_int_equal(means(m, ""), 0);
	qmgr_mark_drop(&m->rcpt[0]);
	free(m->rcpt[1].reason);
	free(m);
}

static void marks(void **state)
{
	static const struct {
		bool held;
		uint32_t uid;
		const char *via, *note;
	} row[] = {{false, 0, "", ""}, {true, 0, "", "held=0; "},
	    {true, 4294967294u, "", "held=4294967294; "},
	    {false, 0, "[192.0.2.1]:25", "via=[192.0.2.1]:25; "},
	    {true, 33, "lmtp:/x", "held=33; via=lmtp:/x; "}};
	static const char *const none[] = {
	    "", "held", "held=5", "via=", "heldx=5; ", "x held=5; y"};
	static const char *const bad_ways[] = {"", "a b", "a;b", "x\n", "x\t"};
	char note[400], text[500];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		struct qmgr_rcpt r = {0}, back = {0};
		struct meta1_buf why;

		qmgr_mark_hold(&r, row[i].held, row[i].uid);
		qmgr_mark_way(&r, row[i].via);
		qmgr_mark_note(&r, note, sizeof(note));
		assert_string_equal(note, row[i].note);
		snprintf(text, sizeof(text), "%smx: 451 held=1; later", note);
		why = buf_str(text);
		qmgr_mark_read(&back, &why);
		assert_int_equal(qmgr_mark_held(&back), row[i].held);
		assert_int_equal(qmgr_mark_uid(&back), row[i].uid);
		assert_string_equal(qmgr_mark_via(&back), row[i].via);
		assert_string_equal((const char *)why.data, "mx: 451 held=1; later");
		qmgr_mark_drop(&r);
		qmgr_mark_drop(&back);
	}
	for (unsigned i = 0; i < ARRAY_LEN(none); i++) {
		struct qmgr_rcpt r = {0};
		struct meta1_buf why = buf_str(none[i]);

		qmgr_mark_read(&r, &why);
		assert_null(r.mark);
		assert_int_equal(why.len, strlen(none[i]));
	}
	for (unsigned i = 0; i < ARRAY_LEN(bad_ways); i++)
		assert_false(qmgr_mark_way_ok(bad_ways[i]));
	assert_true(qmgr_mark_way_ok("[2001:db8::1]:2525"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(filters),
	    cmocka_unit_test(marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
