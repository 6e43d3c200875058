/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stage.c -- the players of dialog.h, led from outside: tests/system/smtp_model.py says what to
 * force and what the client says, and compares what came of it with its own idea.
 *
 * Comes from standard input, one order a line:
 *	open NAME=N ...	 a server with these limits, a client connects
 *	set NAME=N	 force a fault, or end it
 *	say N PIECE	 N bytes follow; sent in pieces of so many (0: at once)
 *	close		 the client hangs up, all must be over
 * Goes to standard output: after open and say "R N EOF" and N bytes of replies; after close
 * counts, what was stored, every metric that is not 0, and "E".
 * Owns one session at a time. On failure: a line on standard error, exit status 1.
 */
#include "dialog_chain.h"
#include "lib/netlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct dialog d;
static struct dialog_chain filters; /* asked at each stage of a mail, and content with it */
static unsigned drained;	    /* credits taken away by set credits=0 */

static void die(const char *what, const char *line)
{
	fprintf(stderr, "stage: %s: %s\n", what, line);
	exit(1);
}

struct limit {
	const char *name;
	int64_t *to;
};

static void limit(const char *name, int64_t n)
{
	struct smtps_limits *lim = &d.gear.lim;
	const struct limit table[] = {{"size", &lim->message_size}, {"hops", &lim->hops},
	    {"rcpts", &lim->rcpts_per_tx}, {"session_rcpts", &lim->rcpts_per_session},
	    {"transactions", &lim->transactions}, {"bad", &lim->bad_commands},
	    {"nop", &lim->nop_commands}, {"invalid", &lim->invalid_addresses}};
	size_t i;

	for (i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(name, table[i].name) == 0)
			*table[i].to = n;
	if (strcmp(name, "repair") == 0)
		lim->repair = n != 0;
	if (strcmp(name, "filter") == 0 && n != 0)
		dialog_chain(&d, &filters);
	if (strcmp(name, "vrfy") == 0)
		lim->vrfy = n != 0;
}

static void credits(int64_t n)
{
	uint32_t epoch;

	if (n == 0) {
		for (; smtps_intake_take(d.srv.intake, &epoch); drained++)
			d.granted--;
	} else {
		smtps_intake_grant(d.srv.intake, drained);
		d.granted += drained;
		drained = 0;
	}
}

static void qmgr(int64_t up)
{
	if (up == !d.qmgr_down)
		return;
	if (!up) {
		d.qmgr_down = d.qmgr_was_down = true;
		smtps_intake_down(d.srv.intake);
	} else {
		d.qmgr_down = false;
		smtps_intake_up(d.srv.intake);
		smtps_intake_grant(d.srv.intake, 1000);
	}
	drained = 0;
}

static void force(const char *name, int64_t n)
{
	if (strcmp(name, "credits") == 0)
		credits(n);
	else if (strcmp(name, "qmgr") == 0)
		qmgr(n);
	else if (strcmp(name, "smar") == 0)
		d.smar_down = n == 0;
	else if (strcmp(name, "begin") == 0)
		d.fail_begin = n == 0;
	else if (strcmp(name, "write") == 0)
		d.fail_write = n == 0;
	else if (strcmp(name, "commit") == 0)
		d.fail_commit = n == 0;
	else if (strcmp(name, "hold") == 0)
		d.hold = d.hold_smar = n != 0;
	else if (strcmp(name, "more") == 0)
		d.more = (unsigned)n;
	else
		die("unknown fault", name);
}

/* NAME=N words of a line. */
static void words(char *line, void (*fn)(const char *, int64_t))
{
	char *save, *w;

	for (w = strtok_r(line, " \n", &save); w != NULL; w = strtok_r(NULL, " \n", &save)) {
		char *eq = strchr(w, '=');

		if (eq == NULL)
			die("no value", w);
		*eq = '\0';
		fn(w, atoll(eq + 1));
	}
}

static unsigned progress(void)
{
	return (unsigned)d.nout + d.nmsg + d.asked + d.begun + d.aborted + d.eof;
}

/* Until nothing moves any more, with what hangs answered. */
static void settle(void)
{
	unsigned quiet = 0, before;

	while (quiet < 4) {
		before = progress();
		dialog_turns(&d, 1);
		quiet = before == progress() ? quiet + 1 : 0;
		if (quiet == 4 && d.hold) {
			dialog_answer(&d);
			quiet = before == progress() ? quiet : 0;
		}
	}
}

static void tell(void)
{
	printf("R %zu %d\n", d.nout, d.eof);
	fwrite(d.out, 1, d.nout, stdout);
	d.nout = 0;
}

static void say(const char *line)
{
	size_t n = 0, piece = 0, at = 0;
	char *text;

	if (sscanf(line, "%zu %zu", &n, &piece) != 2 || (text = malloc(n + 1)) == NULL)
		die("bad say", line);
	if (fread(text, 1, n, stdin) != n)
		die("short input", line);
	while (at < n && !d.eof) {
		size_t len = piece == 0 || piece > n - at ? n - at : piece;
		ssize_t sent = send(d.client, text + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			at += (size_t)sent;
		dialog_turns(&d, 2);
		if (sent <= 0)
			settle();
	}
	settle();
	tell();
	free(text);
}

static void over(void)
{
	const struct metric *m;

	dialog_hang_up(&d);
	printf("C begun=%u aborted=%u asked=%u queued=%u open=%u mail=%u rcpt=%u data=%u end=%u "
	       "resets=%u\n",
	    d.begun, d.aborted, d.asked, d.queued, d.srv.nopen + d.srv.nsession, filters.asked[2],
	    filters.asked[3], filters.asked[4], filters.asked[5], filters.resets);
	dialog_chain_free(&filters);
	for (unsigned i = 0; i < d.nmsg; i++) {
		const struct dialog_msg *k = &d.msg[i];

		printf("M %zu %u <%s> %s\n", k->len, k->flags, k->from, k->rcpts);
		fwrite(k->data, 1, k->len, stdout);
	}
	dialog_close(&d);
	for (m = metric_first(); m != NULL; m = m->next)
		if (m->value != 0)
			printf("N %s %lld\n", m->name, (long long)m->value);
	printf("E\n");
	fflush(stdout);
}

int main(void)
{
	const struct log_conf log = {.ident = "stage", .file = "/dev/null", .level = LOG_L_DEBUG};
	const char *const words_trusted[] = {"192.0.2.1", NULL};
	struct meta1_err err;
	struct netlist *trusted;
	char line[1024];

	if (log_open(NULL, &log, &err) < 0)
		die("log", err.text);
	trusted = netlist_new(words_trusted);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (strncmp(line, "open ", 5) == 0) {
			dialog_open(&d);
			filters = (struct dialog_chain){
			    .wants = META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END};
			d.gear.lim.xclient = strstr(line, "xclient=1") != NULL ? trusted : NULL;
			d.gear.lim.flags |= SMTPS_F_PRDR;
			drained = 0;
			words(line + 5, limit);
			dialog_connect(&d);
			tell();
		} else if (strncmp(line, "set ", 4) == 0) {
			words(line + 4, force);
		} else if (strncmp(line, "say ", 4) == 0) {
			say(line + 4);
		} else if (strcmp(line, "close\n") == 0) {
			over();
		} else {
			die("unknown order", line);
		}
	}
	netlist_free(&trusted);
	return 0;
}
