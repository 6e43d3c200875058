/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.c -- probes of next hops: what is kept, who waits, which hop is asked; the hop is played by
 * a transport of the test.
 * over 500 lines: all of it stands on the one hop that is played here. */
#include "smar/probe.h"

#include "../unit.h"

#include "mod/mod.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* ---- a transport ---- */
struct meta1_req {
	struct meta1_req *prev, *next;
	mod_done_fn done;
	mod_rcpt_fn rcpt;
	void *arg;
	struct hop_end *end;
	bool probe;
};
struct hop_end { /* the session as its module has it */
	char addr[100], rcpt[100], from[100];
	bool dead;
};
static struct meta1_req *open_reqs; /* unanswered, in order */
static int opens, probes, shuts, sessions;

struct meta1_req *mod_req(struct mod_inst *in, int64_t deadline, mod_done_fn done, void *arg)
{
	struct meta1_req *r = calloc(1, sizeof(*r));

	(void)in, (void)deadline;
	r->done = done;
	r->arg = arg;
	DL_APPEND(open_reqs, r);
	return r;
}

void mod_req_rcpts(struct meta1_req *r, mod_rcpt_fn fn, uint32_t n)
{
	assert_int_equal(n, 1);
	r->rcpt = fn;
}

void mod_req_cancel(struct meta1_req **r)
{
	DL_DELETE(open_reqs, *r);
	free(*r);
	*r = NULL;
}

void *mod_data(const struct mod_inst *in)
{
	(void)in;
	return NULL;
}

static void t_open(void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct hop_end *e = calloc(1, sizeof(*e));

	(void)inst;
	opens++;
	sessions++;
	str_copy(e->addr, sizeof(e->addr), hop->addr);
	req->end = e;
	*sess = e;
}

static void t_probe(void *sess, struct meta1_req *req, const struct meta1_mail *m)
{
	struct hop_end *e = sess;

	probes++;
	req->end = e;
	req->probe = true;
	snprintf(e->rcpt, sizeof(e->rcpt), "%.*s", (int)m->rcpt->addr.len,
	    (const char *)m->rcpt->addr.data);
	snprintf(e->from, sizeof(e->from), "%.*s", (int)m->from.len, (const char *)m->from.data);
}

static int t_usable(void *sess)
{
	return !((struct hop_end *)sess)->dead;
}

static void t_shut(void **sess)
{
	shuts++;
	sessions--;
	free(*sess);
	*sess = NULL;
}

static const struct meta1_transport_ops ops = {
    .size = sizeof(ops), .open = t_open, .usable = t_usable, .shut = t_shut, .probe = t_probe};

/* ---- a policy ---- */
static struct probe_transport lmtp = {"lmtp", NULL, &ops};
static struct probe_gear gear;
static struct smar_policy policy;
static struct loop *loop;
static struct prober *prober;
static int64_t now;

struct smar_policy *smar_policy_ref(struct smar_policy *p)
{
	p->refs++;
	return p;
}

void smar_policy_unref(struct smar_policy **p)
{
	(*p)->refs--;
	*p = NULL;
}

const struct probe_transport *probe_gear_find(const struct probe_gear *g, struct meta1_buf name)
{
	(void)g;
	return buf_eq(name, buf_str("lmtp")) ? &lmtp : NULL;
}

static void pass(int64_t ms)
{
	now += ms;
	loop_fake_clock(loop, now, 1000000 + now / 1000);
	for (int i = 0; i < 5; i++)
		loop_turn(loop, false);
}

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	now = 1000000;
	opens = probes = shuts = 0;
	gear.conf = (struct set_probe){.sender = "prober@gw.test",
	    .wait = 6000,
	    .connect_timeout = 5000,
	    .IO_timeout = 30000,
	    .idle_timeout = 5000,
	    .positive_ttl = 60000,
	    .positive_stale = 600000,
	    .negative_ttl = 10000,
	    .max_entries = 100,
	    .max_connections = 2,
	    .max_waiting = 3,
	    .max_probes_per_connection = 3};
	policy = (struct smar_policy){.refs = 1, .probe = &gear};
	prober = prober_new(loop);
	prober_use(prober, &policy);
	pass(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	prober_free(&prober);
	assert_int_equal(policy.refs, 1);
	assert_int_equal(sessions, 0);
	assert_null(open_reqs);
	loop_free(&loop);
	return 0;
}

