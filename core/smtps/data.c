/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * data.c -- where a message ends, and the form in which it is stored: a state machine over the
 * bytes of DATA or BDAT, the same for every way they are cut. It copies nothing, no I/O.
 *
 * Comes from body.c (pieces of the input); goes to body.c (what to store).
 * Only CRLF ends a line and only CRLF . CRLF ends the message of DATA (RFC 5321 4.1.1.4). A CR
 * or LF elsewhere is marked, or becomes CRLF when the content is to be repaired; the
 * message still ends only where a strict reader says it ends: so nothing behind a false end
 * is ever taken for commands. A line that begins behind a repaired end, and each line of
 * BDAT, has a dot of its own doubled: what is stored is DATA form, whatever came in.
 * On failure: none; the marks tell commit.c what to refuse.
 */
#include "smtps/smtps.h"

enum {
	AT_START,    /* first byte of a line in DATA form comes */
	AT_PLAIN,    /* first byte of a line comes whose dot is no stuffing: it is doubled */
	AT_DOT,	     /* a dot began the line; kept back */
	AT_DOT_CR,   /* dot and CR; kept back */
	AT_MID,	     /* inside a line */
	AT_CR,	     /* CR inside a line */
	AT_EMPTY_CR, /* CR as the first byte of a line */
};
#define NO_MATCH 255
/* Two bytes are searched for: many of one must not each cost a far look for the other. */
#define WINDOW	 1024
static const char field[] = "received:";
#define FIELD_LEN (sizeof(field) - 1)

void smtps_data_start(struct smtps_scan *d, bool plain, bool repair)
{
	memset(d, 0, sizeof(*d));
	d->header = true;
	d->plain = plain;
	d->repair = repair;
	/* the CRLF of the DATA command counts as the one before a first dot */
	d->state = plain ? AT_PLAIN : AT_START;
}

static bool has_eight(const uint8_t *p, size_t n)
{
	uint64_t all = 0, word;
	size_t i;

	for (i = 0; i + sizeof(word) <= n; i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		all |= word;
	}
	for (; i < n; i++)
		all |= (uint64_t)p[i];
	return (all & 0x8080808080808080u) != 0;
}

/* The start of a header line against "received:", any case. Never takes a CR or LF. */
static size_t match_field(struct smtps_scan *d, const uint8_t *p, size_t i, size_t n)
{
	while (i < n && d->match < FIELD_LEN &&
	       (p[i] | (p[i] >= 'A' && p[i] <= 'Z' ? 0x20 : 0)) == (uint8_t)field[d->match]) {
		d->match++;
		i++;
	}
	if (d->match == FIELD_LEN) {
		d->hops++;
		d->match = NO_MATCH;
	} else if (i < n) {
		d->match = NO_MATCH;
	}
	return i;
}

static void look_for_nul(struct smtps_scan *d, const uint8_t *p, size_t from, size_t to)
{
	if (d->header && !d->nul)
		d->nul = memchr(p + from, '\0', to - from) != NULL;
}

/* Inside a line, up to and with its next CR, or up to a LF that is to be repaired. */
static size_t middle(struct smtps_scan *d, const uint8_t *p, size_t i, size_t n)
{
	const uint8_t *cr, *lf;
	size_t run, from = i;

	if (d->repair && n - i > WINDOW)
		n = i + WINDOW;
	if (d->header && d->match < FIELD_LEN)
		i = match_field(d, p, i, n);
	cr = memchr(p + i, '\r', n - i);
	run = cr != NULL ? (size_t)(cr - (p + i)) : n - i;
	lf = d->bare ? NULL : memchr(p + i, '\n', run);
	if (lf != NULL && d->repair) {
		look_for_nul(d, p, from, (size_t)(lf - p));
		return (size_t)(lf - p);
	}
	d->bare = d->bare || lf != NULL;
	i += run;
	look_for_nul(d, p, from, i);
	if (cr != NULL) {
		d->state = AT_CR;
		i++;
	}
	return i;
}

