/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frame.c -- journal and checkpoint: files of frames, frames of records.
 *
 * A frame is what one sync made durable; it starts at a multiple of 4096, so that no block
 * with durable frames is written again. Pure but for reading; tried by queue_frame.c.
 * Comes from: journal.c, checkpoint.c. Goes to: replay.c.
 * On failure: a bad frame with a good one behind it is damage and skipped, and so is what the disk
 * cannot read, wherever it is; else a bad frame is torn.
 */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAME_VERSION 2u
#define FRAME_MAX     (64u << 20)
#define PACKED	      (1u << 20) /* bytes of a packed frame, unless one was larger */

bool frame_room(struct bytes *j, size_t n)
{
	if (!bytes_room(j, FRAME_HEAD + n + LOG_ALIGN))
		return false;
	if (j->len == 0)
		j->len = FRAME_HEAD;
	return true;
}

static uint16_t cut(struct meta1_buf b)
{
	return (uint16_t)(b.len < 1024 ? b.len : 1024);
}

static size_t strings(const struct jrec *r)
{
	return (size_t)r->reasonlen + r->bylen + r->idlen + r->addrlen + r->fromlen;
}

bool frame_put(struct bytes *j, struct jrec *r, const struct jtext *text)
{
	static const struct jtext none;
	const struct jtext *t = text != NULL ? text : &none;
	const struct meta1_buf *v[] = {&t->reason, &t->by, &t->id, &t->addr, &t->from};
	uint8_t *p;
	size_t len;

	r->reasonlen = cut(t->reason);
	r->bylen = cut(t->by);
	r->idlen = cut(t->id);
	r->addrlen = cut(t->addr);
	r->fromlen = cut(t->from);
	len = (sizeof(*r) + strings(r) + 7) & ~(size_t)7;
	if (!frame_room(j, len))
		return false;
	r->len = (uint32_t)len;
	p = j->b + j->len;
	memset(p, 0, len);
	memcpy(p, r, sizeof(*r));
	p += sizeof(*r);
	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (v[i]->len > 0)
			memcpy(p, v[i]->data, cut(*v[i]));
		p += cut(*v[i]);
	}
	j->len += len;
	return true;
}

/* frame_room() left room for the padding. */
size_t frame_seal(struct bytes *j, uint64_t serial, uint64_t off, uint64_t seq)
{
	struct frame f = {.magic = FRAME_MAGIC,
	    .serial = serial,
	    .off = off,
	    .seq = seq,
	    .len = j->len - FRAME_HEAD,
	    .version = FRAME_VERSION};
	size_t whole = (size_t)seg_align(j->len);

	f.sum = seg_sum(serial, j->b + FRAME_HEAD, j->len - FRAME_HEAD);
	f.hsum = 0;
	f.hsum = seg_sum(serial, &f, sizeof(f));
	memset(j->b, 0, FRAME_HEAD);
	memcpy(j->b, &f, sizeof(f));
	memset(j->b + j->len, 0, whole - j->len);
	return whole;
}

bool frame_ok(const struct frame *in, uint64_t serial, uint64_t off)
{
	struct frame f = *in;
	uint64_t sum = f.hsum;

	f.hsum = 0;
	return f.magic == FRAME_MAGIC && f.version == FRAME_VERSION && f.serial == serial &&
	       f.off == off && f.len <= FRAME_MAX && sum == seg_sum(serial, &f, sizeof(f));
}

static struct meta1_buf take(const uint8_t **p, size_t n)
{
	struct meta1_buf b = {*p, n};

	*p += n;
	return b;
}

bool frame_next(const uint8_t **p, size_t *left, struct jrec *r, struct jtext *t)
{
	const uint8_t *s;

	if (*left < sizeof(*r))
		return false;
	memcpy(r, *p, sizeof(*r));
	if (r->len > *left || r->len < sizeof(*r) + strings(r) || r->len % 8 != 0)
		return false;
	s = *p + sizeof(*r);
	t->reason = take(&s, r->reasonlen);
	t->by = take(&s, r->bylen);
	t->id = take(&s, r->idlen);
	t->addr = take(&s, r->addrlen);
	t->from = take(&s, r->fromlen);
	*p += r->len;
	*left -= r->len;
	return true;
}

struct trouble {
	bool later;  /* no memory */
	bool unread; /* the disk cannot read a part */
};

/* All n, or false: the file ends before, or cannot be read. What is before a block that cannot be
 * is read alone, so only the end of the file ends it. */
