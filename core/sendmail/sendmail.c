/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sendmail.c -- main(): from a command line and standard input to a mail that smtps has taken.
 *
 * Comes from: cron, PHP, shells. Goes to: the files in sendmail.h, in their order.
 * Owns the envelope. On failure: one line on standard error, a status of sysexits.h; then smtps
 * has nothing of the mail.
 */
#include "sendmail/sendmail.h"

#include "mail/xtext.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define MAILNAME  "/etc/mailname"
#define ENVID_MAX XTEXT_ENVID_MAX

int sendmail_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("sendmail: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* ---- the envelope ---- */

/* With its domain, and as SMTP has it. */
static int complete(const struct sendmail_envelope *env, const char *addr, unsigned flags,
    char *out, size_t size, bool *utf8, struct meta1_err *err)
{
	struct addr a;
	size_t used;
	char path[ADDR_PATH_MAX + SENDMAIL_NAME_MAX + 4];
	const char *at = strrchr(addr, '@'), *quote = strrchr(addr, '"');
	bool domain = at && (!quote || at > quote);

	snprintf(path, sizeof(path), "<%s%s%s>", addr, *addr && !domain ? "@" : "",
	    *addr && !domain ? env->domain : "");
	if (addr_path(path, strlen(path), flags, &a, &used, err) < 0)
		return -1;
	if (used != strlen(path) || a.whole.len >= size)
		return err_set(err, "%s: not an address", addr);
	str_copy(out, a.whole.len + 1, a.whole.data);
	*utf8 |= a.utf8;
	return 0;
}

int sendmail_rcpt_add(struct sendmail_envelope *env, const char *addr, struct meta1_err *err)
{
	char whole[ADDR_PATH_MAX + 1];
	struct sendmail_rcpt *r;

	if (complete(env, addr, 0, whole, sizeof(whole), &env->utf8, err) < 0)
		return -1;
	HASH_FIND_STR(env->seen, whole, r);
	if (r)
		return 0;
	if (env->nrcpt == SENDMAIL_RCPTS_MAX)
		return err_set(err, "more than %u recipients", SENDMAIL_RCPTS_MAX);
	r = base_alloc(sizeof(*r) + strlen(whole) + 1);
	str_copy(r->addr, strlen(whole) + 1, whole);
	HASH_ADD_STR(env->seen, addr, r);
	*env->last = r;
	env->last = &r->next;
	env->nrcpt++;
	return 0;
}

static void envelope_free(struct sendmail_envelope *env)
{
	HASH_CLEAR(hh, env->seen);
	while (env->first) {
		struct sendmail_rcpt *r = env->first;

		env->first = r->next;
		free(r);
	}
}

struct named {
	struct sendmail_envelope *env;
	struct meta1_err *err;
	unsigned n;
};

static int recipient(void *arg, const char *addr, bool domain, size_t at)
{
	struct named *w = arg;

	(void)domain, (void)at;
	return sendmail_rcpt_add(w->env, addr, w->err);
}

static int sender(void *arg, const char *addr, bool domain, size_t at)
{
	struct named *w = arg;
	bool utf8 = false;

	(void)domain, (void)at;
	if (w->n++ > 0)
		return err_set(w->err, "more than one address");
	if (complete(
		w->env, addr, ADDR_NULL, w->env->sender, sizeof(w->env->sender), &utf8, w->err) < 0)
		return -1;
	w->env->utf8 |= utf8;
	return 0;
}

/* What stands on a command line is one line. */
static bool one_line(const char *text)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			return false;
	return true;
}

/* -f, or who calls. */
static int find_sender(struct sendmail_envelope *env, const char *said)
{
	const struct passwd *pw = said ? NULL : getpwuid(getuid());
	struct meta1_err err;
	struct named w = {env, &err, 0};
	const char *text = said ? said : pw ? pw->pw_name : NULL;

	if (!text)
		return sendmail_fail(
		    EX_NOUSER, "user %u has no name here; say who sends by -f", (unsigned)getuid());
	if (!one_line(text))
		return sendmail_fail(EX_DATAERR, "sender: a control byte; nothing was sent");
	if (!*text)
		return 0; /* -f '': a mail without a sender */
	if (sendmail_addresses(text, strlen(text), sender, &w, &err) < 0)
		return sendmail_fail(EX_DATAERR, "sender: %s; nothing was sent", err.text);
	return w.n == 1 ? 0 : sendmail_fail(EX_DATAERR, "sender: no address; nothing was sent");
}

static int find_recipients(
    struct sendmail_envelope *env, const struct sendmail_options *o, struct sendmail_header *h)
{
	struct meta1_err err;
	struct named w = {env, &err, 0};

	for (int i = 0; i < o->nrcpt; i++) {
		if (!one_line(o->rcpt[i]))
			return sendmail_fail(
			    EX_DATAERR, "recipient: a control byte; nothing was sent");
		if (sendmail_addresses(o->rcpt[i], strlen(o->rcpt[i]), recipient, &w, &err) < 0)
			return sendmail_fail(
			    EX_DATAERR, "recipient: %s; nothing was sent", err.text);
	}
	if (o->from_header) {
		int rc = sendmail_header_rcpts(h, env);

		if (rc != 0)
			return rc;
	}
	if (env->nrcpt > 0)
		return 0;
	return sendmail_fail(EX_DATAERR, "%s; nothing was sent",
	    o->from_header ? "no recipient in To, Cc or Bcc" : "no recipient given");
}

