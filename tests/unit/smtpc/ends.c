/* SPDX-License-Identifier: BSD-2-Clause */
/* ends.c -- the ends of a smtpc under test; see ends.h. */
#include "ends.h"

#include <sys/socket.h>

/* ---- what deliver.c and session.c stand on ---- */

struct smtpc c;
struct smtpc_gear gear;
struct smtpc_transport transport;
struct meta1_req *open_req, *send_req, *load_req;
struct peer *open_peer, *send_peer;
char offered[256]; /* recipients of the last send() */
int opens, sends, shuts, loads, unloads, cancels, credits;
static struct meta1_content content = {.size = sizeof(content)};

struct meta1_req *mod_req(struct mod_inst *in, int64_t deadline, mod_done_fn done, void *arg)
{
	struct meta1_req *r = calloc(1, sizeof(*r));

	(void)in;
	assert_true(deadline > loop_now(c.role.loop));
	r->done = done;
	r->arg = arg;
	return r;
}

void mod_req_rcpts(struct meta1_req *r, mod_rcpt_fn fn, uint32_t n)
{
	(void)n;
	r->rcpt = fn;
}

void mod_req_on_drop(struct meta1_req *r, void (*fn)(void *, const void *), void *arg)
{
	(void)r, (void)fn, (void)arg;
}

void mod_req_cancel(struct meta1_req **r)
{
	struct meta1_req **all[] = {&open_req, &send_req, &load_req};

	cancels++;
	for (unsigned i = 0; i < ARRAY_LEN(all); i++)
		if (*all[i] == *r)
			*all[i] = NULL;
	free(*r);
	*r = NULL;
}

void *mod_data(const struct mod_inst *in)
{
	(void)in;
	return NULL;
}

void smtpc_gear_use(struct smtpc_gear *g)
{
	g->refs++;
}

void smtpc_gear_drop(struct smtpc_gear **g)
{
	(*g)->refs--;
	*g = NULL;
}

struct smtpc_transport *smtpc_transport(struct smtpc *s, struct meta1_buf name)
{
	(void)s;
	return buf_eq(name, buf_str("smtp")) ? &transport : NULL;
}

void smtpc_credit(struct smtpc *s)
{
	(void)s;
	credits++;
}

static void fake_open(void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct peer *p = calloc(1, sizeof(*p));

	(void)inst;
	opens++;
	snprintf(p->addr, sizeof(p->addr), "%s", hop->addr);
	open_req = req;
	open_peer = p;
	*sess = p;
}

static void fake_send(void *sess, struct meta1_req *req, const struct meta1_mail *m)
{
	size_t n = 0;

	sends++;
	send_req = req;
	send_peer = sess;
	offered[0] = '\0';
	for (uint32_t i = 0; i < m->nrcpt; i++)
		n += (size_t)snprintf(offered + n, sizeof(offered) - n, "%.*s ",
		    (int)m->rcpt[i].addr.len, (const char *)m->rcpt[i].addr.data);
}

static int fake_usable(void *sess)
{
	return !((struct peer *)sess)->dead;
}

static void fake_shut(void **sess)
{
	shuts++;
	free(*sess);
	*sess = NULL;
}

static int fake_past(void *sess)
{
	return ((struct peer *)sess)->past;
}

static const struct meta1_transport_ops ops = {.size = sizeof(ops),
    .open = fake_open,
    .send = fake_send,
    .usable = fake_usable,
    .shut = fake_shut,
    .past_dot = fake_past};

static void fake_load(void *inst, struct meta1_req *req, const struct meta1_ref *ref)
{
	(void)inst;
	loads++;
	assert_int_equal(ref->len, 3);
	load_req = req;
}

static void fake_unload(void *inst, struct meta1_content **p)
{
	(void)inst;
	assert_ptr_equal(*p, &content);
	unloads++;
	*p = NULL;
}

static const struct meta1_queue_ops queue_ops = {
    .size = sizeof(queue_ops), .load = fake_load, .unload = fake_unload};

void answer(struct meta1_req **req, enum meta1_status st, int scope, int smtp, const char *text)
{
	struct meta1_req *r = *req;
	struct meta1_reply reply = {.size = sizeof(reply),
	    .text = text,
	    .smtp = (uint16_t)smtp,
	    .scope = (uint16_t)scope,
	    .ext = &content};

	assert_non_null(r);
	*req = NULL;
	r->done(r->arg, st, &reply);
	free(r);
}

void rcpt(uint32_t i, enum meta1_status st, int smtp, const char *text)
{
	struct meta1_reply reply = {
	    .size = sizeof(reply), .text = text, .smtp = (uint16_t)smtp, .dsn = "1.2.3"};

	send_req->rcpt(send_req->arg, i, st, &reply);
}

