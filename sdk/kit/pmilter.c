/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter.c -- the suite of filters: mail after mail in a session, content in any pieces, odd
 * messages, ends at every step, a thousand sessions at once, memory of sessions that are over.
 * Comes from modtest.c; goes to the module by pm_talk.c, as smtps does. A module that asks somebody
 * is led to the kit's own filter (filter.h) where its options say @PEER@.
 * On failure: "not ok", and what was answered.
 */
#include "pmilter.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 500 /* of a module that asks a filter */
#define SOME 100 /* of others */

static const struct pm_cut whole = {"in one piece", 0, PM_MEMORY};

/* ---- the way of a mail ---- */

/* <0: a question has no answer; the others would only be waited for in vain too. */
static int one_mail(struct pm_suite *s)
{
	struct pm_talk t;
	bool answered;

	pm_begin(&t, s, PM_PLAN, &pm_mail);
	kit_ok(s->k, true, "begin(): it wants the stages 0x%x of this client", t.wants);
	pm_run(&t);
	answered = !t.stage;
	kit_ok(s->k, answered, "a mail: each question has one answer");
	kit_note(s->k, "%s", pm_short(t.out));
	pm_free(&t);
	if (!answered)
		kit_clock(s->k, 3 * PM_END_MS);
	kit_ok(s->k, true, "end() after it");
	return answered ? 0 : -1;
}

static void state(struct pm_suite *s)
{
	struct meta1_pm_state st = {.size = sizeof(st)};
	bool good;

	if (!META1_HAS(s->ops, state) || !s->ops->state) {
		kit_skip(s->k, "state()", "the module has none");
		return;
	}
	memset(st.peer, 'x', sizeof(st.peer));
	s->ops->state(kit_data(s->inst), &st);
	good = memchr(st.peer, '\0', sizeof(st.peer)) && st.connected <= 1;
	kit_ok(s->k, good, "state() says where the filter is: \"%.120s\"", good ? st.peer : "");
}

/* ---- content ---- */

static bool same(struct pm_suite *s, const char *want, const char *plan, const struct pm_mail *m,
    struct pm_cut cut)
{
	char *got = pm_whole(s, plan, m, cut);
	bool good = strcmp(got, want) == 0;

	if (!good) {
		kit_note(s->k, "in one piece: %s", pm_short(want));
		kit_note(s->k, "%s: %s", cut.name, pm_short(got));
	}
	free(got);
	return good;
}

static void pieces(struct pm_suite *s)
{
	static const struct pm_cut cuts[] = {{"in a file", 0, PM_FILE},
	    {"byte for byte", 1, PM_MEMORY}, {"byte for byte in a file", 1, PM_FILE},
	    {"7 bytes, memory and file by turns", 7, PM_TURNS},
	    {"64 bytes, memory and file by turns", 64, PM_TURNS}};
	char *want = pm_whole(s, PM_PLAN, &pm_mail, whole);

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++)
		kit_ok(s->k, same(s, want, PM_PLAN, &pm_mail, cuts[i]),
		    "the same of a content that is given %s", cuts[i].name);
	free(want);
}

/* The field that the kit's filter adds names what it was told. */
static bool told_whole(const struct pm_suite *s, const struct pm_mail *m, const char *out)
{
	struct flt_digest d = {0};

	if (!s->filter || s->filter->speaks == FLT_NOTHING || !strstr(out, FLT_TAG "]"))
		return true;
	flt_digest_raw(&d, m->text, m->header);
	flt_digest_bytes(&d, m->text + m->header, m->len - m->header);
	return strstr(out, flt_digest_text(&d)) != NULL;
}

static void odd_one(struct pm_suite *s, const struct pm_mail *m)
{
	static const struct pm_cut file = {"in a file", 0, PM_FILE},
				   some = {"4001 bytes by turns", 4001, PM_TURNS};
	char *want = pm_whole(s, "CHMRDEr", m, whole);
	bool good = !strstr(want, "no answer"), told = told_whole(s, m, want);

	good = same(s, want, "CHMRDEr", m, file) && good;
	good = same(s, want, "CHMRDEr", m, some) && good;
	kit_ok(s->k, good && told, "%s: answered, and the same in pieces%s", m->name,
	    told ? "" : "; the filter was told another message");
	free(want);
}

