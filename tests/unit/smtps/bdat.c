/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/bdat.c by whole dialogs: chunks in any mix and any cut are the same
 * message as DATA; whatever fails, the octets are consumed, one reply is said, and the next
 * command finds no transaction.
 */
#include "dialog.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

#define FROM	    "MAIL FROM:<a@b>\r\n"
#define UP	    "220 250 250 250 " /* greeting, EHLO, MAIL, RCPT */
/* what is left after a failure: nothing; then a whole transaction */
#define AFTER	    "BDAT 6\r\nQUIT\r\nDATA\r\nRCPT TO:<x@y>\r\n" ENV "BDAT 4 LAST\r\nok\r\n"
#define AFTER_CODES "503 503 503 250 250 250 "

struct row {
	const char *text;
	size_t len;
	const char *codes;
	unsigned nmsg;
	const char *end; /* of the last message */
};

static const struct row rows[] = {
    {S(HI ENV "BDAT 4 LAST\r\nhi\r\nNOOP\r\n"), UP "250 250 ", 1, "\r\nhi\r\n"},
    {S(HI ENV "bdat 4\r\na\r\nbBDAT 3\r\n\r\ncBdat 0 last\r\nNOOP\r\n"), UP "250 250 250 250 ", 1,
	"\r\na\r\nb\r\nc\r\n"},
    {S(HI ENV "BDAT 0\r\nBDAT 0\r\nBDAT 2\r\na\rBDAT 1   LAST\r\n\nNOOP\r\n"),
	UP "250 250 250 250 250 ", 1, "\r\na\r\n"},
    {S(HI ENV "BDAT 0 LAST\r\n" ENV "BDAT 1 LAST \r\nx" ENV "DATA\r\ny\r\n.\r\n"),
	UP "250 250 250 250 250 250 354 250 ", 3, "\r\ny\r\n"},
    {S("HELO c\r\n" ENV "BDAT 2 LAST\r\n\r\nQUIT\r\n"), UP "250 221 ", 1, "\r\n\r\n"},
    {S(HI ENV "BDAT 00000000000000000000000000002 LAST\r\nhi"), UP "250 ", 1, "\r\nhi\r\n"},
    /* dots; octets that look like an end, or like commands */
    {S(HI ENV "BDAT 3\r\n.\r\nBDAT 5\r\n..\r\n.BDAT 1 LAST\r\nxNOOP\r\n"), UP "250 250 250 250 ", 1,
	"\r\n..\r\n...\r\n..x\r\n"},
    {S(HI ENV "BDAT 11 LAST\r\n\r\n.\r\nQUIT\r\nNOOP\r\n"), UP "250 250 ", 1, "\r\n..\r\nQUIT\r\n"},
    /* other commands between chunks */
    {S(HI ENV "BDAT 2\r\na\r" FROM
	      "RCPT TO:<z@y>\r\nDATA\r\nNOOP\r\nHELP BDAT\r\nBDAT 1 LAST\r\n\n"),
	UP "250 503 503 503 250 214 250 ", 1, "\r\na\r\n"},
    {S(HI ENV "BDAT 2\r\nabRSET\r\n" AFTER), UP "250 250 " AFTER_CODES, 1, "\r\nok\r\n"},
    {S(HI ENV "BDAT 2\r\nab" HI AFTER), UP "250 250 " AFTER_CODES, 1, "\r\nok\r\n"},
    {S(HI ENV "BDAT 2\r\nabQUIT\r\n"), UP "250 221 ", 0, NULL},
    /* out of order: the octets are no commands, and no transaction is left */
    {S("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n" HI AFTER), "220 503 503 250 " AFTER_CODES, 1,
	NULL},
    {S(HI FROM "BDAT 6 LAST\r\nQUIT\r\n" AFTER), "220 250 250 503 " AFTER_CODES, 1, NULL},
    {S(HI FROM "RCPT TO:<bad@y>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n" AFTER),
	"220 250 250 550 554 503 " AFTER_CODES, 1, NULL},
    /* bare CR and LF: in one chunk, over two, at the very end */
    {S(HI ENV "BDAT 3\r\na\nbBDAT 6\r\nQUIT\r\n" AFTER), UP "550 503 " AFTER_CODES, 1, NULL},
    {S(HI ENV "BDAT 2\r\na\rBDAT 6\r\nQUIT\r\n" AFTER), UP "250 550 " AFTER_CODES, 1, NULL},
    {S(HI ENV "BDAT 2 LAST\r\na\r" AFTER), UP "550 " AFTER_CODES, 1, NULL},
    {S(HI ENV "BDAT 2\r\na\rBDAT 0 LAST\r\n" AFTER), UP "250 550 " AFTER_CODES, 1, NULL},
    /* hops and sizes: 65,536 and 30 in these dialogs */
    {S(HI ENV "BDAT 65537 LAST\r\nx"), UP "552 ", 0, NULL},
    {S(HI ENV "BDAT 2\r\nabBDAT 65535\r\nx"), UP "250 552 ", 0, NULL},
    {S(HI ENV "BDAT 9223372036854775807 LAST\r\nQUIT\r\n"), UP "552 ", 0, NULL},
    /* discarded by policy */
    {S(HI FROM "RCPT TO:<drop@y>\r\nBDAT 3\r\nabcBDAT 3 LAST\r\nabcNOOP\r\n"), UP "250 250 250 ", 0,
	NULL},
    {S(HI FROM "RCPT TO:<drop@y>\r\nBDAT 3\r\na\ncBDAT 3 LAST\r\nabcNOOP\r\n"), UP "550 503 250 ",
	0, NULL},
    /* a count that cannot be read: the session ends */
    {S(HI ENV "BDAT\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT LAST\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT -1\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT +1\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 1x\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 0x1\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 1 LAST x\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 1 LASTX\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 1LAST\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 9223372036854775808\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 18446744073709551617\r\nNOOP\r\n"), UP "501 ", 0, NULL},
    {S(HI ENV "BDAT 2\r\nabBDAT 99999999999999999999999\r\nNOOP\r\n"), UP "250 501 ", 0, NULL},
    {S(HI ENV "BDAT\t5\r\nNOOP\r\n"), UP "500 ", 0, NULL},
    {S(HI ENV "BDAT5\r\nNOOP\r\n"), UP "500 ", 0, NULL},
    {S(HI ENV "BDAT 5\0\r\nNOOP\r\n"), UP "500 ", 0, NULL},
    {S(HI ENV "BDAT 5\rx\r\nNOOP\r\n"), UP "500 ", 0, NULL},
    {S("BDAT x\r\nNOOP\r\n"), "220 501 ", 0, NULL},
};