/* ---- qmgr ---- */

static char got[1024]; /* what qmgr was told, one word a frame */
struct chan *ours, *theirs;

static void on_result(struct chan *ch, uint32_t req, const void *msg, void *arg)
{
	const struct p_rcpt_result *m = msg;
	size_t n = strlen(got);

	(void)ch, (void)req, (void)arg;
	snprintf(got + n, sizeof(got) - n, "r%llu:%llu:%llu ", (unsigned long long)m->rcpt,
	    (unsigned long long)m->status, (unsigned long long)m->smtp);
}

static void on_delivered(struct chan *ch, uint32_t req, const void *msg, void *arg)
{
	const struct p_delivered *m = msg;
	size_t n = strlen(got);

	(void)ch, (void)req, (void)arg;
	snprintf(got + n, sizeof(got) - n, "d%llu:%llu:%llu:%llu:%.*s%s ",
	    (unsigned long long)m->delivery, (unsigned long long)m->status,
	    (unsigned long long)m->scope, (unsigned long long)m->smtp, (int)m->text.len,
	    (const char *)m->text.data, m->reused ? ":reused" : "");
}

static const struct chan_handler qmgr_handlers[] = {
    {P_RCPT_RESULT, on_result}, {P_DELIVERED, on_delivered}, {P_NONE, NULL}};
static const struct chan_handler no_handlers[] = {{P_NONE, NULL}};
static struct chan_side qmgr_side = {.who = QMGR, .version = "t", .handlers = qmgr_handlers};
static struct chan_side our_side = {.who = SMTPC, .version = "t", .handlers = no_handlers};

const char *told(void)
{
	static char last[sizeof(got)];

	for (int i = 0; i < 5; i++)
		loop_turn(c.role.loop, false);
	memcpy(last, got, sizeof(last));
	got[0] = '\0';
	return last;
}

int setup(void **state)
{
	int fd[2];

	(void)state;
	memset(&c, 0, sizeof(c));
	c.role.loop = loop_new();
	loop_fake_clock(c.role.loop, 1000, 1000000);
	gear = (struct smtpc_gear){.refs = 1,
	    .conf = {.connect_timeout = 1000, .idle_timeout = 5000, .max_mails = 3},
	    .remote_port = 25,
	    .max_idle = 2};
	transport = (struct smtpc_transport){.name = "smtp", .ops = &ops, .gear = &gear};
	c.gear = &gear;
	c.queue_ops = &queue_ops;
	opens = sends = shuts = loads = unloads = cancels = credits = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	our_side.loop = qmgr_side.loop = c.role.loop;
	ours = chan_adopt(&our_side, QMGR, fd[0]);
	theirs = chan_adopt(&qmgr_side, SMTPC, fd[1]);
	c.qmgr = ours;
	c.epoch = 1;
	got[0] = '\0';
	return 0;
}

int teardown(void **state)
{
	(void)state;
	smtpc_session_shut_idle(&c, NULL);
	assert_null(c.sessions);
	assert_null(c.deliveries);
	assert_int_equal(gear.refs, 1);
	assert_int_equal(opens, shuts);
	assert_int_equal(loads, unloads);
	smtpc_hosts_free(&c);
	loop_unwatch(&c.idle_timer);
	loop_unwatch(&c.report_timer);
	chan_close(&ours);
	chan_close(&theirs);
	loop_free(&c.role.loop);
	return 0;
}

/* One delivery, its content loaded. */
void deliver(uint64_t id, uint32_t nrcpt, const char *hop1, const char *hop2)
{
	static struct meta1_buf name[5];
	struct meta1_buf hop[2] = {buf_str(hop1), buf_str(hop2)};
	struct p_deliver m = {.delivery = id,
	    .id = buf_str("S1"),
	    .transport = buf_str("smtp"),
	    .hops = {hop, hop2 ? 2 : 1},
	    .from = buf_str("a@example.org"),
	    .rcpts = {name, nrcpt},
	    .ref = buf_str("ref"),
	    .bytes = 100};
	static const char *const names[] = {"r0", "r1", "r2", "r3", "r4"};

	for (unsigned i = 0; i < 5; i++)
		name[i] = buf_str(names[i]);
	smtpc_deliver_frame(ours, 0, &m, &c);
	if (load_req)
		answer(&load_req, META1_OK, 0, 0, "");
}

/* Nobody has credentials here. */
const char *logins_row(const struct logins *l, const char *by, const char *host, unsigned port)
{
	(void)l, (void)by, (void)host, (void)port;
	return NULL;
}