static void odd_messages(struct pm_suite *s)
{
	static const struct {
		const char *name, *text;
	} small[] = {{"nothing at all", ""}, {"an empty header", "\r\n"},
	    {"no header", "\r\nbody alone\r\n"}, {"a header alone", "Subject: x\r\n"},
	    {"a header and an empty line", "Subject: x\r\n\r\n"},
	    {"fields without a value", "A:\r\nB: \r\nC:\r\n \r\n\r\nx\r\n"}};
	enum { N = 1 << 20, FIELDS = 1500 };
	static char big[N];
	struct pm_mail m;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(small); i++) {
		m = pm_mail_of(small[i].name, small[i].text, strlen(small[i].text));
		odd_one(s, &m);
	}
	for (unsigned i = 0; i < FIELDS; i++)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "X-%u: %u\r\n\tmore\r\n", i % 7, i);
	n += (size_t)snprintf(big + n, sizeof(big) - n, "\r\nx\r\n");
	m = pm_mail_of("1500 fields", big, n);
	odd_one(s, &m);
	n = (size_t)snprintf(big, sizeof(big), "Subject: long\r\nX-Long: ");
	memset(big + n, 'l', 60000);
	n += 60000;
	n += (size_t)snprintf(big + n, sizeof(big) - n, "\r\n\r\n");
	while (n < sizeof(big) - 80)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "%063zu\r\n", n);
	m = pm_mail_of("a megabyte, with a field of 60000 bytes", big, n);
	odd_one(s, &m);
}

/* ---- sessions ---- */

static void plans(struct pm_suite *s)
{
	static const struct {
		const char *name, *plan;
	} row[] = {{"two mails", "CHMRRRDErMRRRDEr"}, {"end() without reset()", "CHMRDE"},
	    {"RSET after MAIL, RCPT and DATA", "CHMrMRrMRDrMRRRDEr"},
	    {"EHLO two times, and RSET without a mail", "CHHrrMRRRDEr"}, {"no EHLO", "CMRRRDEr"},
	    {"a client that says nothing", ""}, {"unknown commands", "CUHUMURUDEr"},
	    {"recipients that are refused", "CHMXRXRXRDEr"}, {"nobody is a recipient", "CHMXr"}};
	struct pm_talk t;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		pm_begin(&t, s, row[i].plan, &pm_mail);
		pm_run(&t);
		kit_ok(s->k, !strstr(t.out, "no answer"), "%s", row[i].name);
		pm_free(&t);
	}
}

/* The second mail of a session is judged as the first was, and as in a session of its own. */
static void no_memory_of_mails(struct pm_suite *s)
{
	char *one = pm_whole(s, PM_PLAN, &pm_mail, whole);
	char *two = pm_whole(s, PM_PLAN "MRRRDEr", &pm_mail, whole);
	const char *first = strstr(one, "M:"), *second = NULL;

	for (const char *p = two; (p = strstr(p, "M:")); p++)
		second = p;
	kit_ok(s->k, !first || !second || strcmp(first, second) == 0,
	    "a session's second mail is judged as its first");
	free(one);
	free(two);
}

/* What a session had is given back when it ends. */
static void growth(struct pm_suite *s)
{
	size_t before = 0, after;

	for (unsigned i = 0; i < 70; i++) {
		struct pm_talk t;

		if (i == 20)
			before = kit_held(s->inst);
		pm_begin(&t, s, i % 3 == 2 ? "CHMR" : PM_PLAN, &pm_mail);
		pm_run(&t);
		pm_free(&t);
		for (int j = 0; j < 3; j++)
			kit_turn(s->k);
	}
	after = kit_held(s->inst);
	kit_ok(s->k, after <= before, "a session that ended leaves nothing (%zu bytes of 50)",
	    after > before ? after - before : 0);
}

