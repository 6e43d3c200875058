/* SPDX-License-Identifier: BSD-2-Clause */
/* reload.c of mcp: which change needs what. */
#include "../unit.h"
#include "mcp/mcp.h"

#define BASE                                                                                       \
	"smtps { listen_socket { type = inet; address = 127.0.0.1; port = 25; } }\n"               \
	"qmgr { }\nsmar { nameserver = 127.0.0.1; }\n"

static struct settings *load(const char *text)
{
	struct settings *s = settings_load_text("t", text, OPT_CHECK);

	if (conf_errors(s->conf))
		conf_report(s->conf, stderr);
	assert_int_equal(conf_errors(s->conf), 0);
	return s;
}

/* fixed: needs a restart of mcp; restart: of that role; both NULL: neither. */
static void change(const char *text, const char *fixed, const char *role, const char *restart)
{
	struct settings *a = load(BASE), *b = load(text);
	const char *found = mcp_differ_fixed(a, b);

	if (fixed) {
		assert_non_null(found);
		assert_string_equal(found, fixed);
	} else {
		assert_null(found);
		for (unsigned i = 0; i < a->nrole; i++) {
			bool it = role && strcmp(a->role[i]->keyword, role) == 0;
			const char *o = mcp_differ_restart(a, b, i);

			if (it)
				assert_string_equal(o ? o : "nothing", restart);
			else if (role)
				assert_null(o);
		}
	}
	settings_free(&a);
	settings_free(&b);
}

static void for_mcp(void **state)
{
	(void)state;
	change("queue_directory = /elsewhere;\n" BASE, "queue_directory", NULL, NULL);
	change(BASE "smtpc { }\n", "a new or removed section", NULL, NULL);
	change(BASE "smtps { user = nobody; }\n", "user", NULL, NULL);
	change(BASE "smtps { processes = 2; }\n", "processes", NULL, NULL);
	change(BASE "smtps { CDB_gid = 262; }\n", "CDB_gid", NULL, NULL);
	change("smar { nameserver = 127.0.0.1; }\nqmgr { }\n"
	       "smtps { listen_socket { type = inet; address = 127.0.0.1; port = 25; } }\n",
	    "the order or names of sections", NULL, NULL);
}

static void for_a_role(void **state)
{
	(void)state;
	change(BASE "qmgr { arguments = \"qmgr -f /x\"; }\n", NULL, "qmgr", "arguments");
	change(BASE "qmgr { queue { type = memory; } }\n", NULL, "qmgr", "type");
	change(BASE "smtps { pass_fd_socket = x; }\n", NULL, "smtps", "pass_fd_socket");
	change(
	    BASE "smar { trusted_nameserver = 127.0.0.1; }\n", NULL, "smar", "trusted_nameserver");
}

static void for_nobody(void **state)
{
	(void)state;
	change(BASE, NULL, "none", NULL);
	change("smtps { listen_socket { type = inet; address = 127.0.0.1; port = 26; } }\n"
	       "qmgr { }\nsmar { nameserver = 127.0.0.1; }\n",
	    NULL, "none", NULL);
	change(BASE "smtps { start_action = accept; listen_socket b { type = inet6; port = 26; } "
		    "}\n",
	    NULL, "none", NULL);
	change(BASE "smtps { max_hops = 30; }\nqmgr { log_level = 9; max_retry_delay = 3h; }\n",
	    NULL, "none", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(for_mcp),
	    cmocka_unit_test(for_a_role),
	    cmocka_unit_test(for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