static void same_messages(const struct dialog *a, const struct dialog *b)
{
	assert_int_equal(a->nmsg, b->nmsg);
	for (unsigned k = 0; k < a->nmsg; k++) {
		assert_int_equal(a->msg[k].len, b->msg[k].len);
		assert_memory_equal(a->msg[k].data, b->msg[k].data, a->msg[k].len);
		assert_int_equal(a->msg[k].flags, b->msg[k].flags);
		assert_int_equal(a->msg[k].bytes, b->msg[k].bytes);
	}
}

static void dialogs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static struct dialog whole, bytes;
		const struct row *r = &rows[i];

		for (unsigned more = 0; more < 3; more++) {
			dialog_open(&whole);
			dialog_run(&whole, r->text, r->len, 0);
			if (strcmp(dialog_codes(&whole), r->codes) != 0)
				fail_msg("row %zu: %s\n%s", i, dialog_codes(&whole), whole.out);
			assert_int_equal(whole.nmsg, r->nmsg);
			assert_int_equal(whole.queued, r->nmsg);
			if (r->end != NULL) {
				const struct dialog_msg *m = &whole.msg[r->nmsg - 1];

				assert_string_equal(m->data + m->len - strlen(r->end), r->end);
			}
			dialog_open(&bytes);
			bytes.more = more;
			dialog_run(&bytes, r->text, r->len, 1);
			assert_string_equal(whole.out, bytes.out);
			same_messages(&whole, &bytes);
			dialog_close(&bytes);
			dialog_close(&whole);
		}
	}
}