static bool read_at(int fd, void *b, size_t n, uint64_t off, struct trouble *t)
{
	for (size_t at = 0; at < n;) {
		ssize_t k = pread(fd, (uint8_t *)b + at, n - at, (off_t)(off + at));

		if (k < 0 && errno == EINTR)
			continue;
		t->unread = t->unread || k < 0;
		if (k <= 0)
			return false;
		at += (size_t)k;
	}
	return true;
}

/* Payload of the frame at off, or NULL. */
static uint8_t *load(int fd, uint64_t serial, uint64_t off, struct frame *f, struct trouble *t)
{
	uint8_t *b;

	if (!read_at(fd, f, sizeof(*f), off, t) || !frame_ok(f, serial, off))
		return NULL;
	b = malloc((size_t)f->len + 1);
	if (b == NULL) {
		t->later = true;
		return NULL;
	}
	if (read_at(fd, b, (size_t)f->len, off + FRAME_HEAD, t) &&
	    f->sum == seg_sum(serial, b, (size_t)f->len))
		return b;
	free(b);
	return NULL;
}

/* Where the next good header stands behind off, or 0: a block that cannot be read is passed. */
static uint64_t search(int fd, uint64_t serial, uint64_t off, struct trouble *t)
{
	struct frame f;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		t->unread = true;
		return 0;
	}
	for (off += LOG_ALIGN;; off += LOG_ALIGN) {
		uint64_t from = bytes_from(fd, off);

		if (from >= (uint64_t)st.st_size) /* or UINT64_MAX */
			return 0;
		off = from & ~(uint64_t)(LOG_ALIGN - 1);
		if (read_at(fd, &f, sizeof(f), off, t) && frame_ok(&f, serial, off))
			return off;
	}
}

uint64_t frame_end(int fd, uint64_t serial)
{
	struct trouble t = {false, false};
	uint64_t off = 0, next = 0;
	struct frame f;

	do {
		while (read_at(fd, &f, sizeof(f), off, &t) && frame_ok(&f, serial, off))
			off += seg_align(FRAME_HEAD + f.len);
		next = search(fd, serial, off, &t);
		off = next != 0 ? next : off;
	} while (next != 0);
	return t.unread ? UINT64_MAX : off;
}

int frame_read(int fd, uint64_t serial, frame_fn rec, void *arg)
{
	int damaged = 0;

	for (uint64_t off = 0;;) {
		struct trouble t = {false, false};
		struct frame f;
		struct jrec r;
		struct jtext text;
		uint8_t *b = load(fd, serial, off, &f, &t);
		const uint8_t *p = b;
		size_t left = b != NULL ? (size_t)f.len : 0;

		if (t.later)
			return -1;
		if (b == NULL) {
			off = search(fd, serial, off, &t);
			damaged += off != 0 || t.unread;
			if (off == 0)
				return damaged;
			continue;
		}
		while (frame_next(&p, &left, &r, &text))
			rec(arg, &r, &text);
		off += seg_align(FRAME_HEAD + f.len);
		free(b);
	}
}

/* ---- packed ---- */

struct packing {
	struct bytes out; /* a frame, its head not yet made */
	int to, err;
	uint64_t serial, off, seq;
};

static void pack_frame(struct packing *k)
{
	size_t n;

	if (k->err == 0 && k->out.bad)
		k->err = ENOMEM;
	if (k->err != 0 || k->out.len == 0)
		return;
	n = frame_seal(&k->out, k->serial, k->off, k->seq++);
	k->err = bytes_write(k->to, k->out.b, n, k->off);
	k->off += n;
	k->out.len = 0;
}

/* Records as they stand: many small frames become few large ones. */
int frame_pack(int from, int to, uint64_t serial)
{
	struct packing k = {.to = to, .serial = serial};
	struct trouble t = {false, false};
	uint64_t off = 0;
	struct frame f;
	uint8_t *b;

	while (k.err == 0 && (b = load(from, serial, off, &f, &t)) != NULL) {
		if (k.out.len + f.len > PACKED)
			pack_frame(&k);
		if (!frame_room(&k.out, (size_t)f.len))
			k.err = ENOMEM;
		bytes_add(&k.out, b, (size_t)f.len);
		off += seg_align(FRAME_HEAD + f.len);
		free(b);
	}
	pack_frame(&k);
	free(k.out.b);
	if (t.later)
		return ENOMEM;
	if (k.err == 0 && (search(from, serial, off, &t) != 0 || t.unread))
		return EIO; /* damage stays */
	return k.err;
}
