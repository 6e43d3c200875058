/* SPDX-License-Identifier: BSD-2-Clause */
/* Each rule of a descriptor, broken alone. */
#include "../unit.h"

#include "fix.h"

#include <meta1/auth.h>
#include <meta1/pmilter.h>

#include <meta1/map.h>
#include <meta1/queue.h>
#include <meta1/transport.h>

struct conf {
	int64_t n;
};

static const struct meta1_opt good_opt = META1_OPT_INT(struct conf, n, "5", "1..9", "A number.");

static void nothing(void *inst)
{
	(void)inst;
}

static int never(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	(void)h, (void)ctx, (void)conf, (void)inst, (void)err;
	return -1;
}

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	(void)inst, (void)rq, (void)key;
}

static enum meta1_status find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	(void)inst, (void)key, (void)r;
	return META1_NOTFOUND;
}

static void no_cancel(void *inst, struct meta1_req *rq)
{
	(void)inst, (void)rq;
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup};
static const struct meta1_map_ops short_ops = {.size = 8};
static struct meta1_opt opt;

static struct meta1_module good(void)
{
	opt = good_opt;
	return (struct meta1_module){.magic = META1_MODULE_MAGIC,
	    .size = sizeof(struct meta1_module),
	    .abi_major = META1_ABI_MAJOR,
	    .abi_minor = META1_ABI_MINOR,
	    .kind = META1_MAP,
	    .roles = META1_SMAR,
	    .name = "map_x",
	    .version = "1",
	    .summary = "Is right.",
	    .opt = &opt,
	    .nopt = 1,
	    .sizeof_opt = sizeof(opt),
	    .sizeof_conf = sizeof(struct conf),
	    .open = never,
	    .close = nothing,
	    .ops = &ops};
}

static void judged(const struct meta1_module *m, const char *name, const char *part)
{
	struct meta1_err err = {""};
	int r = mod_judge(m, name, META1_SMAR, &err);

	if (!part) {
		if (r < 0)
			fail_msg("refused: %s", err.text);
		return;
	}
	if (r >= 0 || !strstr(err.text, part))
		fail_msg("\"%s\" is not in: %s", part, err.text);
}

#define BREAK(change, part)                                                                        \
	do {                                                                                       \
		struct meta1_module m = good();                                                    \
		change;                                                                            \
		judged(&m, m.name ? m.name : "map_x", part);                                       \
	} while (0)

static void rules(void **state)
{
	(void)state;
	BREAK((void)0, NULL);
	BREAK(m.magic++, "magic is 0x314d544e, expected 0x314d544d");
	BREAK(m.abi_major++, "it is newer, update the server");
	BREAK(m.abi_major--, "it is older, build it against the installed meta1/module.h");
	BREAK(m.abi_minor++, NULL); /* it says that it needs no newer one */
	BREAK((m.abi_minor++, m.abi_needed = m.abi_minor), "newer than this server's");
	BREAK(m.abi_minor = 0, NULL);
	BREAK(m.size = 40, "descriptor has 40 bytes, expected");
	BREAK(m.size += 8, NULL);
	BREAK(m.size = 1u << 20, "descriptor has 1048576 bytes");
	BREAK(m.name = NULL, "its name is \"\", expected \"map_x\"");
	BREAK(m.kind = 77, "kind is 77, expected 1 to 5");
	BREAK(m.kind = META1_TRANSPORT, "expected it to begin with \"transport_\"");
	BREAK(m.roles = META1_QMGR | META1_TOOL, "for the roles qmgr, tools, and this is smar");
	BREAK(m.ops = NULL, "table of operations has 0 bytes");
	BREAK(m.ops = &short_ops, "table of operations has 8 bytes, expected 40");
	BREAK(m.version = "", "it lacks a version");
	BREAK(m.summary = NULL, "it lacks a summary");
	BREAK(m.open = NULL, "it has no open()");
	BREAK(m.close = NULL, "it has no close()");
	BREAK(m.flags = META1_F_BLOCKING, NULL);
	BREAK(m.flags = 64, "flags are 0x40, known are 0x1");
	BREAK(m.needs = META1_S_DNS | META1_S_MAPS | META1_S_CONN, NULL);
	BREAK((m.needs = META1_S_CONN, m.flags = META1_F_BLOCKING),
	    "it needs connections, which smar does not offer to a module that may block");
	BREAK(
	    m.needs = 1ull << 40, "it needs services 0x10000000000 that this server does not know");
	BREAK(m.libevent = 0x02010c00, NULL);
	BREAK(m.libevent = 0x02020000, "it was built for libevent 2.2, and this is 2.1");
}

static void another_name(void **state)
{
	struct meta1_module m = good();

	(void)state;
	judged(&m, "map_y", "its name is \"map_x\", expected \"map_y\" as the file is called");
}