/* The domain of addresses that have none: /etc/mailname, or the name of the server. */
static void find_domain(char *out, size_t size, const char *server)
{
	char line[SENDMAIL_NAME_MAX] = "";
	FILE *f = fopen(MAILNAME, "re");

	if (f) {
		if (fgets(line, sizeof(line), f))
			line[strcspn(line, " \t\r\n")] = '\0';
		fclose(f);
	}
	str_copy(out, size, *line && addr_domain_ok(buf_str(line)) ? line : server);
}

/* ---- the transaction ---- */

static void xtext(char *out, const char *in)
{
	for (; *in; in++) {
		if (*in == '+' || *in == '=' || *in == ' ')
			out += sprintf(out, "+%02X", (unsigned)*in);
		else
			*out++ = *in;
	}
	*out = '\0';
}

static int say_mail(struct sendmail_server *s, const struct sendmail_options *o,
    const struct sendmail_envelope *env, bool eight)
{
	char line[1536], id[ENVID_MAX * 3 + 1];
	const char *body = "";
	int n;

	if (env->utf8 && !(s->caps & CAP_SMTPUTF8))
		return sendmail_fail(EX_UNAVAILABLE,
		    "%s takes no addresses beyond ASCII; nothing was sent", s->where);
	if (s->caps & CAP_8BITMIME)
		body = eight ? " BODY=8BITMIME" : " BODY=7BIT";
	n = snprintf(line, sizeof(line), "MAIL FROM:<%s>%s%s", env->sender, body,
	    env->utf8 ? " SMTPUTF8" : "");
	if (s->caps & CAP_DSN && o->ret)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " RET=%s", o->ret);
	if (s->caps & CAP_DSN && o->envid && *o->envid) {
		if (strlen(o->envid) <= ENVID_MAX)
			xtext(id, o->envid);
		if (strlen(o->envid) > ENVID_MAX || strlen(id) > ENVID_MAX)
			return sendmail_fail(EX_USAGE, "-V: longer than %d characters", ENVID_MAX);
		snprintf(line + n, sizeof(line) - (size_t)n, " ENVID=%s", id);
	}
	return sendmail_server_command(s, line, '2', "the sender", EX_UNAVAILABLE);
}

static int say_rcpt(
    struct sendmail_server *s, const struct sendmail_options *o, const struct sendmail_rcpt *r)
{
	char line[ADDR_PATH_MAX + 128];

	snprintf(line, sizeof(line), "RCPT TO:<%s>%s%s", r->addr,
	    s->caps & CAP_DSN && o->notify ? " NOTIFY=" : "",
	    s->caps & CAP_DSN && o->notify ? o->notify : "");
	return sendmail_server_command(s, line, '2', r->addr, EX_NOUSER);
}

static int transact(struct sendmail_server *s, const struct sendmail_options *o,
    struct sendmail_envelope *env, struct sendmail_header *h, struct sendmail_input *in)
{
	struct sendmail_header out = {.text = NULL};
	int rc = 0;
	bool eight;

	sendmail_header_finish(h, env, o->full_name, &out);
	env->utf8 |= out.eight && xtext_utf8(out.text, out.len) && s->caps & CAP_SMTPUTF8;
	eight = o->body ? strcasecmp(o->body, "8bitmime") == 0
			: out.eight || env->utf8 || !sendmail_content_7bit(in);
	rc = say_mail(s, o, env, eight);
	for (const struct sendmail_rcpt *r = env->first; rc == 0 && r; r = r->next)
		rc = say_rcpt(s, o, r);
	if (rc == 0)
		rc = sendmail_server_command(s, "DATA", '3', "the mail", EX_UNAVAILABLE);
	if (rc == 0 && (sendmail_server_write(s, out.text, out.len) < 0 ||
			   sendmail_server_write(s, "\r\n", 2) < 0))
		rc = sendmail_server_reply(s, '2', "the mail", EX_UNAVAILABLE);
	else if (rc == 0)
		rc = sendmail_content(s, in, h->end);
	sendmail_header_free(&out);
	return rc;
}

static int send_mail(const struct sendmail_options *o)
{
	struct sendmail_envelope env = {.last = &env.first};
	struct sendmail_input in = {.fd = STDIN_FILENO, .dots = o->dots};
	struct sendmail_server s = {.fd = -1, .verbose = o->verbose};
	struct sendmail_header h = {.text = NULL};
	int rc = sendmail_header_read(&h, &in);

	if (rc == 0)
		rc = sendmail_server_open(&s, o->server);
	if (rc == 0)
		rc = sendmail_server_greeting(&s);
	if (rc == 0) {
		find_domain(env.domain, sizeof(env.domain), s.name);
		rc = find_sender(&env, o->sender);
	}
	if (rc == 0)
		rc = find_recipients(&env, o, &h);
	if (rc == 0)
		rc = sendmail_server_ehlo(&s, env.domain);
	if (rc == 0)
		rc = transact(&s, o, &env, &h, &in);
	if (rc == 0) /* it is taken, whatever becomes of the farewell */
		(void)!sendmail_server_write(&s, "QUIT\r\n", 6);
	sendmail_server_close(&s);
	sendmail_header_free(&h);
	envelope_free(&env);
	free(in.buf);
	return rc;
}

int main(int argc, char **argv)
{
	struct sendmail_options o;
	int rc = sendmail_options(&o, argc, argv);

	if (rc != 0)
		return rc;
	switch (o.mode) {
	case SEND_PASS:
		return sendmail_pass(&o);
	case SEND_LIST:
		execl(BINDIR "/mailq", "mailq", (char *)NULL);
		return sendmail_fail(EX_OSFILE, "%s: %s", BINDIR "/mailq", strerror(errno));
	case SEND_NOTHING:
		return 0;
	case SEND_MAIL:
		break;
	}
	return send_mail(&o);
}
