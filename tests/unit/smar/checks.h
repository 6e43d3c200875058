/* SPDX-License-Identifier: BSD-2-Clause */
/* checks.h -- a policy with a mailertable and an access map, and questions to it. */
#ifndef META1_TEST_CHECKS_H
#define META1_TEST_CHECKS_H
#include "maps.h"

#define EARLY (STAGE_CONNECT | STAGE_HELO | STAGE_MAIL)

static const struct table_row mailertable[] = {
    {"lmtp.test", "lmtp:"},
    {".sub.test", "lmtp:/run/x"},
    {"routed.test", "[192.0.2.9]"},
    {"broken.test", NULL},
    {"stop.test", "NOMORE"},
    {".stop.test", "lmtp:"},
    {"no.stop.test", "NOMORE"},
    {NULL, NULL},
};
static const struct table_row access_rows[] = {
    {"cltaddr:10", "RELAY"},
    {"cltaddr:10.1", "CONT"},
    {"cltaddr:10.2", "QUICK:RELAY"},
    {"cltaddr:10.3.0.0/16", "OK"},
    {"cltaddr:10.4.4.4", "REJECT"},
    {"cltaddr:10.5", "QUICK:CONT"},
    {"cltaddr:10.6", "what?"},
    {"cltaddr:10.7", NULL},
    {"cltaddr:unix", "RELAY"},
    {"cltaddr:2001:db8::/32", "RELAY"},
    {"from:spam.test", "error:553 5.1.8 no mail from you"},
    {"from:friend@a.test", "RELAY"},
    {"from:<>", "REJECT"},
    {"to:relay.test", "RELAY"},
    {"to:.relay.test", "RELAY"},
    {"to:user@lmtp.test", "REJECT"},
    {"to:hole@lmtp.test", "DISCARD"},
    {"to:slow@lmtp.test", "error:450 4.2.1 full"},
    {"helo:localhost", "550 5.7.1 not your name"},
    {"helo:.dyn.test", "REJECT"},
    {"helo:friend.test", "RELAY"},
    {"helo:quick.test", "QUICK:OK"},
    {"helo:[192.0.2.9]", "error:451 4.7.1 later"},
    {"certsubject:/cn=laptop+207", "RELAY"},
    {"certsubject:/cn=stolen", "REJECT"},
    {"certissuer:/o=ours", "RELAY"},
    {"certissuer:/o=odd", "OK"},
    {"protectedrcpt:all@lmtp.test",
	"cltaddr:192.0.2.7 from:boss@a.test auth:Ann certsubject:/cn=key"},
    {"protectedrcpt:ours@lmtp.test", "relay error:450 4.7.1 our people first"},
    {"protectedrcpt:free@lmtp.test", "OK"},
    {"protectedrcpt:odd@lmtp.test", "from:boss@a.test nonsense"},
    {"protectedrcpt:oddreply@lmtp.test", "relay error:250 fine"},
    {"protectedrcpt:.prot.sub.test", "from:.a.test"},
    {"protectedrcpt:gone@lmtp.test", NULL},
    {NULL, NULL},
};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt, access;
};
struct verdict {
	unsigned told;
	uint64_t action, smtp, ttl, grants;
	char text[400], dsn[12], rule[1001];
};

static inline void told(void *arg, const struct p_verdict *v)
{
	struct verdict *out = arg;

	out->told++;
	out->action = v->action;
	out->smtp = v->smtp;
	out->ttl = v->ttl;
	out->grants = v->grants;
	snprintf(
	    out->rule, sizeof(out->rule), "%.*s", (int)v->rule.len, (const char *)v->rule.data);
	snprintf(
	    out->text, sizeof(out->text), "%.*s", (int)v->text.len, (const char *)v->text.data);
	snprintf(out->dsn, sizeof(out->dsn), "%.*s", (int)v->dsn.len, (const char *)v->dsn.data);
}

static inline struct verdict ask_once(struct world *w, const struct p_check *q)
{
	struct verdict v = {.told = 0};

	w->access.asked = w->mt.asked = 0;
	smar_check(&w->policy, q, loop_now(w->loop) + 10000, told, &v);
	for (int i = 0; i < 300 && !v.told; i++)
		loop_turn(w->loop, false);
	assert_int_equal(v.told, 1);
	assert_int_equal(w->policy.refs, 1);
	return v;
}

/* Maps that answer on a later turn and maps that answer inside the call are asked for the same and
 * lead to the same. */
static inline struct verdict ask(struct world *w, const struct p_check *q)
{
	struct verdict late, v;
	unsigned asked;

	w->access.map.find = w->mt.map.find = NULL;
	late = ask_once(w, q);
	asked = w->access.asked + w->mt.asked;
	w->access.map.find = w->mt.map.find = table_find;
	v = ask_once(w, q);
	assert_int_equal(w->access.asked + w->mt.asked, asked);
	assert_int_equal(v.action, late.action);
	assert_int_equal(v.smtp, late.smtp);
	assert_int_equal(v.ttl, late.ttl);
	assert_int_equal(v.grants, late.grants);
	assert_string_equal(v.text, late.text);
	assert_string_equal(v.dsn, late.dsn);
	assert_string_equal(v.rule, late.rule);
	return v;
}

static inline struct verdict check(
    struct world *w, const char *client, const char *from, const char *rcpt)
{
	struct p_check q = {.stages = STAGE_ALL,
	    .client = buf_str(client),
	    .from = buf_str(from),
	    .rcpt = buf_str(rcpt),
	    .flags = SMTPS_F_ACCESS | SMTPS_F_DELAY};

	return ask(w, &q);
}

static inline void start(struct world *w, bool access)
{
	w->loop = loop_new();
	test_policy(&w->policy, w->loop);
	w->policy.mailertable = table_map(&w->mt, w->loop, "mt", mailertable);
	if (access)
		w->policy.access = table_map(&w->access, w->loop, "access", access_rows);
}

#endif