/* ---- asking and answering ---- */
struct asked {
	int told;
	struct probe_answer a;
};

static void told(void *arg, const struct probe_answer *a)
{
	struct asked *q = arg;

	q->told++;
	q->a = *a;
}

static void ask_at(struct asked *q, const char *key, const char *hops, bool keep)
{
	struct meta1_buf hop[3];
	struct p_routes r = {.transport = buf_str("lmtp"), .hops = {hop, 0}};
	struct probe_question question = {.policy = &policy,
	    .key = key,
	    .rcpt = key,
	    .route = &r,
	    .until = now + 6000,
	    .keep = keep};
	char text[3][40];

	for (const char *p = hops; *p; p++, r.hops.n++) {
		snprintf(text[r.hops.n], sizeof(text[0]), "192.0.2.%c 24 mx%c", *p, *p);
		hop[r.hops.n] = buf_str(text[r.hops.n]);
	}
	*q = (struct asked){0};
	probe_ask(prober, &question, told, q);
}

static void ask(struct asked *q, const char *key)
{
	ask_at(q, key, "1", true);
}

/* The oldest request that is open: status and scope of its end, after what is said of the recipient
 * (0: nothing). */
static void says(int code, const char *dsn, const char *text, enum meta1_status st, int scope)
{
	struct meta1_req *r = open_reqs;
	struct meta1_reply reply = {.size = sizeof(reply), .text = text, .smtp = (uint16_t)code};
	struct meta1_reply end = {.size = sizeof(end), .text = "end", .scope = (uint16_t)scope};

	assert_non_null(r);
	snprintf(reply.dsn, sizeof(reply.dsn), "%s", dsn);
	DL_DELETE(open_reqs, r);
	if (code) {
		assert_true(r->probe);
		r->rcpt(r->arg, 0,
		    code < 300	 ? META1_OK
		    : code < 500 ? META1_TEMPFAIL
				 : META1_PERMFAIL,
		    &reply);
	}
	r->done(r->arg, st, &end);
	free(r);
}

static void opened(void)
{
	says(0, "", "", META1_OK, 0);
}

static void takes(void)
{
	says(250, "2.1.5", "ok", META1_OK, 0);
}

static void lost(void)
{
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_HOST);
}

static void is(const struct asked *q, enum probe_word word, const char *dsn, const char *text)
{
	assert_int_equal(q->told, 1);
	assert_int_equal(q->a.said.word, word);
	assert_string_equal(q->a.said.dsn, dsn);
	assert_string_equal(q->a.said.text, text);
}

