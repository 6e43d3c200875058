/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * header.c -- the header of a mail: read whole, within a bound; whom it names; what it lacks.
 *
 * Comes from: sendmail.c, bytes from input.c. Goes to: addresses.c for each list of addresses.
 * Owns the text of a header. A header ends at its first empty line, or before the first line that
 * is no field. A CR alone is a blank here: it must not begin a field that the sender did not write.
 * On failure: which field, what is wrong, status 65.
 */
#include "sendmail/sendmail.h"

#include "mail/date.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_LEN 200 /* of a field; a first line without a colon so far is none */

enum {
	F_RCPT = 1,    /* -t sends to these */
	F_QUALIFY = 2, /* addresses without a domain get one */
	F_DROP = 4,    /* never leaves */
	F_RESENT = 8
};
static const struct field {
	const char *name;
	unsigned flags;
} fields[] = {
    {"to", F_RCPT | F_QUALIFY},
    {"cc", F_RCPT | F_QUALIFY},
    {"bcc", F_RCPT | F_DROP},
    {"from", F_QUALIFY},
    {"sender", F_QUALIFY},
    {"reply-to", F_QUALIFY},
    {"resent-to", F_RCPT | F_QUALIFY | F_RESENT},
    {"resent-cc", F_RCPT | F_QUALIFY | F_RESENT},
    {"resent-bcc", F_RCPT | F_DROP | F_RESENT},
    {"resent-from", F_QUALIFY | F_RESENT},
    {"resent-sender", F_QUALIFY | F_RESENT},
    {"resent-reply-to", F_QUALIFY | F_RESENT},
    {"resent-date", F_RESENT},
    {"resent-message-id", F_RESENT},
    {"return-path", F_DROP},
};

static void append(struct sendmail_header *h, const char *p, size_t n)
{
	if (h->room - h->len < n + 1) {
		h->room = (h->room + n + 1) * 2;
		h->text = base_realloc(h->text, h->room);
	}
	memcpy(h->text + h->len, p, n);
	h->len += n;
	h->text[h->len] = '\0';
}

static void append_text(struct sendmail_header *h, const char *text)
{
	append(h, text, strlen(text));
}

void sendmail_header_free(struct sendmail_header *h)
{
	free(h->text);
	free(h->field);
	*h = (struct sendmail_header){.text = NULL};
}

/* The length of the name when a field begins at p, else 0; *value: behind the colon. */
static size_t field_name(const char *p, size_t n, size_t *value)
{
	size_t i = 0, name;

	while (i < n && i < NAME_MAX_LEN && p[i] > 32 && p[i] < 127 && p[i] != ':')
		i++;
	name = i;
	while (i < n && (p[i] == ' ' || p[i] == '\t'))
		i++;
	*value = i + 1;
	/* a dot at its front would be lost to the server, and another name be left */
	return name > 0 && p[0] != '.' && i < n && p[i] == ':' ? name : 0;
}

static void begin_field(struct sendmail_header *h)
{
	if (h->nfield % 64 == 0)
		h->field = base_realloc(h->field, sizeof(*h->field) * (h->nfield + 64));
	h->field[h->nfield++] = h->len;
}

/* The rest of a line, also one longer than the buffer. drop: it is not kept. */
static int take_line(struct sendmail_header *h, struct sendmail_input *in, bool drop)
{
	for (;;) {
		const char *p;
		size_t n = sendmail_input_more(in, 1, &p), i = 0, eol = 0;

		for (; i < n && p[i] != '\n' && p[i] != '\r' && p[i] != '\0'; i++)
			h->eight |= !drop && (p[i] & 0x80);
		if (i < n && p[i] == '\0')
			return sendmail_fail(EX_DATAERR, "the header has a NUL byte");
		if (!drop)
			append(h, p, i);
		in->pos += i;
		if (h->len > SENDMAIL_HEADER_MAX)
			return sendmail_fail(EX_DATAERR, "the header is longer than %u KiB",
			    SENDMAIL_HEADER_MAX >> 10);
		if (i == n && n > 0)
			continue;
		n = sendmail_input_line(in, INPUT_EOL, &p);
		eol = sendmail_input_eol(p, n);
		if (n == 0 || eol > 0) {
			in->pos += eol;
			if (!drop)
				append_text(h, "\r\n");
			return 0;
		}
		in->pos++; /* a CR alone */
		if (!drop)
			append_text(h, " ");
	}
}

