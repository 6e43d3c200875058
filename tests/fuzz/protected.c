/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protected.c -- fuzz target of core/smar/check_protected.c: the value of a row protectedrcpt:,
 * through the whole question that smtps asks. Each other row does not exist.
 * Every question gets one verdict, and a refusal is fit for the wire.
 */
#include "fuzz.h"
#include "lib/log.h"
#include "mail/reply.h"
#include "smar/smar.h"

static struct meta1_buf value;
static unsigned told;

struct answer {
	struct task task;
	bool found;
	mod_done_fn fn;
	void *arg;
};

static void answered(void *arg)
{
	struct answer a = *(struct answer *)arg;
	struct meta1_reply r = {
	    .size = sizeof(r), .ttl = 300, .val = &value, .nval = a.found ? 1 : 0};

	free(arg);
	a.fn(a.arg, a.found ? META1_OK : META1_NOTFOUND, &r);
}

static struct meta1_req *lookup(
    struct smar_map *m, struct meta1_buf key, int64_t deadline, mod_done_fn fn, void *arg)
{
	static const char tag[] = "protectedrcpt:";
	struct answer *a = base_alloc(sizeof(*a));

	(void)deadline;
	a->found = key.len > strlen(tag) && memcmp(key.data, tag, strlen(tag)) == 0;
	a->fn = fn;
	a->arg = arg;
	task_init(&a->task, answered, a);
	loop_defer(m->loop, &a->task);
	return NULL;
}

static void verdict(void *arg, const struct p_verdict *v)
{
	char dsn[12], code[12];

	(void)arg;
	told++;
	must(v->action <= ACT_DISCARD);
	if (v->action == ACT_ACCEPT || v->action == ACT_DISCARD)
		return;
	must(v->smtp >= 400 && v->smtp < 560 && v->smtp != 421);
	must((v->action == ACT_TEMPFAIL) == (v->smtp < 500));
	must(v->dsn.len > 0 && v->dsn.len < sizeof(dsn) && v->text.len > 0);
	memcpy(dsn, v->dsn.data, v->dsn.len);
	dsn[v->dsn.len] = '\0';
	must(reply_dsn((int)v->smtp, dsn, code) > 0 && strcmp(dsn, code) == 0);
	for (size_t i = 0; i < v->text.len; i++)
		must(((const unsigned char *)v->text.data)[i] >= 32 &&
		     ((const unsigned char *)v->text.data)[i] != 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char own[] = "own.test", *local[] = {own}, name[] = "access", module[] = "fuzz";
	static struct loop *loop;
	static struct smar_map map;
	static struct smar_policy policy;
	const struct log_conf log = {.ident = "fuzz", .file = "/dev/null", .level = LOG_L_WARN};
	struct meta1_err err;
	struct p_check q = {.stages = STAGE_ALL,
	    .client = buf_str("192.0.2.17"),
	    .helo = buf_str("client.test"),
	    .from = buf_str("boss+x@sub.example.org"),
	    .rcpt = buf_str("all@own.test"),
	    .flags = SMTPS_F_ACCESS | SMTPS_F_DELAY,
	    .auth = buf_str(size % 2 ? "user" : ""),
	    .tls = TLS_GOOD_CERT,
	    .cert_subject = buf_str("/CN=client.example.org"),
	    .cert_issuer = buf_str("/CN=ca")};

	if (!loop) {
		must(log_open(NULL, &log, &err) >= 0);
		loop = loop_new();
		map = (struct smar_map){
		    .name = name, .module = module, .lookup = lookup, .loop = loop, .local = true};
		policy = (struct smar_policy){.refs = 1,
		    .loop = loop,
		    .local = local,
		    .nlocal = 1,
		    .access = {&map, USE_F_DETAIL, "+"}};
		str_copy(policy.hostname, sizeof(policy.hostname), "gw.test");
	}
	value = buf_of(data, size);
	told = 0;
	smar_check(&policy, &q, loop_now(loop) + 10000, verdict, NULL);
	while (told == 0)
		loop_turn(loop, true);
	must(told == 1 && policy.refs == 1);
	return 0;
}