/* ---- the same message by DATA and by chunks ---- */

static size_t put(char *out, size_t n, const char *p, size_t len)
{
	memcpy(out + n, p, len);
	return n + len;
}

/* The message as one BDAT dialog: cut[i] begins a new chunk at i. */
static size_t in_chunks(char *out, const char *p, size_t n, size_t a, size_t b)
{
	size_t len = put(out, 0, S(HI ENV)), at[4] = {0, a, b, n};

	for (unsigned i = 0; i < 3; i++) {
		len += (size_t)sprintf(
		    out + len, "BDAT %zu%s\r\n", at[i + 1] - at[i], i == 2 ? " LAST" : "");
		len = put(out, len, p + at[i], at[i + 1] - at[i]);
	}
	return put(out, len, S("NOOP\r\n"));
}

/* Stuffed behind CRLF only, as a strict sender does; CRLF is added where the end lacks it. */
static size_t as_data(char *out, const char *p, size_t n)
{
	size_t len = put(out, 0, S(HI ENV "DATA\r\n"));

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '.' && (i == 0 || (i >= 2 && p[i - 1] == '\n' && p[i - 2] == '\r')))
			out[len++] = '.';
		out[len++] = p[i];
	}
	if (n > 0 && !(n >= 2 && p[n - 1] == '\n' && p[n - 2] == '\r'))
		len = put(out, len, p[n - 1] == '\r' ? "\n" : "\r\n", p[n - 1] == '\r' ? 1 : 2);
	return put(out, len, S(".\r\nNOOP\r\n"));
}

static const struct {
	const char *text;
	size_t len;
	bool bare; /* refused unless repaired */
} messages[] = {
    {S(""), false},
    {S("\r\n"), false},
    {S("."), false},
    {S("A: b\r\n\r\n.\r\n..\r\n.x\r\n"), false},
    {S("\r\n.\r\nQUIT\r\n.\r\n"), false},
    {S("a\r\n\0.\r\nx"), false},
    {S("A: \303\244\r\n.Received: x\r\n"), false},
    /* the known forms of smuggling; DATA cannot end in a bare LF */
    {S("a\n.\nQUIT\r\n"), true},
    {S("a\n.\r\nQUIT\r\n"), true},
    {S("a\r.\rQUIT\r\n"), true},
    {S("a\r.\r\nQUIT\r\n"), true},
    {S("a\r\n.\nQUIT\r\n"), true},
    {S("a\r\n.\rQUIT\r\n"), true},
    {S("a\r\r\n.\r\nQUIT\r\n"), true},
    {S("a\r\n.\r\r\nQUIT\r\n"), true},
    {S("\n.\r\n\r.\n\r\n"), true},
};

static void one_message(size_t i, bool repair)
{
	static struct dialog data, bdat;
	const char *p = messages[i].text;
	size_t n = messages[i].len, len, a, b;
	bool taken = repair || !messages[i].bare;
	char text[512];

	dialog_open(&data);
	data.gear.lim.repair = repair;
	len = as_data(text, p, n);
	dialog_run(&data, text, len, 0);
	assert_string_equal(dialog_codes(&data), taken ? UP "354 250 250 " : UP "354 550 250 ");
	assert_int_equal(data.nmsg, taken);
	for (unsigned k = 0; k < data.nmsg; k++) { /* never a bare one, never an end inside */
		const struct dialog_msg *m = &data.msg[k];

		assert_null(memmem(m->data, m->len, "\r\n.\r\n", 5));
		for (size_t j = 0; j < m->len; j++) {
			assert_true(m->data[j] != '\n' || m->data[j - 1] == '\r');
			assert_true(m->data[j] != '\r' || m->data[j + 1] == '\n');
		}
	}
	for (a = 0; a <= n; a++) {
		for (b = a; b <= n; b++) {
			const char *last, *rest;

			dialog_open(&bdat);
			bdat.gear.lim.repair = repair;
			len = in_chunks(text, p, n, a, b);
			dialog_run(&bdat, text, len, (a + b) % 3 == 0 ? 1 : (a + b) % 7);
			/* one of the three refuses, and the rest of them is out of order */
			last = dialog_codes(&bdat);
			assert_int_equal(strlen(last), strlen(UP) + 16);
			rest = strstr(last, "550 ");
			assert_true(taken ? rest == NULL : rest != NULL);
			assert_string_equal(last + strlen(last) - 4, "250 ");
			assert_false(bdat.srv.nopen > 0);
			same_messages(&data, &bdat);
			dialog_close(&bdat);
		}
	}
	dialog_close(&data);
}

