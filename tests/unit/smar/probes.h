/* SPDX-License-Identifier: BSD-2-Clause */
/* probes.h -- the hop that probe.c and probe_hops.c ask, played by a transport of the test, and how
 * it is asked and answers. One program each includes it. */
#ifndef TEST_SMAR_PROBES_H
#define TEST_SMAR_PROBES_H
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

static inline void t_open(
    void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct hop_end *e = calloc(1, sizeof(*e));

	(void)inst;
	opens++;
	sessions++;
	str_copy(e->addr, sizeof(e->addr), hop->addr);
	req->end = e;
	*sess = e;
}

static inline void t_probe(void *sess, struct meta1_req *req, const struct meta1_mail *m)
{
	struct hop_end *e = sess;

	probes++;
	req->end = e;
	req->probe = true;
	snprintf(e->rcpt, sizeof(e->rcpt), "%.*s", (int)m->rcpt->addr.len,
	    (const char *)m->rcpt->addr.data);
	snprintf(e->from, sizeof(e->from), "%.*s", (int)m->from.len, (const char *)m->from.data);
}

static inline int t_usable(void *sess)
{
	return !((struct hop_end *)sess)->dead;
}

static inline void t_shut(void **sess)
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

static inline void pass(int64_t ms)
{
	now += ms;
	loop_fake_clock(loop, now, 1000000 + now / 1000);
	for (int i = 0; i < 5; i++)
		loop_turn(loop, false);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void told(void *arg, const struct probe_answer *a)
{
	struct asked *q = arg;

	q->told++;
	q->a = *a;
}

static inline void ask_at(struct asked *q, const char *key, const char *hops, bool keep)
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

static inline void ask(struct asked *q, const char *key)
{
	ask_at(q, key, "1", true);
}

/* The oldest request that is open: status and scope of its end, after what is said of the recipient
 * (0: nothing). */
static inline void says(
    int code, const char *dsn, const char *text, enum meta1_status st, int scope)
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

static inline void opened(void)
{
	says(0, "", "", META1_OK, 0);
}

static inline void takes(void)
{
	says(250, "2.1.5", "ok", META1_OK, 0);
}

static inline void lost(void)
{
	says(0, "", "", META1_TEMPFAIL, META1_ABOUT_HOST);
}

static inline void is(
    const struct asked *q, enum probe_word word, const char *dsn, const char *text)
{
	assert_int_equal(q->told, 1);
	assert_int_equal(q->a.said.word, word);
	assert_string_equal(q->a.said.dsn, dsn);
	assert_string_equal(q->a.said.text, text);
}

/* What is kept of it; -1: nothing. */
static inline int word_of(const char *key)
{
	struct probe_answer a;

	return probe_known(prober, key, &a) ? (int)a.said.word : -1;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
