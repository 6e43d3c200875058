/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * data.c -- where a message ends: a state machine over the bytes of DATA, the same
 * for every way they are cut into segments. It copies nothing and does no I/O.
 *
 * Comes from body.c (chunks of the connection); goes to body.c (what to store).
 * Only CRLF ends a line and only CRLF . CRLF ends the message (RFC 5321 4.1.1.4). A CR or LF
 * elsewhere is marked, and the message still ends only where a strict reader says it
 * ends: so nothing behind a false end is ever taken for commands.
 * On failure: none; the marks tell commit.c what to refuse.
 */
#include "smtps/smtps.h"

enum {
	AT_START,    /* first byte of a line comes */
	AT_DOT,	     /* a dot began the line; kept back */
	AT_DOT_CR,   /* dot and CR; kept back */
	AT_MID,	     /* inside a line */
	AT_CR,	     /* CR inside a line */
	AT_EMPTY_CR, /* CR as the first byte of a line */
};
#define NO_MATCH 255
static const char field[] = "received:";
#define FIELD_LEN (sizeof(field) - 1)

void smtps_data_start(struct smtps_scan *d)
{
	memset(d, 0, sizeof(*d));
	d->header = true;
	/* the CRLF of the DATA command counts as the one before a first dot */
	d->state = AT_START;
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

/* Inside a line, up to and with its next CR. */
static size_t middle(struct smtps_scan *d, const uint8_t *p, size_t i, size_t n)
{
	const uint8_t *cr;
	size_t run;

	if (d->header && d->match < FIELD_LEN)
		i = match_field(d, p, i, n);
	cr = memchr(p + i, '\r', n - i);
	run = cr != NULL ? (size_t)(cr - (p + i)) : n - i;
	if (!d->bare && memchr(p + i, '\n', run) != NULL)
		d->bare = true;
	i += run;
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
			d->state = AT_START;
			return i + 1;
		}
		d->bare = true;
		d->state = AT_MID;
		return i;
	}
}

static size_t kept_back(const struct smtps_scan *d)
{
	if (d->done)
		return 3;
	return d->state == AT_DOT ? 1 : d->state == AT_DOT_CR ? 2 : 0;
}

size_t smtps_data_scan(struct smtps_scan *d, const uint8_t *p, size_t n, size_t *held, size_t *keep)
{
	size_t i = 0, before = kept_back(d), after;

	*held = *keep = 0;
	while (i < n && !d->done)
		i = step(d, p, i, n);
	after = kept_back(d);
	if (after > i)
		return i; /* what was kept back before still is, or was the end */
	*held = before;
	*keep = i - after;
	d->stored += *held + *keep;
	if (!d->eight)
		d->eight = has_eight(p, *keep);
	return i;
}
