/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise.c -- edits made to a message: a list of fields, the content behind them, the envelope.
 *
 * A list of edits is made on a copy of the state, which takes the place of the old one when the
 * last edit is made: so no reader ever sees a half of it. Fields that nobody touched are the
 * bytes that came.
 * Comes from core/smtps/chain_merge.c; goes to the next filter and into the store. Owns the copy
 * of the header, new fields, mended content. On failure: err names the edit, all is as before.
 */
#include "mail/revise.h"
#include "mail/addr.h"

#include <stdlib.h>
#include <strings.h>

struct field {
	const char *text; /* with its CRLF; may be several lines */
	size_t len, name; /* name: its length; 0: no field, but something that stands there */
};

struct state {
	struct field *field;
	size_t nfield, room;
	struct meta1_extent *body; /* owned; behind the empty line */
	unsigned nbody;
	bool empty_line; /* there is one */
	struct meta1_pm_edit *envelope;
	unsigned nenvelope;
	bool changed; /* the content */
};

struct block {
	struct block *next;
	char *mem;
};

struct revise {
	struct meta1_pm_message in;
	const char *header; /* copy of in's; NULL: not read yet, and state has no fields */
	struct state now;
	struct block *blocks; /* what fields and extents point to */
	struct meta1_pm_message out;
	struct meta1_extent *extent; /* of out */
};

static void keep(struct revise *r, char *mem)
{
	struct block *b = base_alloc(sizeof(*b));

	b->mem = mem;
	b->next = r->blocks;
	r->blocks = b;
}

static void state_free(struct state *s)
{
	free(s->field);
	free(s->body);
	free(s->envelope);
	memset(s, 0, sizeof(*s));
}

static void *copied(const void *p, size_t n)
{
	return n > 0 ? memcpy(base_alloc(n), p, n) : NULL;
}

static struct state state_copy(const struct state *s)
{
	struct state c = *s;

	c.field = copied(s->field, s->nfield * sizeof(*s->field));
	c.room = s->nfield;
	c.body = copied(s->body, s->nbody * sizeof(*s->body));
	c.envelope = copied(s->envelope, s->nenvelope * sizeof(*s->envelope));
	return c;
}

/* ---- fields ---- */

static void put_field(struct state *s, size_t at, struct field f)
{
	if (s->nfield == s->room) {
		s->room = s->room * 2 + 8;
		s->field = base_realloc(s->field, s->room * sizeof(*s->field));
	}
	memmove(s->field + at + 1, s->field + at, (s->nfield - at) * sizeof(*s->field));
	s->field[at] = f;
	s->nfield++;
}

static void cut_field(struct state *s, size_t at)
{
	s->nfield--;
	memmove(s->field + at, s->field + at + 1, (s->nfield - at) * sizeof(*s->field));
}

static size_t name_len(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] > 32 && s[i] < 127 && s[i] != ':')
		i++;
	n = i;
	while (
	    s[i] == ' ' || s[i] == '\t') /* RFC 5322, 4.5: an obsolete blank; a line ends by CR */
		i++;
	return s[i] == ':' ? n : 0;
}

/* Header lines, without the empty line behind them. */
static void split(struct state *s, const char *text, size_t len)
{
	const char *end = text + len, *lf;

	for (const char *p = text; p < end; p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(end - p));
		if (lf == NULL)
			lf = end - 1;
		if ((*p == ' ' || *p == '\t') && s->nfield > 0)
			s->field[s->nfield - 1].len += (size_t)(lf + 1 - p);
		else
			put_field(s, s->nfield,
			    (struct field){p, (size_t)(lf + 1 - p), name_len(p, (size_t)(lf - p))});
	}
}