static void same_as_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		one_message(i, false);
		one_message(i, true);
	}
}

/* ---- faults ---- */

static void faults_of_the_store(void **state)
{
	static const struct {
		size_t off; /* of the fault in struct dialog */
		const char *first,
		    *second; /* codes of the two chunks when it is there from then on */
	} row[] = {
	    {offsetof(struct dialog, fail_begin), "452 503 ", "250 250 "},
	    {offsetof(struct dialog, fail_write), "452 503 ", "250 452 "},
	    {offsetof(struct dialog, fail_commit), "250 452 ", "250 452 "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row) * 2; i++) {
		static struct dialog d;
		bool *fault = (bool *)((char *)&d + row[i / 2].off), second = i % 2 == 1;

		dialog_open(&d);
		dialog_connect(&d);
		*fault = !second;
		dialog_say(&d, S(HI ENV), 0);
		d.nout = 0;
		dialog_say(&d, S("BDAT 6\r\nQUIT\r\n"), 0);
		*fault = true;
		dialog_say(&d, S("BDAT 6 LAST\r\nQUIT\r\n"), 1);
		assert_string_equal(
		    dialog_codes(&d), second ? row[i / 2].second : row[i / 2].first);
		*fault = false;
		d.nout = 0;
		assert_int_equal(d.srv.nopen, 0);
		dialog_say(&d, S(AFTER), 0);
		assert_string_equal(dialog_codes(&d), AFTER_CODES);
		dialog_close(&d);
	}
}

/* The client goes away at each byte: no message unless all of the last chunk was there. */
static void clients_that_vanish(void **state)
{
	static const char text[] = HI ENV "BDAT 5\r\na\r\nb\rBDAT 0\r\nBDAT 4 LAST\r\n\nc\r\n";

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++) {
		static struct dialog d;

		for (unsigned hold = 0; hold < 2; hold++) {
			dialog_open(&d);
			d.hold = hold;
			dialog_connect(&d);
			dialog_say(&d, text, n, 0);
			dialog_hang_up(&d);
			dialog_answer(&d);
			assert_int_equal(d.srv.nsession, 0);
			assert_int_equal(d.nmsg, n == sizeof(text) - 1);
			assert_int_equal(d.begun, d.nmsg + d.aborted);
			dialog_close(&d);
		}
	}
}

static void stopping(void **state)
{
	static struct dialog d;

	(void)state;
	dialog_open(&d); /* between two chunks: the message may be finished */
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "BDAT 3\r\na\r\n"), 0);
	assert_string_equal(smtps_session_state(LIST_FIRST(&d.srv.sessions)->state), "chunks");
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_false(d.eof);
	dialog_say(&d, S("BDAT 3 LAST\r\nb\r\n" FROM), 0);
	assert_string_equal(dialog_codes(&d), UP "250 250 421 ");
	assert_true(d.eof && d.srv.over);
	assert_int_equal(d.queued, 1);
	dialog_close(&d);
	dialog_open(&d); /* while octets of a refused chunk are awaited */
	dialog_connect(&d);
	dialog_say(&d, S(HI "BDAT 99\r\na\r\n"), 0);
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	dialog_turns(&d, 5);
	assert_string_equal(dialog_codes(&d), "220 250 503 421 ");
	assert_true(d.eof);
	dialog_close(&d);
}