/* ---- many at once ---- */

struct many {
	struct pm_talk t;
	struct pm_mail mail;
	char text[160];
	bool going;
};

static void number(struct many *m, unsigned i)
{
	int n = snprintf(m->text, sizeof(m->text),
	    "Subject: mail %u\r\nX-Number: %u\r\n\r\nThis is mail %u.\r\n", i, i, i * 7919);

	m->mail = pm_mail_of("one of many", m->text, (size_t)n);
}

/* Each goes a step, then the next: their mails are on the way together. */
static void rounds(struct pm_suite *s, struct many *m, unsigned n)
{
	unsigned going = n, idle = 0, round = 0;

	while (going && idle < 3000) {
		unsigned was = going, moved = 0;

		round++;
		for (unsigned i = 0; i < n; i++) {
			struct many *x = &m[i * 7 % n];
			uint32_t at = x->t.stage;

			if (!x->going || i % 4 > round) /* not in step */
				continue;
			x->going = pm_go(&x->t);
			going -= !x->going;
			moved += x->t.stage != at;
		}
		idle = moved || going != was ? 0 : idle + 1;
		loop_turn(s->k->host.loop, false);
		if (idle > 20)
			kit_clock(s->k, 250); /* it may try again in a while */
	}
}

static void together(struct pm_suite *s, bool backwards)
{
	unsigned n = s->filter->connections ? MANY : SOME, good = 0, told = 0;
	struct many *m = base_alloc(n * sizeof(*m));
	char *one = pm_whole(s, PM_PLAN, &pm_mail, whole);

	if (backwards)
		s->filter->gather = n;
	for (unsigned i = 0; i < n; i++) {
		number(&m[i], i);
		pm_begin(&m[i].t, s, PM_PLAN, &m[i].mail);
		m[i].going = true;
	}
	rounds(s, m, n);
	for (unsigned i = 0; i < n; i++) {
		good += !m[i].going && (!m[i].t.failed || strstr(one, "failure"));
		told += told_whole(s, &m[i].mail, m[i].t.out);
	}
	if (good < n)
		kit_note(s->k, "%s", pm_short(m[n / 2].t.out));
	for (unsigned i = 0; i < n; i++)
		pm_free(&m[i * 3 % n].t);
	kit_ok(s->k, good == n && told == n,
	    "%u of %u sessions at once have their answers%s, %u their own", good, n,
	    backwards ? ", given in the opposite order" : "", told);
	free(one);
	free(m);
}

/* ---- */

static void all(struct pm_suite *s)
{
	state(s);
	pieces(s);
	odd_messages(s);
	plans(s);
	no_memory_of_mails(s);
	growth(s);
	together(s, false);
	pm_faults(s);
	if (s->filter->speaks == FLT_MILTER || s->filter->speaks == FLT_PMILTER) {
		together(s, true);
		pm_with_filter(s);
	} else if (!s->filter->connections) {
		kit_skip(s->k, "what its filter may say", "it asks none at @PEER@");
	} else {
		kit_skip(
		    s->k, "what its filter may say", "it speaks no protocol that the kit knows");
	}
}

int kit_pmilter(struct kit *k)
{
	static struct kit_filter filter;
	struct pm_suite s = {.k = k, .filter = &filter};
	struct meta1_err err = {""};

	kit_filter_open(k, &filter);
	s.inst = kit_open(k, NULL, &err);
	kit_turn(k);
	if (!kit_ok(k, s.inst != NULL, "opens as a filter%s%s", s.inst ? "" : ": ", err.text)) {
		kit_filter_close(&filter);
		return -1;
	}
	s.ops = kit_ops(s.inst);
	if (one_mail(&s) == 0)
		all(&s);
	kit_ok(k, kit_slept(s.inst) < 3, "no call holds the loop asleep (%u times over 100 ms)",
	    kit_slept(s.inst));
	kit_close(k, &s.inst);
	kit_ok(k, true, "closes after all that, nothing left");
	kit_filter_close(&filter);
	return 0;
}