static size_t lines(const char *text, size_t len)
{
	const char *end = text + len;
	size_t n = 0;

	for (const char *p = text; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		n++;
	return n;
}

/* Less its first bytes, as many of *skip as it has; *skip is what is left of them. */
static struct meta1_extent without(struct meta1_extent e, uint64_t *skip)
{
	uint64_t cut = *skip < e.len ? *skip : e.len;

	*skip -= cut;
	e.len -= cut;
	if (e.mem != NULL)
		e.mem = (const char *)e.mem + cut;
	else
		e.off += cut;
	return e;
}

/* Extents without their first n bytes, copied. */
static struct meta1_extent *behind(
    const struct meta1_extent *e, unsigned n, uint64_t skip, unsigned *nout)
{
	struct meta1_extent *out = base_alloc(((size_t)n + 1) * sizeof(*out));

	*nout = 0;
	for (unsigned i = 0; i < n; i++) {
		struct meta1_extent x = without(e[i], &skip);

		if (x.len > 0)
			out[(*nout)++] = x;
	}
	return out;
}

/* The fields and the body of a message whose header has so many bytes. */
static int parse(struct revise *r, struct state *s, const struct meta1_extent *e, unsigned n,
    uint64_t header, struct meta1_err *err)
{
	char *text;
	size_t len = header;

	if (header > REVISE_HEADER_MAX)
		return err_set(err, "a header of %llu bytes is too large to be edited",
		    (unsigned long long)header);
	text = revise_read(e, n, len, err);
	if (text == NULL)
		return -1;
	keep(r, text);
	if (lines(text, len) > REVISE_FIELDS_MAX)
		return err_set(err, "a header of more than %d lines is too large to be edited",
		    REVISE_FIELDS_MAX);
	if (r->header == NULL) /* of in, it is the first that is read */
		r->header = text;
	s->nfield = 0;
	free(s->body);
	s->body = behind(e, n, header, &s->nbody);
	s->empty_line = (len == 2 || (len > 2 && text[len - 3] == '\n')) &&
			memcmp(text + len - 2, "\r\n", 2) == 0;
	split(s, text, len - (s->empty_line ? 2 : 0));
	return 0;
}

static int number_of(const struct state *s, struct meta1_buf name, uint32_t index, size_t *at)
{
	for (size_t i = 0; i < s->nfield; i++) {
		const struct field *f = &s->field[i];

		if (f->name == name.len && strncasecmp(f->text, name.data, name.len) == 0 &&
		    --index == 0) {
			*at = i;
			return 1;
		}
	}
	return 0;
}

static int edit_header(
    struct revise *r, struct state *s, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct field f = {.name = e->name.len};
	size_t at = s->nfield;
	bool found = false;
	char *text = revise_field(e->name, e->value, e->flags & META1_PM_LEADSPC, &f.len);

	if (text == NULL)
		return err_set(err, "the name of a field is not one");
	keep(r, text);
	f.text = text;
	if (e->kind == META1_PM_INSERT_HEADER && e->index < s->nfield)
		at = e->index;
	if (e->kind == META1_PM_CHANGE_HEADER) {
		if (e->index == 0)
			return err_set(err, "fields of a name are counted from 1");
		found = number_of(s, e->name, e->index, &at);
		s->changed = s->changed || found;
		if (found)
			cut_field(s, at);
		if (e->value.data == NULL)
			return 0;
	}
	s->changed = true;
	put_field(s, at, f);
	return 0;
}

/* ---- content ---- */

/* Given extents with good line ends, ours or the filter's. */
static int good_extents(struct revise *r, const struct meta1_pm_edit *e,
    struct meta1_extent *mended, const struct meta1_extent **out, unsigned *n,
    struct meta1_err *err)
{
	char *mem;
	size_t len = 0;

	if (revise_lines(e->extent, e->nextent, &mem, &len, err) < 0)
		return -1;
	*out = e->extent;
	*n = e->nextent;
	if (mem != NULL) {
		keep(r, mem);
		*mended = (struct meta1_extent){.mem = mem, .len = len, .fd = -1};
		*out = mended;
		*n = 1;
	}
	return 0;
}

static int edit_body(
    struct revise *r, struct state *s, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct meta1_extent mended;
	const struct meta1_extent *x;
	unsigned n;

	if (good_extents(r, e, &mended, &x, &n, err) < 0)
		return -1;
	free(s->body);
	s->body = behind(x, n, 0, &s->nbody);
	s->changed = true;
	return 0;
}

/* Bytes of the header with its empty line, in text that is len long. */
static size_t header_of(const char *text, size_t len)
{
	const char *p = text, *end = text + len, *lf;

	for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))) != NULL; p = lf + 1)
		if (lf == p + 1 && *p == '\r')
			return (size_t)(lf + 1 - text);
	return len;
}

