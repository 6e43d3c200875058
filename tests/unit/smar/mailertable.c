/* SPDX-License-Identifier: BSD-2-Clause */
/* mailertable.c -- next hops of a row, good and bad. */
#include "../unit.h"
#include "smar/smar.h"

static void one(void **state)
{
	static const struct {
		const char *value;
		enum smar_target_kind kind;
		bool lmtp;
		unsigned port;
		const char *name;
	} row[] = {
	    {"lmtp:", TARGET_SOCKET, true, 0, ""},
	    {"LMTP:", TARGET_SOCKET, true, 0, ""},
	    {"lmtp:/run/x/lmtp", TARGET_PATH, true, 0, "/run/x/lmtp"},
	    {"lmtp:[127.0.0.1]:2003", TARGET_ADDR, true, 2003, "127.0.0.1"},
	    {"lmtp:[store.test]", TARGET_HOST, true, 0, "store.test"},
	    {"[192.0.2.1]", TARGET_ADDR, false, 0, "192.0.2.1"},
	    {"[192.0.2.1.]", TARGET_ADDR, false, 0, "192.0.2.1"},
	    {"[192.0.2.1]:2525", TARGET_ADDR, false, 2525, "192.0.2.1"},
	    {"[2001:db8::1]:25", TARGET_ADDR, false, 25, "2001:db8::1"},
	    {"[IPv6:2001:db8::1]", TARGET_ADDR, false, 0, "2001:db8::1"},
	    {"[Host.Test]", TARGET_HOST, false, 0, "host.test"},
	    {"[host.test]:26", TARGET_HOST, false, 26, "host.test"},
	    {"192.0.2.1", TARGET_ADDR, false, 0, "192.0.2.1"},
	    {"192.0.2.1:26", TARGET_ADDR, false, 26, "192.0.2.1"},
	    {" host.test. ", TARGET_MX, false, 0, "host.test"},
	    {"Host.test:65535", TARGET_MX, false, 65535, "host.test"},
	    {"smtp:host.test", TARGET_MX, false, 0, "host.test"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct smar_target t[SMAR_TARGETS];
		struct meta1_err err = {""};
		unsigned n;

		if (smar_mailertable_parse(buf_str(row[i].value), NULL, t, &n, &err) < 0)
			fail_msg("%s: %s", row[i].value, err.text);
		assert_int_equal(n, 1);
		assert_int_equal(t[0].kind, row[i].kind);
		assert_int_equal(t[0].lmtp, row[i].lmtp);
		assert_int_equal(t[0].port, row[i].port);
		assert_string_equal(t[0].name, row[i].name);
	}
}

static void list(void **state)
{
	struct smar_target t[SMAR_TARGETS];
	struct meta1_err err;
	unsigned n;

	(void)state;
	assert_int_equal(
	    smar_mailertable_parse(buf_str("[a.test]\t b.test:26  192.0.2.1"), NULL, t, &n, &err),
	    0);
	assert_int_equal(n, 3);
	assert_string_equal(t[1].name, "b.test");
	assert_int_equal(t[2].kind, TARGET_ADDR);
}

static void bad(void **state)
{
	static const char *const row[] = {"", "   ", "[", "[]", "[a", "[a b]", "host:", "host:0",
	    "host:65536", "host:25x", "host:99999999999999999999", "2001:db8::1", "lmtp:host",
	    "lmtp:[x", "lmtp:[x]25", "lmtp: [a.test]", "a..b", "-", "a/b", "[[a]]", "esmtp:host",
	    "host,host", "lmtp:/x # ours", "[host] #"};
	char text[4000];
	struct smar_target t[SMAR_TARGETS];
	struct meta1_err err;
	unsigned n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		err.text[0] = '\0';
		if (smar_mailertable_parse(buf_str(row[i]), NULL, t, &n, &err) == 0)
			fail_msg("\"%s\" was taken", row[i]);
		assert_true(strlen(err.text) > 0);
	}
	text[0] = '\0';
	for (int i = 0; i <= SMAR_TARGETS; i++)
		strcat(text, "[192.0.2.1] ");
	assert_int_equal(smar_mailertable_parse(buf_str(text), NULL, t, &n, &err), -1);
	memset(text, 'a', sizeof(text));
	assert_int_equal(smar_mailertable_parse(buf_of(text, sizeof(text)), NULL, t, &n, &err), -1);
	memcpy(text, "lmtp:/", 6);
	assert_int_equal(smar_mailertable_parse(buf_of(text, 200), NULL, t, &n, &err), -1);
	assert_int_equal(smar_mailertable_parse(buf_of("a\0b", 3), NULL, t, &n, &err), -1);
}

