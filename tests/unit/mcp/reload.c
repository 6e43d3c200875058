/* SPDX-License-Identifier: BSD-2-Clause */
/* plan.c and differ.c of mcp: what becomes of each process when the one configuration follows the
 * other. */
#include "../unit.h"
#include "mcp/mcp.h"

#define LISTEN(port) "listen_socket { type = inet; address = 127.0.0.1; port = " port "; } "
#define SMTPS	     "smtps { " LISTEN("25") "}\n"
#define REST	     "qmgr { }\nsmar { nameserver = 127.0.0.1; }\n"
#define BASE	     SMTPS REST
#define SMTPC	     "smtpc { }\n"

static struct settings *load(const char *text)
{
	struct settings *s = settings_load_text("t", text, OPT_CHECK);

	if (conf_errors(s->conf))
		conf_report(s->conf, stderr);
	assert_int_equal(conf_errors(s->conf), 0);
	return s;
}

/* What is said, a line each; what goes on is not said. */
static const struct {
	const char *old, *new, *says;
	unsigned steps; /* with those of who goes on */
} table[] = {
    /* nothing, or what the roles take by themselves */
    {BASE, BASE, "", 3},
    {BASE, "smtps { " LISTEN("26") "}\n" REST, "", 3},
    {BASE, BASE "smtps { start_action = accept; listen_socket b { type = inet6; port = 26; } }\n",
	"", 3},
    {BASE, BASE "smtps { max_hops = 30; }\nqmgr { log_level = 9; max_retry_delay = 3h; }\n", "", 3},
    {BASE, REST SMTPS, "", 3}, /* another order */
    /* an option that is read at the start */
    {BASE, BASE "qmgr { arguments = \"qmgr -f /x\"; }\n",
	"qmgr: needs a restart: the option arguments\n", 3},
    {BASE, BASE "qmgr { queue { type = memory; } }\n", "qmgr: needs a restart: the option type\n",
	3},
    {BASE, BASE "smtps { pass_fd_socket = x; }\n",
	"smtps: needs a restart: the option pass_fd_socket\n", 3},
    {BASE, BASE "smar { trusted_nameserver = 127.0.0.1; }\n",
	"smar: needs a restart: the option trusted_nameserver\n", 3},
    {BASE, "hostname = other.test;\n" BASE,
	"smtps: needs a restart: the option hostname\nqmgr: needs a restart: the option hostname\n"
	"smar: needs a restart: the option hostname\n",
	3},
    /* sections */
    {BASE, BASE SMTPC, "smtpc: starts: a new section\n", 4},
    {BASE SMTPC, BASE, "smtpc: ends: its section is gone\n", 4},
    {BASE, BASE "smtps in { " LISTEN("26") "}\n", "smtps-in: starts: a new section\n", 4},
    {BASE "smtps in { " LISTEN("26") "processes = 2; }\n", BASE,
	"smtps-in: ends: its section is gone\nsmtps-in.1: ends: its section is gone\n", 5},
    {BASE, "smtps in { " LISTEN("25") "}\n" REST, /* another name is another section */
	"smtps-in: starts: a new section\nsmtps: ends: its section is gone\n", 4},
    /* processes */
    {BASE, BASE "smtps { processes = 3; }\n",
	"smtps.1: starts: processes = 3\nsmtps.2: starts: processes = 3\n", 5},
    {BASE "smtps { processes = 3; }\n", BASE "smtps { processes = 2; }\n",
	"smtps.2: ends: processes = 2\n", 5},
    {BASE SMTPC, BASE "smtpc { processes = 2; path = /x; }\n",
	"smtpc: needs a restart: the option path\nsmtpc.1: starts: processes = 2\n", 5},
    {BASE SMTPC "smtpc { processes = 2; path = /x; }\n", BASE SMTPC,
	"smtpc: needs a restart: the option path\nsmtpc.1: ends: processes = 1\n", 5},
    /* accounts: who may read mail is of CDB_gid, else of smtpc */
    {BASE, BASE "smar { user = nobody; }\n", "smar: needs a restart: the option user\n", 3},
    {BASE, BASE "smtps { user = nobody; }\n", "smtps: needs a restart: the option user\n", 3},
    {BASE SMTPC, BASE SMTPC "smtpc { group = nogroup; }\n",
	"smtps: needs a restart: the option group of smtpc\n"
	"qmgr: needs a restart: the option group of smtpc\n"
	"smtpc: needs a restart: the option group\n",
	4},
    {BASE SMTPC "smtps { CDB_gid = 7; }\n",
	BASE SMTPC "smtps { CDB_gid = 7; }smtpc { user = nobody; }\n",
	"smtpc: needs a restart: the option user\n", 4},
    {BASE, BASE "smtps { CDB_gid = 262; }\n",
	"smtps: needs a restart: the option CDB_gid\n"
	"qmgr: needs a restart: the option CDB_gid of smtps\n",
	3},
};

static void steps(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct settings *a = load(table[i].old), *b = load(table[i].new);
		char all[2000] = "", one[400];
		struct mcp_plan p;

		mcp_plan(a, b, &p);
		assert_string_equal(p.refused, "");
		assert_int_equal(p.n, table[i].steps);
		for (unsigned k = 0; k < p.n; k++)
			if (mcp_plan_says(&p.step[k], one, sizeof(one)))
				strcat(strcat(all, one), "\n");
		assert_string_equal(all, table[i].says);
		mcp_plan_free(&p);
		settings_free(&a);
		settings_free(&b);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *old, *new, *why;
	} t[] = {
	    {BASE, "queue_directory = /elsewhere;\n" BASE,
		"queue_directory: /var/spool/meta1 is in use and cannot become /elsewhere while "
		"mcp "
		"runs"},
	    {"run_directory = /run/a;\n" BASE, "run_directory = /run/b;\n" BASE SMTPC,
		"run_directory: /run/a is in use and cannot become /run/b while mcp runs"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct settings *a = load(t[i].old), *b = load(t[i].new);
		struct mcp_plan p;

		mcp_plan(a, b, &p);
		assert_int_equal(p.n, 0);
		if (strncmp(p.refused, t[i].why, strlen(t[i].why)) != 0)
			fail_msg("%s", p.refused);
		assert_non_null(strstr(p.refused, "stop meta1"));
		mcp_plan_free(&p);
		settings_free(&a);
		settings_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(steps),
	    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