/* ---- what is kept ---- */
static void kept_for_its_time(void **state)
{
	static const struct {
		enum probe_word word;
		int64_t after;
		int fresh; /* 1: answers alone, 0: stale, -1: is gone */
	} row[] = {{PROBE_YES, 0, 1}, {PROBE_YES, 59999, 1}, {PROBE_YES, 60000, 0},
	    {PROBE_YES, 599999, 0}, {PROBE_YES, 600000, -1}, {PROBE_NO, 0, 1}, {PROBE_NO, 9999, 1},
	    {PROBE_NO, 10000, -1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct probe_cache *c = &prober->cache;
		struct probe_said said;
		struct probe_answer a;

		probe_cache_forget(c, NULL);
		probe_say(&said, row[i].word, "5.1.1", "text");
		probe_cache_put(c, "u@a.test", &said, 500);
		assert_int_equal(
		    probe_cache_get(c, "u@a.test", 500 + row[i].after, &a), row[i].fresh >= 0);
		if (row[i].fresh < 0)
			continue;
		assert_int_equal(a.said.word, row[i].word);
		assert_string_equal(a.said.text, "text");
		assert_string_equal(a.said.dsn, "5.1.1");
		assert_int_equal(a.left > 0, row[i].fresh);
		assert_int_equal(a.age, row[i].after);
	}
}

static void put(const char *key, enum probe_word word)
{
	struct probe_said said;

	probe_say(&said, word, "", "");
	probe_cache_put(&prober->cache, key, &said, now);
}

static int word_of(const char *key)
{
	struct probe_answer a;

	return probe_known(prober, key, &a) ? (int)a.said.word : -1;
}

static void the_last_word_stands(void **state)
{
	(void)state;
	put("u@a.test", PROBE_YES);
	put("u@a.test", PROBE_NO);
	assert_int_equal(word_of("u@a.test"), PROBE_NO);
	put("u@a.test", PROBE_YES);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
	assert_int_equal(lru_count(&prober->cache.no), 0);
	put("v@a.test", PROBE_NO);
	prober_changed(prober); /* a row may have led to the wrong hop */
	assert_int_equal(word_of("v@a.test"), -1);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
}

static void forgotten_by_name(void **state)
{
	(void)state;
	put("u@a.test", PROBE_YES);
	put("v@a.test", PROBE_NO);
	put("u@b.a.test", PROBE_YES);
	put("w@c.test", PROBE_NO);
	assert_int_equal(probe_cache_forget(&prober->cache, "u@none.test"), 0);
	assert_int_equal(probe_cache_forget(&prober->cache, "w@c.test"), 1);
	assert_int_equal(probe_cache_forget(&prober->cache, "@A.test"), 2);
	assert_int_equal(word_of("u@b.a.test"), PROBE_YES);
	assert_int_equal(probe_cache_forget(&prober->cache, NULL), 1);
}

/* Names that are tried displace each other, not those that are known. */
static void bounded(void **state)
{
	char key[40];

	(void)state;
	put("known@a.test", PROBE_YES);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "guess%d@a.test", i);
		put(key, PROBE_NO);
	}
	assert_int_equal(word_of("known@a.test"), PROBE_YES);
	assert_int_equal(lru_count(&prober->cache.no), 100);
	assert_int_equal(word_of("guess899@a.test"), -1);
	assert_int_equal(word_of("guess900@a.test"), PROBE_NO);
}

