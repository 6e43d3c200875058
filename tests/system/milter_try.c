/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_try.c -- a filter of libmilter that does what its command line says and writes down what
 * it is told: the reference for pmilter_milter.
 *
 *   -p unix:/path         where it listens
 *   -l FILE               one line a callback: its name, then the arguments, blanks and what is
 *                         no text as \xNN
 *   -f BITS -n BITS       actions (SMFIF_), steps and habits (SMFIP_) that it asks for; all that
 *                         is offered without
 *   -m STAGE:NAMES        macros that it asks for at a stage (0 connect ... 6 end of header)
 *   -g NAMES              macros that it writes down with each callback
 *   -s STAGE[/PART]=DO    what it does there (where an argument has PART): accept, reject,
 *                         tempfail, discard, skip, noreply, hang, exit, or a reply "550 5.7.1 No"
 *                         with "|" between lines
 *   -e EDIT               at the end of a message, in their order: add:N:V ins:I:N:V chg:I:N:V
 *                         rcpt:A par:A:P del:A from:A[:P] body:TEXT hold:WHY progress:N sleep:S
 */
#include <errno.h>
#include <fcntl.h>
#include <libmilter/mfapi.h>
#include <libmilter/mfdef.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define MAX 32

static int log_fd = -1;
static unsigned long actions, steps;
static int actions_said, steps_said;
static char *edit[MAX], *on[MAX], *macro[MAX], *shown;
static int nedit, non, nmacro;

static void put(char *out, size_t *at, size_t size, const char *text)
{
	for (; *text && *at + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c > ' ' && c < 127 && c != '\\')
			out[(*at)++] = (char)c;
		else
			*at += (size_t)sprintf(out + *at, "\\x%02x", c);
	}
}

/* One line: event, arguments until NULL, macros. */
static void note(SMFICTX *ctx, const char *event, ...)
{
	static __thread char out[1 << 18];
	size_t at = 0;
	const char *arg;
	va_list ap;

	put(out, &at, sizeof(out), event);
	va_start(ap, event);
	while ((arg = va_arg(ap, const char *))) {
		out[at++] = ' ';
		put(out, &at, sizeof(out), *arg ? arg : "-");
	}
	va_end(ap);
	if (shown && ctx) {
		char names[1024], *save = NULL;

		snprintf(names, sizeof(names), "%s", shown);
		for (char *n = strtok_r(names, " ", &save); n; n = strtok_r(NULL, " ", &save)) {
			const char *v = smfi_getsymval(ctx, n);

			if (!v)
				continue;
			out[at++] = ' ';
			put(out, &at, sizeof(out), n);
			out[at++] = '=';
			put(out, &at, sizeof(out), v);
		}
	}
	out[at++] = '\n';
	if (log_fd >= 0 && write(log_fd, out, at) < 0)
		perror("log");
}

static sfsistat reply(SMFICTX *ctx, const char *text)
{
	char copy[2048], code[4], dsn[16] = "", *line[33] = {NULL}, *save = NULL;
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	snprintf(code, sizeof(code), "%.3s", copy);
	sscanf(copy + 4, "%15s", dsn);
	for (char *l = strtok_r(copy + 4 + strlen(dsn), "|", &save); l && n < 32;
	     l = strtok_r(NULL, "|", &save))
		line[n++] = l + (*l == ' ');
	/* the list ends at the first NULL */
	if (smfi_setmlreply(ctx, code, dsn, line[0], line[1], line[2], line[3], NULL) != MI_SUCCESS)
		note(NULL, "setreply failed", NULL);
	return *code == '4' ? SMFIS_TEMPFAIL : SMFIS_REJECT;
}

