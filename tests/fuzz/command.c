/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.c -- fuzz target of a whole session of core/smtps, with the players of
 * tests/unit/smtps/dialog.h. The input: a byte of faults to force (its lowest six bits, so
 * that '@' is none), a byte for the size of pieces, then all that a client says.
 * Every reply is whole; nothing is kept with a bare CR or LF, an end in its middle, or a byte
 * in its envelope that could leave it; cut in pieces the same is answered and kept.
 */
#include "../unit/smtps/dialog.h"
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#define SAY_MAX 2600 /* no more transactions than the players can keep */

enum { FAIL_BEGIN = 1, FAIL_WRITE = 2, FAIL_COMMIT = 4, HOLD = 8, MORE = 16, DOWN = 32 };

static void quiet_log(void)
{
	const struct log_conf log = {.ident = "fuzz", .file = "/dev/null", .level = LOG_L_DEBUG};
	static bool done;
	struct meta1_err err;

	if (!done)
		must(log_open(NULL, &log, &err) >= 0);
	done = true;
}

/* Until nothing moves any more. */
static void settle(struct dialog *d)
{
	size_t before;
	unsigned quiet = 0;

	while (quiet < 6) {
		before = d->nout + d->nmsg + d->asked + d->begun + d->aborted + d->eof;
		dialog_turns(d, 1);
		quiet = before == d->nout + d->nmsg + d->asked + d->begun + d->aborted + d->eof
			    ? quiet + 1
			    : 0;
	}
}

static void say(struct dialog *d, const uint8_t *p, size_t n, size_t piece)
{
	for (size_t at = 0, len; at < n && !d->eof; at += len) {
		len = n - at < piece ? n - at : piece;
		if (send(d->client, p + at, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
			break;
		dialog_turns(d, 2);
	}
	settle(d);
	shutdown(d->client, SHUT_WR);
	for (unsigned i = 0; d->srv.nsession > 0;
	     i++) { /* what hangs is answered, the rest goes on */
		dialog_answer(d);
		settle(d);
		must(i < SAY_MAX / 10);
	}
	dialog_hang_up(d);
}

static void run(struct dialog *d, unsigned faults, const uint8_t *p, size_t n, size_t piece)
{
	dialog_open(d);
	d->fail_begin = (faults & FAIL_BEGIN) != 0;
	d->fail_write = (faults & FAIL_WRITE) != 0;
	d->fail_commit = (faults & FAIL_COMMIT) != 0;
	d->hold = (faults & HOLD) != 0;
	d->more = faults & MORE ? 2 : 0;
	d->qmgr_down = (faults & DOWN) != 0;
	dialog_connect(d);
	say(d, p, n, piece);
}

static void envelope(const char *text)
{
	for (; *text; text++)
		must((unsigned char)*text >= 32 && *text != 127);
}

static void kept(const struct dialog *d)
{
	for (unsigned i = 0; i < d->nmsg; i++) {
		const struct dialog_msg *m = &d->msg[i];

		envelope(m->from);
		envelope(m->rcpts);
		must(m->rcpts[0] != '\0' && m->len > 0 && memcmp(m->data, "Received: ", 10) == 0);
		must(m->len < 2 || memcmp(m->data + m->len - 2, "\r\n", 2) == 0);
		must(memmem(m->data, m->len, "\r\n.\r\n", 5) == NULL);
		for (size_t k = 0; k < m->len; k++) {
			must(m->data[k] != '\n' || (k > 0 && m->data[k - 1] == '\r'));
			must(m->data[k] != '\r' || (k + 1 < m->len && m->data[k + 1] == '\n'));
		}
	}
	must(d->qmgr_down || d->queued == d->nmsg);
}

static void same(const struct dialog *a, const struct dialog *b)
{
	must(strcmp(a->out, b->out) == 0 && a->eof == b->eof);
	must(a->nmsg == b->nmsg);
	for (unsigned i = 0; i < a->nmsg; i++) {
		must(strcmp(a->msg[i].from, b->msg[i].from) == 0);
		must(strcmp(a->msg[i].rcpts, b->msg[i].rcpts) == 0);
		must(a->msg[i].len == b->msg[i].len);
		must(memcmp(a->msg[i].data, b->msg[i].data, a->msg[i].len) == 0);
	}
}

/* The players keep so many bytes of replies; then the client closes. */
static bool overran(const struct dialog *d)
{
	return d->nout + 1 >= sizeof(d->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct dialog whole, pieces;
	unsigned faults;

	if (n < 2 || n > SAY_MAX)
		return 0;
	quiet_log();
	faults = data[0] & 63;
	run(&whole, faults, data + 2, n - 2, n);
	run(&pieces, faults, data + 2, n - 2, 1 + data[1] % 64);
	dialog_codes(&whole); /* looks at each line */
	kept(&whole);
	kept(&pieces);
	/* When a write fails, or an answer comes, depends on how the bytes came. */
	if (!(faults & (FAIL_WRITE | HOLD)) && !overran(&whole) && !overran(&pieces))
		same(&whole, &pieces);
	dialog_close(&pieces);
	dialog_close(&whole);
	return 0;
}
