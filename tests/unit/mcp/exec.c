/* SPDX-License-Identifier: BSD-2-Clause */
/* exec.c of mcp: words of a command line, what of the environment passes, words for a status. */
#include "../unit.h"
#include "mcp/mcp.h"

#include <signal.h>

static void expect_words(const char *text, const char *const *want)
{
	struct meta1_err err;
	char **w = mcp_words(text, &err);
	size_t i;

	assert_non_null(w);
	for (i = 0; want[i]; i++) {
		assert_non_null(w[i]);
		assert_string_equal(w[i], want[i]);
	}
	assert_null(w[i]);
	mcp_words_free(&w);
	assert_null(w);
}
#define WORDS(text, ...) expect_words(text, (const char *const[]){__VA_ARGS__, NULL})

static void words(void **state)
{
	struct meta1_err err;

	(void)state;
	WORDS("smtps -f /etc/meta1.conf", "smtps", "-f", "/etc/meta1.conf");
	WORDS("  a \t b\n", "a", "b");
	WORDS("a 'b c' d\"e f\"g", "a", "b c", "de fg");
	WORDS("a\\ b '\\n' \"\\\"\"", "a b", "\\n", "\"");
	WORDS("''", "");
	expect_words("", (const char *const[]){NULL});
	expect_words("   ", (const char *const[]){NULL});
	assert_null(mcp_words("a 'b", &err));
	assert_non_null(strstr(err.text, "quote"));
	assert_null(mcp_words("\"", &err));
}

static void environment(void **state)
{
	(void)state;
	assert_true(mcp_env_passes("PATH=/bin", true, false));
	assert_true(mcp_env_passes("TZ=UTC", true, false));
	assert_false(mcp_env_passes("LD_PRELOAD=/tmp/x.so", true, false));
	assert_false(mcp_env_passes("LTDL_LIBRARY_PATH=/tmp", true, false));
	assert_false(mcp_env_passes("META1_MODULE_PATH=/tmp", true, false));
	assert_true(mcp_env_passes("META1_MODULE_PATH=/tmp", true, true));
	assert_true(mcp_env_passes("META1_MODULE_PATH=/tmp", false, false));
	/* Nobody but mcp says which descriptor is the channel. */
	assert_false(mcp_env_passes("META1_MCP_FD=0", false, true));
}

static void status(void **state)
{
	char text[64];

	(void)state;
	mcp_status_words(78 << 8, text, sizeof(text));
	assert_string_equal(text, "exit 78, configuration");
	mcp_status_words(3 << 8, text, sizeof(text));
	assert_string_equal(text, "exit 3");
	mcp_status_words(SIGSEGV | 0x80, text, sizeof(text));
	assert_string_equal(text, "killed by SIGSEGV, core dumped");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(words),
	    cmocka_unit_test(environment),
	    cmocka_unit_test(status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