static sfsistat act(SMFICTX *ctx, const char *stage, const char *arg)
{
	static const struct {
		const char *word;
		sfsistat st;
	} row[] = {{"continue", SMFIS_CONTINUE}, {"accept", SMFIS_ACCEPT}, {"reject", SMFIS_REJECT},
	    {"tempfail", SMFIS_TEMPFAIL}, {"discard", SMFIS_DISCARD}, {"skip", SMFIS_SKIP},
	    {"noreply", SMFIS_NOREPLY}};

	for (int i = 0; i < non; i++) {
		const char *eq = strchr(on[i], '='), *part = strchr(on[i], '/');
		size_t n = (size_t)((part && part < eq ? part : eq) - on[i]);
		char want[200] = "";

		if (strlen(stage) != n || strncmp(stage, on[i], n) != 0)
			continue;
		if (part && part < eq)
			snprintf(want, sizeof(want), "%.*s", (int)(eq - part - 1), part + 1);
		if (!strstr(arg, want))
			continue;
		for (size_t k = 0; k < sizeof(row) / sizeof(row[0]); k++)
			if (strcmp(eq + 1, row[k].word) == 0)
				return row[k].st;
		if (strcmp(eq + 1, "hang") == 0)
			pause();
		if (strcmp(eq + 1, "exit") == 0)
			_exit(0);
		return reply(ctx, eq + 1);
	}
	return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *sa)
{
	note(ctx, "connect", name, sa ? sa->sa_family == AF_INET6 ? "6" : "4" : "none", NULL);
	return act(ctx, "connect", name);
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	note(ctx, "helo", name, NULL);
	return act(ctx, "helo", name);
}

static sfsistat on_path(SMFICTX *ctx, const char *what, char **arg)
{
	char all[1024] = "";

	for (int i = 1; arg[i]; i++)
		snprintf(
		    all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 1 ? " " : "", arg[i]);
	note(ctx, what, arg[0], all, NULL);
	return act(ctx, what, arg[0]);
}

static sfsistat on_mail(SMFICTX *ctx, char **arg)
{
	return on_path(ctx, "mail", arg);
}

static sfsistat on_rcpt(SMFICTX *ctx, char **arg)
{
	return on_path(ctx, "rcpt", arg);
}

static sfsistat on_data(SMFICTX *ctx)
{
	note(ctx, "data", NULL);
	return act(ctx, "data", "");
}

static sfsistat on_unknown(SMFICTX *ctx, const char *line)
{
	note(ctx, "unknown", line, NULL);
	return act(ctx, "unknown", line);
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	note(ctx, "header", name, value, NULL);
	return act(ctx, "header", name);
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	note(ctx, "eoh", NULL);
	return act(ctx, "eoh", "");
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *p, size_t n)
{
	char text[64];
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + p[i];
	snprintf(text, sizeof(text), "%zu:%08x", n, sum);
	note(ctx, "body", text, NULL);
	return act(ctx, "body", "");
}

static int do_edit(SMFICTX *ctx, const char *what)
{
	char copy[4096], *f[4] = {NULL};
	int n = 0, max;

	snprintf(copy, sizeof(copy), "%s", what);
	/* the last part may have colons */
	max = strncmp(what, "ins", 3) == 0 || strncmp(what, "chg", 3) == 0   ? 4
	      : strncmp(what, "add", 3) == 0 || strncmp(what, "par", 3) == 0 ? 3
	      : strncmp(what, "from", 4) == 0				     ? 3
									     : 2;
	for (char *p = copy; p && n < max; n++) {
		f[n] = p;
		p = n + 1 < max ? strchr(p, ':') : NULL;
		if (p)
			*p++ = '\0';
	}
	if (strcmp(f[0], "add") == 0)
		return smfi_addheader(ctx, f[1], f[2]);
	if (strcmp(f[0], "ins") == 0)
		return smfi_insheader(ctx, atoi(f[1]), f[2], f[3]);
	if (strcmp(f[0], "chg") == 0)
		return smfi_chgheader(ctx, f[2], atoi(f[1]), f[3]);
	if (strcmp(f[0], "rcpt") == 0)
		return smfi_addrcpt(ctx, f[1]);
	if (strcmp(f[0], "par") == 0)
		return smfi_addrcpt_par(ctx, f[1], f[2]);
	if (strcmp(f[0], "del") == 0)
		return smfi_delrcpt(ctx, f[1]);
	if (strcmp(f[0], "from") == 0)
		return smfi_chgfrom(ctx, f[1], f[2]);
	if (strcmp(f[0], "body") == 0)
		return smfi_replacebody(ctx, (unsigned char *)f[1], (int)strlen(f[1]));
	if (strcmp(f[0], "hold") == 0)
		return smfi_quarantine(ctx, f[1]);
	if (strcmp(f[0], "sleep") == 0)
		sleep((unsigned)atoi(f[1]));
	for (int i = 0; strcmp(f[0], "progress") == 0 && i < atoi(f[1]); i++)
		smfi_progress(ctx);
	return MI_SUCCESS;
}