/* ---- what a hop says ---- */
static void words(void **state)
{
	static const struct {
		int code;
		const char *dsn, *text;
		enum meta1_status st;
		int scope;
		enum probe_word word;
		const char *want;
		bool kept;
	} row[] = {
	    {250, "2.1.5", "ok", META1_OK, 0, PROBE_YES, "ok", true},
	    {550, "5.1.1", "no such user", META1_OK, 0, PROBE_NO, "no such user", true},
	    {452, "4.2.2", "over quota", META1_OK, 0, PROBE_UNKNOWN, "over quota", false},
	    {550, "", "caf\303\251 \033[1m\r\n250 ok", META1_OK, 0, PROBE_NO, "caf?? ?[1m??250 ok",
		true},
	    /* of the session, the sender or the host: nothing about the recipient */
	    {0, "", "", META1_PERMFAIL, META1_ABOUT_MAIL, PROBE_UNKNOWN,
		"the next hop refuses to be asked", false},
	    {0, "", "", META1_TEMPFAIL, META1_ABOUT_MAIL, PROBE_UNKNOWN,
		"the next hop did not answer in time", false},
	    {0, "", "", META1_PERMFAIL, META1_ABOUT_OFFER, PROBE_UNKNOWN,
		"the next hop does not offer what is needed to ask it", false},
	    {0, "", "", META1_TEMPFAIL, META1_ABOUT_HOST, PROBE_UNKNOWN, "the next hop broke off",
		false},
	    /* a word about it counts, however the session ended */
	    {550, "5.1.1", "no", META1_TEMPFAIL, META1_ABOUT_HOST, PROBE_NO, "no", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct asked q;
		char key[20];

		snprintf(key, sizeof(key), "u%zu@a.test", i);
		ask(&q, key);
		if (!open_reqs->probe)
			opened();
		assert_string_equal(open_reqs->end->rcpt, key);
		assert_string_equal(open_reqs->end->from, "prober@gw.test");
		says(row[i].code, row[i].dsn, row[i].text, row[i].st, row[i].scope);
		is(&q, row[i].word, row[i].code ? row[i].dsn : "", row[i].want);
		assert_int_equal(word_of(key), row[i].kept ? (int)row[i].word : -1);
		assert_true(q.a.asked);
	}
}

static void long_text(void **state)
{
	char text[1000];
	struct asked q;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ask(&q, "u@a.test");
	opened();
	says(550, "5.1.1", text, META1_OK, 0);
	assert_int_equal(strlen(q.a.said.text), PROBE_TEXT_MAX);
}

/* ---- who waits ---- */
static void one_question_for_many(void **state)
{
	struct asked q[3], other;

	(void)state;
	ask(&q[0], "u@a.test");
	ask(&other, "U@a.test");
	ask(&q[1], "u@a.test");
	opened();
	ask(&q[2], "u@a.test");
	says(0, "", "", META1_OK, 0); /* opened for the other one */
	takes();
	takes();
	assert_int_equal(probes, 2);
	for (int i = 0; i < 3; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	is(&other, PROBE_YES, "2.1.5", "ok");
}

/* What was asked before a map or the configuration changed, or all was forgotten: perhaps of the
 * wrong hop. Only who waited hears of it, and no refusal. */
static void a_change_meanwhile(void **state)
{
	static struct smar_policy other;

	(void)state;
	other = (struct smar_policy){.refs = 1, .probe = &gear};
	for (int how = 0; how < 4; how++) {
		struct asked before[2], after, again;
		char key[20], yes[20];

		snprintf(key, sizeof(key), "u%d@a.test", how);
		snprintf(yes, sizeof(yes), "v%d@a.test", how);
		ask(&before[0], key);
		ask(&before[1], yes);
		opened();
		opened();
		if (how == 0)
			prober_changed(prober);
		else if (how == 1)
			assert_int_equal(prober_forget(prober, NULL), 1); /* of how 0 */
		else if (how == 2)
			prober_use(prober, &other);
		if (how == 2) /* by the policy of before, as the two of how 3 */
			ask(&again, key);
		if (how < 2) {
			ask(&after, key);
			assert_int_equal(HASH_COUNT(prober->flights), 1);
		} else {
			assert_null(prober->flights);
		}
		says(550, "5.1.1", "no such user", META1_OK, 0);
		is(&before[0], PROBE_UNKNOWN, "",
		    "the configuration changed while the next hop was asked");
		assert_int_equal(word_of(key), -1);
		takes();
		is(&before[1], PROBE_YES, "2.1.5", "ok");
		assert_int_equal(before[1].a.left, 0);
		assert_int_equal(word_of(yes), -1);
		while (open_reqs)
			if (!open_reqs->probe)
				opened();
			else
				says(550, "5.1.1", "no such user", META1_OK, 0);
		if (how == 2)
			is(&again, PROBE_UNKNOWN, "",
			    "the configuration changed while the next hop was asked");
		if (how < 2)
			is(&after, PROBE_NO, "5.1.1", "no such user");
		assert_int_equal(word_of(key), how < 2 ? PROBE_NO : -1);
		pass(5001);
	}
	prober_use(prober, &policy);
	assert_int_equal(other.refs, 1);
}

static void late(void **state)
{
	struct asked q;

	(void)state;
	ask(&q, "u@a.test");
	opened();
	pass(5999);
	assert_int_equal(q.told, 0);
	pass(2);
	is(&q, PROBE_UNKNOWN, "", "the next hop has not answered yet");
	takes();
	assert_int_equal(q.told, 1);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
	/* what never answers ends too */
	ask(&q, "v@a.test");
	pass(30001);
	assert_int_equal(q.told, 1);
	assert_null(open_reqs);
	assert_null(prober->flights);
}

static void stale(void **state)
{
	struct asked q;

	(void)state;
	put("u@a.test", PROBE_YES);
	pass(60000);
	assert_int_equal(word_of("u@a.test"), -1);
	ask(&q, "u@a.test");
	opened();
	says(450, "4.3.2", "later", META1_OK, 0);
	is(&q, PROBE_YES, "", "later");
	assert_true(q.a.stale && q.a.left == 0);
	put("v@a.test", PROBE_YES);
	pass(600000);
	ask(&q, "v@a.test");
	opened();
	says(450, "4.3.2", "later", META1_OK, 0);
	is(&q, PROBE_UNKNOWN, "4.3.2", "later");
}

static void no_trace(void **state)
{
	struct asked q, live;

	(void)state;
	ask_at(&q, "u@a.test", "1", false);
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	assert_int_equal(word_of("u@a.test"), -1);
	ask_at(&q, "u@a.test", "1", false);
	ask(&live, "u@a.test");
	takes();
	is(&live, PROBE_YES, "2.1.5", "ok");
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
}

/* ---- hops and sessions ---- */
static void few_sessions(void **state)
{
	struct asked q[8];
	char key[8][20];

	(void)state;
	for (int i = 0; i < 8; i++) {
		snprintf(key[i], sizeof(key[i]), "u%d@a.test", i);
		ask(&q[i], key[i]);
	}
	assert_int_equal(opens, 2);
	for (int i = 5; i < 8; i++)
		is(&q[i], PROBE_UNKNOWN, "", "too many probes wait for the next hop");
	opened();
	opened();
	for (int i = 0; i < 5; i++) {
		assert_int_equal(q[i].told, 0);
		takes();
	}
	for (int i = 0; i < 5; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	assert_int_equal(opens, 2);
	/* kept for a while */
	assert_int_equal(shuts, 1); /* one had three */
	pass(4999);
	ask(&q[0], "v@a.test");
	assert_int_equal(opens, 2);
	takes();
	assert_int_equal(shuts, 2); /* so has the other */
	ask(&q[0], "w@a.test");
	opened();
	takes();
	pass(4999);
	assert_int_equal(shuts, 2);
	pass(2);
	assert_int_equal(shuts, 3);
}

static void an_idle_one_was_dead(void **state)
{
	struct asked q;

	(void)state;
	ask(&q, "u@a.test");
	opened();
	takes();
	ask(&q, "v@a.test");
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	assert_int_equal(opens, 2);
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	/* seen before it is used */
	((struct hop_end *)prober->hops->sessions->sess)->dead = true;
	ask(&q, "w@a.test");
	assert_int_equal(opens, 3);
	opened();
	/* the same twice: it is the host */
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	opened();
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION);
	is(&q, PROBE_UNKNOWN, "", "the next hop broke off");
}

/* Dead sessions are at their limit while one comes back to be asked by a new one. */
static void no_line_stands_still(void **state)
{
	struct asked q[3];

	(void)state;
	ask(&q[0], "u0@a.test");
	ask(&q[1], "u1@a.test");
	ask(&q[2], "u2@a.test");
	opened();
	opened();
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_SESSION); /* u0: again, with a new one */
	assert_int_equal(opens, 3);
	takes(); /* u1 */
	for (int i = 0; i < 3 && open_reqs; i++)
		if (open_reqs->probe)
			takes();
		else
			opened();
	while (open_reqs)
		takes();
	for (int i = 0; i < 3; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
}

static void away(void **state)
{
	struct asked q[4], next;

	(void)state;
	for (int i = 0; i < 4; i++) {
		char key[20];

		snprintf(key, sizeof(key), "u%d@a.test", i);
		ask(&q[i], key);
	}
	assert_int_equal(opens, 2);
	lost();
	lost();
	for (int i = 0; i < 4; i++)
		is(&q[i], PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask(&next, "v@a.test"); /* nobody waits for it again */
	is(&next, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	assert_int_equal(opens, 2);
	pass(PROBE_PAUSE);
	ask(&next, "v@a.test");
	assert_int_equal(opens, 3);
	opened();
	takes();
	is(&next, PROBE_YES, "2.1.5", "ok");
}

static void the_next_hop_then(void **state)
{
	struct asked q;

	(void)state;
	ask_at(&q, "u@a.test", "123", true);
	assert_string_equal(open_reqs->end->addr, "192.0.2.1");
	lost();
	assert_string_equal(open_reqs->end->addr, "192.0.2.2");
	opened();
	lost(); /* in the dialogue */
	assert_string_equal(open_reqs->end->addr, "192.0.2.3");
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	ask_at(&q, "v@a.test", "12", true); /* the first is left alone */
	assert_string_equal(open_reqs->end->addr, "192.0.2.2");
	lost();
	is(&q, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask_at(&q, "v@a.test", "", true);
	is(&q, PROBE_UNKNOWN, "", "there is no next hop");
}

/* The hop does not offer SMTPUTF8, as the transport says without asking. */
static void lacks_it(bool mail)
{
	struct meta1_req *r = open_reqs;
	struct meta1_reply reply = {.size = sizeof(reply),
	    .text = "no SMTPUTF8",
	    .dsn = "5.6.7",
	    .scope = META1_ABOUT_OFFER};
	struct meta1_reply end = {.size = sizeof(end), .text = "end"};

	assert_true(r && r->probe);
	DL_DELETE(open_reqs, r);
	if (!mail)
		r->rcpt(r->arg, 0, META1_PERMFAIL, &reply);
	r->done(r->arg, mail ? META1_PERMFAIL : META1_OK, mail ? &reply : &end);
	free(r);
}

/* Says no when none of the hops offers what the recipient needs, and one does not for all. */
static void what_a_hop_lacks(void **state)
{
	struct asked q;
	char key[40];

	(void)state;
	for (int mail = 0; mail < 2; mail++) { /* of the mail as a whole, or of the recipient */
		snprintf(key, sizeof(key), "\303\244%d@a.test", mail);
		ask_at(&q, key, "12", true);
		assert_string_equal(open_reqs->end->addr, "192.0.2.1");
		if (!open_reqs->probe)
			opened();
		lacks_it(mail);
		assert_int_equal(q.told, 0);
		assert_string_equal(open_reqs->end->addr, "192.0.2.2");
		if (!open_reqs->probe)
			opened();
		takes();
		is(&q, PROBE_YES, "2.1.5", "ok");
		snprintf(key, sizeof(key), "\303\266%d@a.test", mail);
		ask_at(&q, key, "12", true);
		lacks_it(mail);
		lacks_it(!mail);
		is(&q, PROBE_NO, "5.6.7", "no SMTPUTF8");
		assert_int_equal(word_of(key), PROBE_NO);
		pass(5001);
	}
	/* the other one is away: it might offer it */
	ask_at(&q, "\303\244x@a.test", "12", true);
	opened();
	lacks_it(false);
	lost();
	is(&q, PROBE_UNKNOWN, "", "the next hop cannot be reached");
	ask_at(&q, "\303\244x@a.test", "21", true);
	lacks_it(false);
	is(&q, PROBE_UNKNOWN, "", "the next hop does not offer what is needed to ask it");
}

/* A hop that wants no more connections keeps those it has, and is not away. */
static void one_too_many(void **state)
{
	struct asked q[3];
	struct meta1_req *busy;

	(void)state;
	ask(&q[0], "u0@a.test");
	opened();
	busy = open_reqs;
	ask(&q[1], "u1@a.test");
	ask(&q[2], "u2@a.test");
	assert_int_equal(opens, 2);
	DL_DELETE(open_reqs, busy); /* the second connection is answered first */
	lost();
	DL_APPEND(open_reqs, busy);
	assert_int_equal(opens, 2);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(q[i].told, 0);
		takes();
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	}
	assert_int_equal(opens, 2);
}

static void ends_in_flight(void **state)
{
	static struct asked q[5];

	(void)state;
	for (int i = 0; i < 5; i++) {
		char key[20];

		snprintf(key, sizeof(key), "u%d@a.test", i);
		ask(&q[i], key);
	}
	opened(); /* one is asked, one is opened, three wait */
	prober_free(&prober);
	for (int i = 0; i < 5; i++)
		is(&q[i], PROBE_UNKNOWN, "", "the server is stopping");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(kept_for_its_time), T(the_last_word_stands),
	    T(forgotten_by_name), T(bounded), T(words), T(long_text), T(one_question_for_many),
	    T(a_change_meanwhile), T(late), T(stale), T(no_trace), T(few_sessions),
	    T(an_idle_one_was_dead), T(no_line_stands_still), T(away), T(the_next_hop_then),
	    T(what_a_hop_lacks), T(one_too_many), T(ends_in_flight)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
