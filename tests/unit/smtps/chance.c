/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps by sequences made by chance, the same in each run: of commands, against a
 * model of the states, and of bytes, where no split makes a difference and nothing is left.
 */
#include "dialog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

/* What the session knows, and its words so far. */
struct known {
	bool helo, mail, chunks;
	unsigned rcpt, asked, nmsg;
};

/* A chunk: taken, the last, refused; QUIT is content. */
static const char *chunk(struct known *k, unsigned which, const char **say)
{
	static const char *const bdat[] = {"BDAT 6\r\nQUIT\r\n", "BDAT 0\r\n",
	    "BDAT 6 LAST\r\nQUIT\r\n", "BDAT 3\r\na\nb",
	    "BDAT 70\r\nQUIT\r\n01234567890123456789012345678901234567890123456789012345"
	    "67890123",
	    "BDAT 6 LAST\r\nQUIT\n\n"};
	bool good = which <= 2, last = which == 2, open = k->mail && k->rcpt > 0;
	const char *code = "550 ";

	*say = bdat[which];
	if (!open)
		code = k->mail && k->asked > 0 ? "554 " : "503 ";
	else if (good)
		code = "250 ";
	else if (which == 4)
		code = "552 ";
	k->nmsg += open && last;
	k->mail = k->chunks = open && good && !last;
	return code;
}

/* A command by chance, and the code it must get. */
static const char *command(struct known *k, unsigned pick, const char **say)
{
	bool fresh = k->helo && !k->mail, open = k->mail && !k->chunks;

	*say = "NOOP\r\n";
	if (pick == 0) {
		*say = HI;
		k->helo = true;
		k->mail = false;
	} else if (pick <= 3) {
		*say = "MAIL FROM:<a@b>\r\n";
		if (!fresh)
			return "503 ";
		*k = (struct known){.helo = true, .mail = true, .nmsg = k->nmsg};
	} else if (pick == 4) {
		*say = "MAIL FROM:<bad\r\n";
		return fresh ? "501 " : "503 ";
	} else if (pick <= 7) {
		*say = "RCPT TO:<x@y>\r\n";
		k->rcpt += open;
		k->asked += open;
		return open ? "250 " : "503 ";
	} else if (pick <= 9) {
		*say = pick == 8 ? "RCPT TO:<bad@y>\r\n" : "RCPT TO:<mute@y>\r\n";
		k->asked += open;
		return !open ? "503 " : pick == 8 ? "550 " : "451 ";
	} else if (pick == 10) {
		*say = "RSET\r\n";
		k->mail = false;
	} else if (pick == 11) {
		*say = "VRFY x\r\n";
		return "252 ";
	} else if (pick <= 14) {
		*say = "DATA\r\n";
		if (!open)
			return "503 ";
		return k->rcpt > 0 ? "354 " : k->asked > 0 ? "554 " : "503 ";
	}
	return "250 ";
}

static void model(
    unsigned *seed, char *text, size_t size, char *codes, size_t csize, unsigned *nmsg)
{
	struct known k = {.helo = false};

	text[0] = '\0';
	snprintf(codes, csize, "220 ");
	for (unsigned i = 0; i < 15; i++) {
		unsigned pick = (unsigned)rand_r(seed) % 22;
		const char *say, *code;

		code = pick >= 16 ? chunk(&k, pick - 16, &say) : command(&k, pick, &say);
		strncat(text, say, size - strlen(text) - 1);
		strncat(codes, code, csize - strlen(codes) - 1);
		if (strcmp(code, "354 ") == 0) {
			bool bare = rand_r(seed) % 2;

			strncat(text, bare ? "a\nb\r\n.\r\n" : BODY, size - strlen(text) - 1);
			strncat(codes, bare ? "550 " : "250 ", csize - strlen(codes) - 1);
			k.nmsg += !bare;
			k.mail = false;
		}
	}
	*nmsg = k.nmsg;
}

static void random_sequences(void **state)
{
	unsigned seed = 4711;

	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		static struct dialog d;
		char text[4096], codes[1024];
		unsigned nmsg;

		model(&seed, text, sizeof(text), codes, sizeof(codes), &nmsg);
		dialog_open(&d);
		d.gear.lim.message_size = 64;
		d.gear.lim.bad_commands = 0;
		dialog_run(&d, text, strlen(text), round % 8 == 0 ? 1 : 0);
		if (strcmp(dialog_codes(&d), codes) != 0)
			fail_msg(
			    "round %u\n%swant %s\ngot  %s", round, text, codes, dialog_codes(&d));
		assert_int_equal(d.nmsg, nmsg);
		assert_int_equal(d.queued, nmsg);
		dialog_close(&d);
	}
}

static size_t garbage(unsigned *seed, char *text, size_t size)
{
	static const struct {
		const char *text;
		size_t len;
	} token[] = {{S(HI)}, {S(ENV)}, {S("DATA\r\n")}, {S(BODY)}, {S("MAIL FROM:<")}, {S("a@b>")},
	    {S("RCPT TO:<x@y>")}, {S(" SIZE=")}, {S("123")}, {S(" BODY=8BITMIME")}, {S("\r\n")},
	    {S("\r")}, {S("\n")}, {S(".")}, {S("\r\n.\r\n")}, {S("\0")}, {S("\377")}, {S(" ")},
	    {S("\"")}, {S("RSET\r\n")}, {S("NOOP\r\n")}, {S("=")}, {S("Received:")}, {S("\r\n")},
	    {S("BDAT 7\r\n")}, {S("BDAT 1\r\n")}, {S("BDAT 30 LAST\r\n")}, {S("BDAT 0 LAST\r\n")}};
	static char filler[3000];
	size_t n = 0;
	unsigned i, count = 5 + (unsigned)rand_r(seed) % 25;

	memset(filler, 'f', sizeof(filler));
	for (i = 0; i < count; i++) {
		unsigned pick = (unsigned)rand_r(seed) % (ARRAY_LEN(token) * 4);
		const char *from = filler;
		size_t len;

		if (pick == 0) {
			len = (size_t)rand_r(seed) % sizeof(filler);
		} else {
			from = token[pick % ARRAY_LEN(token)].text;
			len = token[pick % ARRAY_LEN(token)].len;
		}
		if (n + len > size)
			break;
		memcpy(text + n, from, len);
		n += len;
	}
	return n;
}

static void random_bytes(void **state)
{
	unsigned seed = 815;

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		static struct dialog whole, cut;
		char text[8192];
		size_t n = garbage(&seed, text, sizeof(text));

		dialog_open(&whole);
		dialog_run(&whole, text, n, 0);
		dialog_codes(&whole); /* whole lines only */
		dialog_open(&cut);
		dialog_run(&cut, text, n, n > 1000 ? 1 + round % 97 : 1);
		if (strcmp(whole.out, cut.out) != 0)
			fail_msg("round %u\n%.*s\n--- at once\n%s--- in pieces\n%s", round, (int)n,
			    text, whole.out, cut.out);
		assert_int_equal(whole.nmsg, cut.nmsg);
		for (unsigned k = 0; k < whole.nmsg; k++) {
			assert_int_equal(whole.msg[k].len, cut.msg[k].len);
			assert_memory_equal(whole.msg[k].data, cut.msg[k].data, whole.msg[k].len);
		}
		dialog_close(&cut);
		dialog_close(&whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_sequences),
	    cmocka_unit_test(random_bytes),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