static sfsistat on_eom(SMFICTX *ctx)
{
	note(ctx, "eom", NULL);
	for (int i = 0; i < nedit; i++)
		if (do_edit(ctx, edit[i]) != MI_SUCCESS)
			note(NULL, "edit failed", edit[i], NULL);
	return act(ctx, "eom", "");
}

static sfsistat on_abort(SMFICTX *ctx)
{
	note(ctx, "abort", NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	note(NULL, "close", NULL);
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
    unsigned long f3, unsigned long *pf0, unsigned long *pf1, unsigned long *pf2,
    unsigned long *pf3)
{
	char text[64];

	snprintf(text, sizeof(text), "%lx %lx", f0, f1);
	note(NULL, "negotiate", text, NULL);
	(void)f2;
	(void)f3;
	*pf0 = actions_said ? actions : f0;
	*pf1 = steps_said ? steps : 0;
	*pf2 = *pf3 = 0;
	for (int i = 0; i < nmacro; i++)
		if (smfi_setsymlist(ctx, macro[i][0] - '0', macro[i] + 2) != MI_SUCCESS)
			note(NULL, "setsymlist failed", NULL);
	return SMFIS_CONTINUE;
}

static struct smfiDesc desc = {.xxfi_name = "try",
    .xxfi_version = SMFI_VERSION,
    .xxfi_flags = 0x1ff,
    .xxfi_connect = on_connect,
    .xxfi_helo = on_helo,
    .xxfi_envfrom = on_mail,
    .xxfi_envrcpt = on_rcpt,
    .xxfi_header = on_header,
    .xxfi_eoh = on_eoh,
    .xxfi_body = on_body,
    .xxfi_eom = on_eom,
    .xxfi_abort = on_abort,
    .xxfi_close = on_close,
    .xxfi_unknown = on_unknown,
    .xxfi_data = on_data,
    .xxfi_negotiate = on_negotiate};

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "p:l:f:n:m:g:s:e:")) != -1) {
		if (c == 'p' && smfi_setconn(optarg) != MI_SUCCESS)
			return EX_USAGE;
		if (c == 'l')
			log_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (c == 'f')
			actions = strtoul(optarg, NULL, 16), actions_said = 1;
		if (c == 'n')
			steps = strtoul(optarg, NULL, 16), steps_said = 1;
		if (c == 'm' && nmacro < MAX)
			macro[nmacro++] = optarg;
		if (c == 'g')
			shown = optarg;
		if (c == 's' && non < MAX)
			on[non++] = optarg;
		if (c == 'e' && nedit < MAX)
			edit[nedit++] = optarg;
		if (c == '?')
			return EX_USAGE;
	}
	if (smfi_register(desc) != MI_SUCCESS || smfi_opensocket(1) != MI_SUCCESS)
		return EX_UNAVAILABLE;
	return smfi_main() == MI_SUCCESS ? 0 : EX_SOFTWARE;
}
