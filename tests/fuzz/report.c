/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c -- fuzz target of REPORT, by which qmgr shows a report to the filters of an smtps, and
 *of the session that it begins, from both ends (core/smtps/report.c, core/qmgr/judge.c). The input:
 *a letter for who says what it likes, q  qmgr: a byte with what filters do, a byte of length and as
 *many bytes of id, then its words s  smtps: its words, cut in pieces by the first byte f  filters,
 *between a real qmgr and a real smtps: the byte as with q, then their texts Whatever it is, smtps
 *keeps nothing, asks nobody, and what goes back is whole; qmgr is told once what became of the
 *report; and both at once, what the one sends is what the other has.
 */
#include "report.h"
#include "../unit/smtps/dialog_chain.h"

#include "mail/addr.h"
#include <sys/socket.h>
#include <unistd.h>

#define SAY_MAX	   4000
#define STAGES_ALL 255u

struct in {
	const uint8_t *p;
	size_t n;
};

static uint8_t take(struct in *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* A byte of length, then as many, if there are. */
static struct meta1_buf word(struct in *in)
{
	size_t n = take(in);
	struct meta1_buf b = {in->p, n < in->n ? n : in->n};

	in->p += b.len;
	in->n -= b.len;
	return b;
}

static void settle(struct dialog *d)
{
	size_t before;
	unsigned quiet = 0;

	while (quiet < 6) {
		before = d->nout + d->eof;
		dialog_turns(d, 1);
		quiet = before == d->nout + d->eof ? quiet + 1 : 0;
	}
}

/* ---- what filters do ---- */

struct filters {
	struct dialog_chain chain;
	struct meta1_buf line[4];
	struct meta1_extent ext[2];
	struct meta1_pm_edit edit[4];
	char hold[256];
};

static const char *text_of(struct meta1_buf b, char *to, size_t size)
{
	snprintf(to, size, "%.*s", (int)b.len, b.len ? (const char *)b.data : "");
	return to;
}

/* An address such as edits may have: revise_env.c takes no other. */
static int address(struct meta1_buf b, bool null)
{
	char path[400];
	struct addr a;
	size_t used;
	struct meta1_err err;
	int n = snprintf(path, sizeof(path), "<%.*s>", (int)b.len, (const char *)b.data);

	if (b.len == 0)
		return null;
	return !memchr(b.data, '\0', b.len) &&
	       addr_path(path, (size_t)n, 0, &a, &used, &err) == 0 && used == (size_t)n &&
	       buf_eq(a.whole, b);
}

static void envelope(struct filters *f, struct in *in)
{
	static const uint32_t kinds[] = {META1_PM_ADD_RCPT, META1_PM_DEL_RCPT, META1_PM_SENDER};
	struct smtps_answer *a = &f->chain.answer;

	for (unsigned i = 0; i < 4 && in->n > 0; i++) {
		uint32_t kind = kinds[take(in) % 3];
		struct meta1_buf addr = word(in);

		if (address(addr, kind == META1_PM_SENDER))
			f->edit[a->nedit++] = (struct meta1_pm_edit){.kind = kind, .value = addr};
	}
	a->edit = f->edit;
}

/* how: 1 refused, 2 thrown away, 4 held, 8 another envelope, 16 another content, 32 at MAIL, 64
 * late. */
static void filters_do(struct filters *f, unsigned how, struct in *in)
{
	struct smtps_answer *a = &f->chain.answer;

	memset(f, 0, sizeof(*f));
	f->chain.wants = STAGES_ALL;
	f->chain.at = how & 32 ? META1_PM_MAIL : META1_PM_END;
	a->by = "f";
	if (how & 1) {
		a->action = META1_PM_REFUSE;
		a->smtp = 400 + take(in);
		for (unsigned n = take(in) % 5; a->nline < n && a->nline < 4; a->nline++)
			f->line[a->nline] = word(in);
		a->line = f->line;
	} else if (how & 2) {
		a->action = META1_PM_DISCARD;
	} else if (!(how & 32)) {
		if (how & 4)
			a->hold = text_of(word(in), f->hold, sizeof(f->hold));
		if (how & 8)
			envelope(f, in);
		for (unsigned i = 0; how & 16 && i < 2; i++) {
			struct meta1_buf b = word(in);

			f->ext[a->nextent] =
			    (struct meta1_extent){.mem = b.data, .len = b.len, .fd = -1};
			a->nextent += b.len > 0;
			a->extent = f->ext;
		}
	}
}

/* ---- promises ---- */

/* DATA form: lines that end with CRLF, none of them the final dot, no other CR or LF. */
static void data_form(const char *p, size_t n)
{
	must(n == 0 || (n >= 2 && memcmp(p + n - 2, "\r\n", 2) == 0));
	must(!memmem(p, n, "\r\n.\r\n", 5) && (n < 3 || memcmp(p, ".\r\n", 3) != 0));
	for (size_t i = 0; i < n; i++) {
		must(p[i] != '\n' || (i > 0 && p[i - 1] == '\r'));
		must(p[i] != '\r' || (i + 1 < n && p[i + 1] == '\n'));
	}
}

/* All that smtps said: whole replies, and behind "report FLAGS BYTES OCTETS" as many octets. */
static void replies(const char *p, size_t n)
{
	unsigned long long flags, bytes, octets;
	unsigned rcpts = 0;

	for (const char *end; n > 0; n -= (size_t)(end + 2 - p), p = end + 2) {
		end = memmem(p, n, "\r\n", 2);
		must(end && end - p >= 4 && (p[3] == ' ' || p[3] == '-'));
		for (const char *c = p; c < end; c++)
			must((unsigned char)*c >= ' ' && *c != 127);
		rcpts += strncmp(p, "250-RCPT ", 9) == 0;
		if (sscanf(p, "250 2.0.0 report %llu %llu %llu", &flags, &bytes, &octets) != 3)
			continue;
		must(rcpts > 0 && octets <= n - (size_t)(end + 2 - p));
		data_form(end + 2, octets);
		end += octets;
		rcpts = 0;
	}
}

static void kept_nothing(const struct dialog *d)
{
	must(d->begun == 0 && d->nmsg == 0 && d->queued == 0 && d->asked == 0 && d->named == 0);
}

/* ---- who says what it likes ---- */

static void by_qmgr(struct dialog *d, struct filters *f, struct in *in)
{
	unsigned how = take(in);
	struct meta1_buf id = word(in);
	size_t sent = 0;

	filters_do(f, how, in);
	dialog_chain(d, &f->chain);
	dialog_report(d, id);
	if (d->client < 0)
		return;
	while (sent < in->n && !d->eof) {
		ssize_t n =
		    send(d->client, in->p + sent, in->n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			break;
		sent += (size_t)n;
		settle(d);
	}
	shutdown(d->client, SHUT_WR);
	settle(d);
	if (d->nout + 1 < sizeof(d->out)) /* the player keeps so many */
		replies(d->out, d->nout);
}

static void by_smtps(struct dialog *d, struct in *in)
{
	size_t piece = 1 + take(in), n;
	struct report_told told;
	int fd = report_start(d->role.loop, &told);

	for (; in->n > 0 && told.calls == 0; in->p += n, in->n -= n) {
		n = in->n < piece ? in->n : piece;
		if (write(fd, in->p, n) != (ssize_t)n)
			break;
		dialog_turns(d, 2);
	}
	close(fd);
	dialog_turns(d, 4);
	report_stop();
	free(told.text);
}

static void by_filters(struct dialog *d, struct filters *f, struct in *in)
{
	unsigned how = take(in);
	struct report_told told;
	int fd;

	filters_do(f, how, in);
	dialog_chain(d, &f->chain);
	fd = report_start(d->role.loop, &told);
	dialog_report_fd(d, buf_str("S0000000000000001AA-1"), fd);
	for (unsigned i = 0; i < 200 && told.calls == 0; i++)
		dialog_turns(d, 1);
	must(told.calls == 1);
	must(!told.taken || !(how & 3));
	if (told.taken) {
		data_form(told.text, told.len);
		must(how & 16 || (told.len == strlen(report_text) &&
				     memcmp(told.text, report_text, told.len) == 0));
		must(how & 8 || told.nrcpt == 1);
	}
	free(told.text);
	report_stop();
	dialog_turns(d, 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct dialog d;
	static struct filters f;
	static int quiet;
	struct in in = {data, n};
	uint8_t who;

	if (n < 2 || n > SAY_MAX)
		return 0;
	if (!quiet++)
		dialog_quiet();
	who = take(&in);
	dialog_open(&d);
	if (who == 's')
		by_smtps(&d, &in);
	else if (who == 'f')
		by_filters(&d, &f, &in);
	else
		by_qmgr(&d, &f, &in);
	kept_nothing(&d);
	dialog_close(&d);
	dialog_chain_free(&f.chain);
	return 0;
}