static char *const by[] = {(char[]){"maildir"}, (char[]){"uucp-x"}, NULL};

static void named(void **state)
{
	static const struct {
		const char *value;
		enum smar_target_kind kind;
		unsigned port;
		const char *by, *name;
	} row[] = {
	    {"maildir:", TARGET_NAMED, 0, "maildir", ""},
	    {" MailDir:/var/mail/%u?x=1 ", TARGET_NAMED, 0, "maildir", "/var/mail/%u?x=1"},
	    {"maildir:a:b", TARGET_NAMED, 0, "maildir", "a:b"},
	    {"uucp-x:[192.0.2.1]:540", TARGET_ADDR, 540, "uucp-x", "192.0.2.1"},
	    {"uucp-x:[Host.test]", TARGET_HOST, 0, "uucp-x", "host.test"},
	    {"maildir.test:26", TARGET_MX, 26, "", "maildir.test"},
	    {"lmtp:", TARGET_SOCKET, 0, "", ""},
	};
	static const struct {
		const char *value, *why;
	} bad[] = {
	    {"maildri:", "\"maildri:\": smtpc has no transport maildri { }, and a port from 1 to "
			 "65535 would be a number; did you mean maildir:?"},
	    {"lmpt:/x", "did you mean lmtp:?"},
	    {"nothing:x", "smtpc has no transport nothing { }"},
	    {"lmpt:[127.0.0.1]:24", "smtpc has no transport lmpt { }"},
	    {"maildir: [192.0.2.1]", "\"[192.0.2.1]\": next hops by smtp and maildir in one row"},
	    {"maildir:x uucp-x:y", "next hops by uucp-x and maildir in one row"},
	    {"maildir:[192.0.2.1]x", "expected a port"},
	};
	struct smar_target t[SMAR_TARGETS];
	struct meta1_err err = {""};
	unsigned n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		if (smar_mailertable_parse(buf_str(row[i].value), by, t, &n, &err) < 0)
			fail_msg("%s: %s", row[i].value, err.text);
		assert_int_equal(n, 1);
		assert_int_equal(t[0].kind, row[i].kind);
		assert_int_equal(t[0].port, row[i].port);
		assert_string_equal(t[0].by, row[i].by);
		assert_string_equal(t[0].name, row[i].name);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err.text[0] = '\0';
		assert_int_equal(
		    smar_mailertable_parse(buf_str(bad[i].value), by, t, &n, &err), -1);
		if (!strstr(err.text, bad[i].why))
			fail_msg("\"%s\" is not in: %s", bad[i].why, err.text);
	}
}

static void local_values(void **state)
{
	(void)state;
	assert_true(smar_local_value(buf_str(" lmtp:"), NULL));
	assert_true(smar_local_value(buf_str("LMTP:/x"), NULL));
	assert_false(smar_local_value(buf_str("lmtp"), NULL));
	assert_false(smar_local_value(buf_str("[lmtp:]"), NULL));
	assert_false(smar_local_value(buf_str(""), NULL));
	assert_true(smar_local_value(buf_str(" Maildir:x"), by));
	assert_false(smar_local_value(buf_str("maildirs:x"), by));
	assert_false(smar_local_value(buf_str("maildir:x"), NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one),
	    cmocka_unit_test(list),
	    cmocka_unit_test(bad),
	    cmocka_unit_test(named),
	    cmocka_unit_test(local_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