static void options(void **state)
{
	(void)state;
	BREAK(m.opt = NULL, "no pointer to them");
	BREAK(m.nopt = 100000, "it has 100000 option records");
	BREAK(m.sizeof_opt = 12, "an option record has 12 bytes");
	BREAK(m.sizeof_conf = 4, "option records: ");
	BREAK(m.sizeof_conf = UINT32_MAX, "its options take 4294967295 bytes");
	BREAK(opt.def = "ten", "option records: ");
	BREAK(opt.def = "10", "option records: ");
	BREAK(opt.doc = "", "option records: ");
	BREAK(opt.name = NULL, "option records: ");
	BREAK(
	    (opt.type = META1_FLAGS, opt.range = "a|b|c|d|e|f|g|h|a|b|c|d|e|f|g|h|a|b|c|d|e|f|g|h|"
						 "a|b|c|d|e|f|g|h|a|b|c|d|e|f|g|h|a|b|c|d|e|f|g|h|"
						 "a|b|c|d|e|f|g|h|a|b|c|d|e|f|g|h|z"),
	    "option n has 65 words in its range, expected at most 64");
	BREAK(opt.name = "cache_ttl",
	    "its option \"cache_ttl\" is one that the server itself reads in the section of every "
	    "map: give it another name, such as x_cache_ttl");
	BREAK(
	    opt.name = "Isolate_User", "its option \"Isolate_User\" is one that the server itself");
	BREAK(opt.name = "recipients", NULL); /* of filters */
}

static void blocking_is_for_maps(void **state)
{
	static const struct meta1_queue_ops q = {
	    .size = sizeof(q), .format = "x/1", .cancel = no_cancel};

	(void)state;
	BREAK((m.kind = META1_QUEUE, m.name = "queue_x", m.ops = &q), NULL);
	BREAK((m.kind = META1_QUEUE, m.name = "queue_x", m.ops = &q, m.flags = META1_F_BLOCKING),
	    "use offload()");
}

static void maps_have_one_way_to_answer(void **state)
{
	static const struct meta1_map_ops none = {.size = sizeof(none)};
	static const struct meta1_map_ops both = {
	    .size = sizeof(both), .props = META1_MAP_LOCAL, .lookup = lookup, .find = find};
	static const struct meta1_map_ops far = {.size = sizeof(far), .find = find};
	static const struct meta1_map_ops near = {
	    .size = sizeof(near), .props = META1_MAP_LOCAL, .find = find};

	(void)state;
	BREAK(m.ops = &none, "it has neither lookup() nor find()");
	BREAK(m.ops = &both, "it has lookup() and find()");
	BREAK(m.ops = &far, "expected props META1_MAP_LOCAL");
	BREAK(m.ops = &near, NULL);
	BREAK((m.ops = &near, m.flags = META1_F_BLOCKING), "not META1_F_BLOCKING");
}

/* Each role finds what it asks for, or says what is missing, before a mail finds out. */
static void whole_tables(void **state)
{
	static const struct meta1_transport_ops t = {.size = sizeof(t), .cancel = no_cancel};
	static const struct meta1_auth_ops a = {.size = sizeof(a), .cancel = no_cancel};
	static const struct meta1_pmilter_ops p = {.size = sizeof(p), .cancel = no_cancel};
	static const struct meta1_queue_ops q = {.size = sizeof(q), .cancel = no_cancel};
	static const struct {
		uint32_t kind, role;
		const char *name, *part;
		const void *ops;
	} rows[] = {
	    {META1_TRANSPORT, META1_SMTPC, "transport_x", "lacks open(), which smtpc asks", &t},
	    {META1_AUTH, META1_SMTPS, "auth_x", "lacks offer(), which smtps asks", &a},
	    {META1_AUTH, META1_SMTPC, "auth_x", "lacks login(), which smtpc asks", &a},
	    {META1_PMILTER, META1_SMTPS, "pmilter_x", "lacks begin(), which smtps asks", &p},
	    {META1_QUEUE, META1_QMGR, "queue_x", "lacks format, which qmgr asks", &q},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct meta1_module m = good();
		struct meta1_err err = {""};

		m.kind = rows[i].kind;
		m.roles = ~0u;
		m.name = rows[i].name;
		m.ops = rows[i].ops;
		assert_int_equal(mod_judge(&m, m.name, rows[i].role, &err), -1);
		if (!strstr(err.text, rows[i].part))
			fail_msg("\"%s\" is not in: %s", rows[i].part, err.text);
	}
}

static void dns_is_for_smar(void **state)
{
	struct meta1_module m = good();
	struct meta1_err err = {""};

	(void)state;
	m.roles = ~0u;
	m.needs = META1_S_DNS;
	assert_int_equal(mod_judge(&m, m.name, META1_SMTPC, &err), -1);
	assert_string_equal(err.text, "it needs DNS, which smtpc does not offer");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rules),
	    cmocka_unit_test(another_name),
	    cmocka_unit_test(options),
	    cmocka_unit_test(blocking_is_for_maps),
	    cmocka_unit_test(maps_have_one_way_to_answer),
	    cmocka_unit_test(whole_tables),
	    cmocka_unit_test(dns_is_for_smar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