static int edit_message(
    struct revise *r, struct state *s, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct meta1_extent mended;
	const struct meta1_extent *x;
	uint64_t sum = 0;
	size_t len, header;
	unsigned n;
	char *text;

	if (good_extents(r, e, &mended, &x, &n, err) < 0)
		return -1;
	for (unsigned i = 0; i < n; i++)
		sum += x[i].len;
	len = sum < REVISE_HEADER_MAX ? sum : REVISE_HEADER_MAX;
	text = revise_read(x, n, len, err);
	if (text == NULL)
		return -1;
	header = header_of(text, len);
	free(text);
	if (header == len && sum > len)
		return err_set(err, "the header of a new message is too large");
	s->changed = true;
	return parse(r, s, x, n, header, err);
}

/* ---- envelope ---- */

static bool address_ok(struct meta1_buf v, bool null_ok)
{
	char text[ADDR_PATH_MAX + 3];
	struct meta1_err err;
	struct addr a;
	size_t used;

	if (v.len == 0)
		return null_ok;
	if (v.len > ADDR_PATH_MAX || memchr(v.data, '\0', v.len) != NULL)
		return false;
	text[0] = '<';
	memcpy(text + 1, v.data, v.len);
	text[v.len + 1] = '>';
	return addr_path(text, v.len + 2, ADDR_POSTMASTER, &a, &used, &err) == 0 &&
	       used == v.len + 2 && a.whole.len == v.len;
}

static int edit_envelope(
    struct revise *r, struct state *s, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	(void)r;
	if (!address_ok(e->value, e->kind == META1_PM_SENDER))
		return err_set(err, "an address is none");
	s->envelope = base_realloc(s->envelope, (s->nenvelope + 1) * sizeof(*s->envelope));
	s->envelope[s->nenvelope++] = *e;
	return 0;
}

/* ---- all of it ---- */

static const struct {
	const char *name;
	int (*make)(
	    struct revise *, struct state *, const struct meta1_pm_edit *, struct meta1_err *);
} kinds[] = {
    [META1_PM_ADD_HEADER] = {"add header", edit_header},
    [META1_PM_INSERT_HEADER] = {"insert header", edit_header},
    [META1_PM_CHANGE_HEADER] = {"change header", edit_header},
    [META1_PM_BODY] = {"body", edit_body},
    [META1_PM_MESSAGE] = {"message", edit_message},
    [META1_PM_ADD_RCPT] = {"add recipient", edit_envelope},
    [META1_PM_DEL_RCPT] = {"delete recipient", edit_envelope},
    [META1_PM_SENDER] = {"sender", edit_envelope},
};

static int make_all(struct revise *r, struct state *s, const struct meta1_pm_edit *e, unsigned n,
    struct meta1_err *err)
{
	struct meta1_err why = {""};

	for (unsigned i = 0; i < n; i++) {
		if (e[i].kind == 0 || e[i].kind >= ARRAY_LEN(kinds))
			return err_set(
			    err, "edit %u of %u: kind %u does not exist", i + 1, n, e[i].kind);
		if (kinds[e[i].kind].make(r, s, &e[i], &why) < 0)
			return err_set(err, "edit %u of %u, %s: %.200s", i + 1, n,
			    kinds[e[i].kind].name, why.text);
	}
	return 0;
}