/* ---- limits ---- */

static void feed_until_closed(struct dialog *d, const char *p, size_t n, size_t times)
{
	for (size_t i = 0; i < times && !d->eof; i++) {
		dialog_say(d, p, n, 0);
		if (d->nout > sizeof(d->out) / 2)
			d->nout = 0;
	}
}

static void limits(void **state)
{
	static struct dialog d;
	static char big[1 << 17];

	(void)state;
	dialog_open(&d); /* refused at once, its octets awaited, and then all goes on */
	memset(big, 'x', sizeof(big));
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "BDAT 131072 LAST\r\n"), 0);
	assert_string_equal(dialog_codes(&d), UP "552 ");
	assert_non_null(strstr(d.out, "\r\n552 5.3.4 "));
	assert_string_equal(smtps_session_state(LIST_FIRST(&d.srv.sessions)->state), "skip");
	dialog_say(&d, big, sizeof(big), 0);
	dialog_say(&d, S(AFTER), 0);
	assert_string_equal(dialog_codes(&d), UP "552 " AFTER_CODES);
	dialog_close(&d);

	dialog_open(&d); /* dots are not counted; the bound itself is taken */
	memset(big, '.', 65534);
	memcpy(big + 65534, "\r\n", 2);
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "BDAT 65536 LAST\r\n"), 0);
	dialog_say(&d, big, 65536, 0);
	assert_string_equal(dialog_codes(&d), UP "250 ");
	assert_int_equal(d.msg[0].flags, META1_M_STUFFED);
	assert_int_equal(d.msg[0].len, d.msg[0].bytes + 1);
	dialog_close(&d);

	dialog_open(&d); /* hops, over chunks */
	d.gear.lim.hops = 2;
	dialog_run(&d,
	    S(HI ENV "BDAT 28\r\nReceived: 1\r\nReceived: 2\r\nReBDAT 9\r\nceived: 3BDAT "
		     "6\r\nQUIT\r\n" AFTER),
	    0);
	assert_string_equal(dialog_codes(&d), UP "250 554 503 503 503 503 250 250 250 ");
	dialog_close(&d);

	dialog_open(&d); /* tiny chunks */
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV), 0);
	d.nout = 0;
	for (size_t i = 0; i + 8 <= sizeof(big); i += 8)
		memcpy(big + i, "BDAT 0\r\n", 8);
	feed_until_closed(&d, big, 8 * 1000, 1);
	assert_false(d.eof);
	feed_until_closed(&d, big, 8, 1);
	assert_true(d.eof);
	assert_non_null(strstr(d.out, "\r\n421 4.7.0 Too many tiny"));
	dialog_close(&d);
	dialog_open(&d); /* outside of a transaction as well */
	dialog_connect(&d);
	feed_until_closed(&d, big, 8 * 1001, 1);
	assert_true(d.eof);
	dialog_close(&d);
}

static void endless(void **state)
{
	static struct dialog d;
	static char big[1 << 17];
	size_t sent = 0;

	(void)state;
	dialog_open(&d); /* message_size and 64 MiB more: then the session ends */
	memset(big, 'x', sizeof(big));
	dialog_connect(&d);
	dialog_say(&d, S(HI ENV "BDAT 9000000000000000000 LAST\r\n"), 0);
	while (!d.eof && sent < (size_t)70 << 20) {
		ssize_t n = send(d.client, big, sizeof(big), MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		dialog_turns(&d, 1);
		if (d.srv.nsession > 0)
			assert_true(evbuffer_get_length(
					conn_in(LIST_FIRST(&d.srv.sessions)->conn)) < 1 << 18);
	}
	assert_true(d.eof && sent >= (size_t)64 << 20);
	assert_string_equal(dialog_codes(&d), UP "552 421 ");
	dialog_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dialogs),
	    cmocka_unit_test(same_as_data),
	    cmocka_unit_test(faults_of_the_store),
	    cmocka_unit_test(clients_that_vanish),
	    cmocka_unit_test(stopping),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(endless),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