/* One step of the machine; returns the new position. A step may take no byte. */
static size_t step(struct smtps_scan *d, const uint8_t *p, size_t i, size_t n)
{
	switch (d->state) {
	case AT_START:
	case AT_PLAIN: /* never with a dot: that is an edit */
		d->match = 0;
		d->state = p[i] == '.' ? AT_DOT : p[i] == '\r' ? AT_EMPTY_CR : AT_MID;
		return d->state == AT_MID ? i : i + 1;
	case AT_DOT:
		if (p[i] == '\r') {
			d->state = AT_DOT_CR;
			return i + 1;
		}
		d->stuffed++;
		d->state = AT_MID;
		return i;
	case AT_DOT_CR:
		if (p[i] == '\n') {
			d->done = true;
			return i + 1;
		}
		d->stuffed++;
		d->bare = true;
		d->state = AT_MID;
		return i;
	case AT_MID:
		return middle(d, p, i, n);
	default: /* AT_CR, AT_EMPTY_CR */
		if (p[i] == '\n') {
			d->header = d->header && d->state != AT_EMPTY_CR;
			d->state = d->plain ? AT_PLAIN : AT_START;
			return i + 1;
		}
		d->bare = true;
		d->state = AT_MID;
		return i;
	}
}

/* What must be put into the store before the byte c, that is not in the input. */
static const char *edit_due(const struct smtps_scan *d, uint8_t c)
{
	if (d->state == AT_PLAIN && c == '.')
		return ".";
	if (!d->repair)
		return NULL;
	if (d->state == AT_CR || d->state == AT_EMPTY_CR)
		return c != '\n' ? "\n" : NULL;
	if (d->state == AT_DOT_CR)
		return c != '\n' ? "\r\n" : NULL;
	return c == '\n' ? "\r" : NULL;
}

/* Makes the edit that is due at p[0]; how many bytes of p it used. A dot kept back goes: it
 * was the stuffing of a line that is empty now, and would look like the end of the message. */
static size_t edit(struct smtps_scan *d, const char *what, struct smtps_run *out)
{
	bool dot = what[0] == '.', lf = what[0] == '\r' && what[1] == '\0';

	out->add = what;
	out->nadd = strlen(what);
	if (dot) {
		d->stuffed++;
		d->match = NO_MATCH; /* the dot is part of the field's name */
		d->state = AT_MID;
		return 1;
	}
	d->mended = true;
	d->header = d->header && (d->state == AT_MID || d->state == AT_CR);
	d->state = AT_PLAIN;
	return lf ? 1 : 0;
}

static size_t kept_back(const struct smtps_scan *d)
{
	if (d->done)
		return 3;
	return d->state == AT_DOT ? 1 : d->state == AT_DOT_CR ? 2 : 0;
}

size_t smtps_data_scan(struct smtps_scan *d, const uint8_t *p, size_t n, struct smtps_run *out)
{
	size_t i = 0, head = 0, before = kept_back(d), after;
	bool header = d->header;
	const char *what = n > 0 ? edit_due(d, p[0]) : NULL;

	*out = (struct smtps_run){.add = ".\r"};
	if (what != NULL) {
		i = edit(d, what, out);
		before = out->nadd;
	}
	while (i < n && !d->done && edit_due(d, p[i]) == NULL) {
		i = step(d, p, i, n);
		if (d->header)
			head = i;
	}
	after = kept_back(d);
	if (after > i)
		return i; /* what was kept back before still is, or was the end */
	out->nadd = before;
	out->keep = i - after;
	d->stored += out->nadd + out->keep;
	if (header) {
		tls_required_look(&d->tls, out->add, out->nadd);
		tls_required_look(&d->tls, p, out->keep);
	}
	if (!d->eight && has_eight(p, out->keep)) {
		d->eight = true;
		d->eight_head = has_eight(p, head < out->keep ? head : out->keep);
	}
	return i;
}

void smtps_data_end(struct smtps_scan *d, struct smtps_run *out)
{
	bool cr = d->state == AT_CR || d->state == AT_EMPTY_CR;

	*out = (struct smtps_run){.add = "\r\n"};
	if (cr && !d->repair)
		d->bare = true;
	else if (cr)
		*out = (struct smtps_run){.add = "\n", .nadd = 1};
	else if (d->state != AT_PLAIN)
		out->nadd = 2;
	d->mended = d->mended || (cr && d->repair);
	d->header = d->header && d->state != AT_EMPTY_CR;
	d->stored += out->nadd;
	d->state = AT_PLAIN;
}