int revise_apply(struct revise *r, const struct meta1_pm_edit *e, unsigned n, struct meta1_err *err)
{
	struct state next;

	if (n > REVISE_EDITS_MAX)
		return err_set(err, "%u edits, at most %d are taken", n, REVISE_EDITS_MAX);
	if (r->header == NULL &&
	    parse(r, &r->now, r->in.extent, r->in.nextent, r->in.header, err) < 0)
		return -1;
	if ((uint64_t)n * r->now.nfield > REVISE_WORK_MAX)
		return err_set(
		    err, "%u edits of a header of %zu fields are too much", n, r->now.nfield);
	next = state_copy(&r->now);
	if (make_all(r, &next, e, n, err) < 0) {
		state_free(&next);
		return -1;
	}
	state_free(&r->now);
	r->now = next;
	free(r->extent);
	r->extent = NULL;
	return 0;
}

struct revise *revise_new(const struct meta1_pm_message *m)
{
	struct revise *r = base_alloc(sizeof(*r));

	r->in = *m;
	return r;
}

void revise_free(struct revise **rp)
{
	struct revise *r = *rp;
	struct block *b;

	*rp = NULL;
	if (r == NULL)
		return;
	state_free(&r->now);
	while ((b = r->blocks) != NULL) {
		r->blocks = b->next;
		free(b->mem);
		free(b);
	}
	free(r->extent);
	free(r);
}

bool revise_changed(const struct revise *r)
{
	return r->now.changed;
}

const struct meta1_pm_edit *revise_envelope(const struct revise *r, unsigned *n)
{
	*n = r->now.nenvelope;
	return r->now.envelope;
}

/* Behind what stands last, as a part of it where it is the same piece going on. */
static void put_extent(struct meta1_pm_message *m, struct meta1_extent *x, struct meta1_extent e)
{
	struct meta1_extent *last = m->nextent > 0 ? &x[m->nextent - 1] : NULL;

	if (e.len == 0)
		return;
	m->bytes += e.len;
	if (last != NULL && e.mem != NULL && (const char *)last->mem + last->len == e.mem)
		last->len += e.len;
	else if (last != NULL && e.mem == NULL && last->mem == NULL && last->fd == e.fd &&
		 last->off + last->len == e.off)
		last->len += e.len;
	else
		x[m->nextent++] = e;
}

/* A field that is as it came is the extents it came in, not our copy: so whoever stores it can tell
 * it from those that were made. */
static void put_text(struct revise *r, const struct field *f)
{
	uint64_t off = (uint64_t)(f->text - r->header), left = f->len;

	if (f->text < r->header || f->text >= r->header + r->in.header) {
		put_extent(&r->out, r->extent,
		    (struct meta1_extent){.mem = f->text, .len = f->len, .fd = -1});
		return;
	}
	for (unsigned i = 0; i < r->in.nextent && left > 0; i++) {
		struct meta1_extent e = without(r->in.extent[i], &off);

		if (e.len > left)
			e.len = left;
		left -= e.len;
		put_extent(&r->out, r->extent, e);
	}
}

const struct meta1_pm_message *revise_message(struct revise *r)
{
	const struct state *s = &r->now;

	if (!s->changed)
		return &r->in;
	if (r->extent != NULL)
		return &r->out;
	r->extent = base_alloc((s->nfield + r->in.nextent + s->nbody + 1) * sizeof(*r->extent));
	r->out = (struct meta1_pm_message){.size = sizeof(r->out), .extent = r->extent};
	for (size_t i = 0; i < s->nfield; i++)
		put_text(r, &s->field[i]);
	if (s->empty_line || s->nbody > 0)
		put_extent(
		    &r->out, r->extent, (struct meta1_extent){.mem = "\r\n", .len = 2, .fd = -1});
	r->out.header = r->out.bytes;
	for (unsigned i = 0; i < s->nbody; i++)
		put_extent(&r->out, r->extent, s->body[i]);
	return &r->out;
}