static void look_at(struct sendmail_header *h, const char *name, size_t len);

int sendmail_header_read(struct sendmail_header *h, struct sendmail_input *in)
{
	*h = (struct sendmail_header){.text = NULL};
	append_text(h, "");
	for (bool first = true;; first = false) {
		const char *p;
		size_t n = sendmail_input_line(in, 2 * NAME_MAX_LEN, &p), value, name, eol;
		bool mbox = first && n > 5 && strncmp(p, "From ", 5) == 0;
		int rc;

		if (n == 0 || sendmail_input_end(in, p, n)) {
			h->end = true;
			break;
		}
		eol = sendmail_input_eol(p, n);
		if (eol > 0) {
			in->pos += eol;
			break;
		}
		name = field_name(p, n, &value);
		if (name > 0 && !mbox) {
			begin_field(h);
			look_at(h, p, name);
		} else if (!mbox && !(h->nfield > 0 && (*p == ' ' || *p == '\t'))) {
			break;
		}
		if ((rc = take_line(h, in, mbox)) != 0)
			return rc;
	}
	return in->error
		   ? sendmail_fail(EX_IOERR, "the mail cannot be read: %s", strerror(in->error))
		   : 0;
}

static unsigned flags_of(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strlen(fields[i].name) == len && strncasecmp(fields[i].name, name, len) == 0)
			return fields[i].flags;
	return 0;
}

static void look_at(struct sendmail_header *h, const char *name, size_t len)
{
	h->resent |= (flags_of(name, len) & F_RESENT) != 0;
}

/* Field i; its value begins at *value, and *len is all of it with its last CR LF. */
static const char *field(
    const struct sendmail_header *h, unsigned i, size_t *len, size_t *name, size_t *value)
{
	size_t from = h->field[i], to = i + 1 < h->nfield ? h->field[i + 1] : h->len;

	*len = to - from;
	*name = field_name(h->text + from, *len, value);
	return h->text + from;
}

static bool has(const struct sendmail_header *h, const char *wanted)
{
	size_t len, name, value;

	for (unsigned i = 0; i < h->nfield; i++) {
		const char *p = field(h, i, &len, &name, &value);

		if (strlen(wanted) == name && strncasecmp(p, wanted, name) == 0)
			return true;
	}
	return false;
}

/* ---- recipients ---- */

struct gather {
	struct sendmail_envelope *env;
	struct meta1_err *err;
};

static int gather(void *arg, const char *addr, bool domain, size_t at)
{
	struct gather *g = arg;

	(void)domain, (void)at;
	return *addr ? sendmail_rcpt_add(g->env, addr, g->err) : 0;
}

int sendmail_header_rcpts(struct sendmail_header *h, struct sendmail_envelope *env)
{
	struct meta1_err err;
	struct gather g = {env, &err};
	size_t len, name, value;

	for (unsigned i = 0; i < h->nfield; i++) {
		const char *p = field(h, i, &len, &name, &value);
		unsigned flags = flags_of(p, name);

		if (!(flags & F_RCPT) || (h->resent && !(flags & F_RESENT)))
			continue;
		if (sendmail_addresses(p + value, len - value, gather, &g, &err) < 0)
			return sendmail_fail(
			    EX_DATAERR, "%.*s: %s; nothing was sent", (int)name, p, err.text);
	}
	return 0;
}

/* ---- what is sent ---- */

struct qualify {
	struct sendmail_header *out;
	const char *text, *domain;
	size_t done;
};

static int qualify(void *arg, const char *addr, bool domain, size_t at)
{
	struct qualify *q = arg;

	if (domain || !*addr)
		return 0;
	append(q->out, q->text + q->done, at - q->done);
	append_text(q->out, "@");
	append_text(q->out, q->domain);
	q->done = at;
	return 0;
}

static void copy_field(struct sendmail_header *out, const char *p, size_t len, size_t value,
    bool addresses, const char *domain)
{
	struct qualify q = {out, p + value, domain, 0};
	size_t before = out->len;
	struct meta1_err err;

	append(out, p, value);
	if (!addresses || sendmail_addresses(p + value, len - value, qualify, &q, &err) == 0) {
		append(out, p + value + q.done, len - value - q.done);
		return;
	}
	out->len = before; /* not readable: as it is written */
	append(out, p, len);
}

/* A name fit for a header: a quoted string, no bytes that would end it. */
static void append_name(struct sendmail_header *out, const char *name)
{
	append_text(out, "\"");
	for (const char *p = name; *p; p++) {
		if (*p == '"' || *p == '\\')
			append_text(out, "\\");
		append(out, (unsigned char)*p < 32 || *p == 127 ? " " : p, 1);
		out->eight |= (*p & 0x80) != 0;
	}
	append_text(out, "\" ");
}

static void add_from(
    struct sendmail_header *out, const struct sendmail_envelope *env, const char *full_name)
{
	const struct passwd *pw = full_name ? NULL : getpwuid(getuid());
	char name[256] = "";

	if (full_name)
		str_copy(name, sizeof(name), full_name);
	else if (pw && pw->pw_gecos)
		str_copy(name, sizeof(name), pw->pw_gecos);
	if (!full_name)
		name[strcspn(name, ",&")] = '\0';
	append_text(out, out->resent ? "Resent-From: " : "From: ");
	if (*name)
		append_name(out, name);
	append_text(out, "<");
	append_text(out, *env->sender ? env->sender : "MAILER-DAEMON@");
	append_text(out, *env->sender ? "" : env->domain);
	append_text(out, ">\r\n");
}

static void add_id(struct sendmail_header *out, const struct sendmail_envelope *env)
{
	unsigned char odd[10];
	char text[64], when[32];
	time_t now = time(NULL);
	struct tm tm;
	size_t n;

	if (getrandom(odd, sizeof(odd), 0) != (ssize_t)sizeof(odd))
		memset(odd, 0, sizeof(odd)); /* the rest is its own still */
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%d%H%M%S", &tm);
	n = (size_t)snprintf(text, sizeof(text), "%s.%ld.", when, (long)getpid());
	for (size_t i = 0; i < sizeof(odd); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", odd[i]);
	append_text(out, out->resent ? "Resent-Message-Id: <" : "Message-Id: <");
	append_text(out, text);
	append_text(out, "@");
	append_text(out, env->domain);
	append_text(out, ">\r\n");
}

void sendmail_header_finish(struct sendmail_header *h, const struct sendmail_envelope *env,
    const char *full_name, struct sendmail_header *out)
{
	const char *const lacks[] = {h->resent ? "Resent-Date" : "Date",
	    h->resent ? "Resent-From" : "From", h->resent ? "Resent-Message-Id" : "Message-Id"};
	char date[DATE_SIZE];
	size_t len, name, value;

	*out = (struct sendmail_header){.resent = h->resent, .eight = h->eight};
	for (unsigned i = 0; i < h->nfield; i++) {
		const char *p = field(h, i, &len, &name, &value);
		unsigned flags = flags_of(p, name);

		if (!(flags & F_DROP))
			copy_field(out, p, len, value, flags & F_QUALIFY, env->domain);
	}
	if (!has(h, lacks[0])) {
		append_text(out, lacks[0]);
		append_text(out, ": ");
		append_text(out, date_text(time(NULL), false, date));
		append_text(out, "\r\n");
	}
	if (!has(h, lacks[1]))
		add_from(out, env, full_name);
	if (!has(h, lacks[2]))
		add_id(out, env);
}
