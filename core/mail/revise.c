/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise.c -- edits made to a message: a list of fields, the content behind them.
 *
 * A list of edits is made on a copy of the state, which takes the place of the old one when the
 * last edit is made: so no reader ever sees a half of it. Fields that nobody touched are the
 * bytes that came.
 * Comes from core/smtps/chain_merge.c; goes to the next filter and into the store. Owns the copy
 * of the header, new fields, mended content. On failure: err names the edit, all is as before.
 */
#include "mail/revise_parts.h"

#include <stdlib.h>
#include <strings.h>

struct block {
	struct block *next;
	char *mem;
	size_t len;
};

struct revise {
	struct meta1_pm_message in;
	const char *header; /* copy of in's; NULL: not read yet, and state has no fields */
	struct revise_state now;
	struct revise_env env;
	struct block *blocks;	 /* what fields and extents point to */
	struct revise_job *jobs; /* likewise */
	size_t held;
	struct meta1_pm_message out;
	struct meta1_extent *extent; /* of out */
};

static void keep(struct revise *r, char *mem, size_t len)
{
	struct block *b = base_alloc(sizeof(*b));

	b->mem = mem;
	b->len = len;
	r->held += sizeof(*b) + len;
	b->next = r->blocks;
	r->blocks = b;
}

static void state_free(struct revise_state *s)
{
	free(s->field);
	free(s->body);
	memset(s, 0, sizeof(*s));
}

static void *copied(const void *p, size_t n)
{
	return n > 0 ? memcpy(base_alloc(n), p, n) : NULL;
}

static struct revise_state state_copy(const struct revise_state *s)
{
	struct revise_state c = *s;

	c.field = copied(s->field, s->nfield * sizeof(*s->field));
	c.room = s->nfield;
	c.body = copied(s->body, s->nbody * sizeof(*s->body));
	return c;
}

/* ---- extents ---- */

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

/* The fields and the body of a message whose header is this text, which is taken over. */
static int parse(struct revise *r, struct revise_state *s, char *text, size_t len,
    const struct meta1_extent *e, unsigned n, struct meta1_err *err)
{
	keep(r, text, len);
	if (revise_count_lines(text, len) > REVISE_FIELDS_MAX)
		return err_set(err, "a header of more than %d lines is too large to be edited",
		    REVISE_FIELDS_MAX);
	if (r->header == NULL) /* of in, it is the first that is read */
		r->header = text;
	s->nfield = 0;
	free(s->body);
	s->body = behind(e, n, len, &s->nbody);
	s->empty_line = (len == 2 || (len > 2 && text[len - 3] == '\n')) &&
			memcmp(text + len - 2, "\r\n", 2) == 0;
	revise_split(s, text, len - (s->empty_line ? 2 : 0));
	return 0;
}

/* The first list: what the mail is made of. */
static int parse_mail(struct revise *r, struct revise_job *job, struct meta1_err *err)
{
	struct revise_content *c = revise_job_content(job, REVISE_OF_MAIL);
	size_t len = (size_t)r->in.header;
	char *text;

	if (r->in.header > REVISE_HEADER_MAX)
		return err_set(err, "a header of %llu bytes is too large to be edited",
		    (unsigned long long)r->in.header);
	text = c != NULL ? c->head : revise_read(r->in.extent, r->in.nextent, len, err);
	if (text == NULL)
		return -1;
	if (c != NULL)
		c->head = NULL;
	return parse(r, &r->now, text, len, r->in.extent, r->in.nextent, err);
}

/* ---- edits ---- */

struct making { /* of a list */
	struct revise *r;
	struct revise_state *s;
	struct revise_job *job;
	unsigned at;
};

static int edit_header(struct making *k, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct revise_field f = {.name = e->name.len};
	struct revise_state *s = k->s;
	size_t at = s->nfield;
	bool found = false;
	char *text = revise_field(e->name, e->value, e->flags & META1_PM_LEADSPC, &f.len);

	if (text == NULL)
		return err_set(err, "the name of a field is not one");
	keep(k->r, text, f.len);
	f.text = text;
	if (e->kind == META1_PM_INSERT_HEADER && e->index < s->nfield)
		at = e->index;
	if (e->kind == META1_PM_CHANGE_HEADER) {
		if (e->index == 0)
			return err_set(err, "fields of a name are counted from 1");
		found = revise_find_field(s, e->name, e->index, &at);
		s->changed = s->changed || found;
		if (found)
			revise_cut_field(s, at);
		if (e->value.data == NULL)
			return 0;
	}
	s->changed = true;
	revise_put_field(s, at, f);
	return 0;
}

/* ---- content ---- */

/* Given extents with good line ends, ours or the filter's. */
static int good_extents(struct making *k, const struct meta1_pm_edit *e,
    struct meta1_extent *mended, const struct meta1_extent **out, unsigned *n,
    struct meta1_err *err)
{
	const struct revise_content *c = revise_job_content(k->job, k->at);
	struct revise_mended m;

	*out = c != NULL ? c->extent : e->extent;
	*n = c != NULL ? c->n : e->nextent;
	if (c != NULL)
		return 0;
	if (revise_lines(e->extent, e->nextent, NULL, &m, err) < 0)
		return -1;
	if (m.mem != NULL) {
		keep(k->r, m.mem, m.len);
		*mended = (struct meta1_extent){.mem = m.mem, .len = m.len, .fd = -1};
		*out = mended;
		*n = 1;
	}
	return 0;
}

static int edit_body(struct making *k, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct meta1_extent mended;
	const struct meta1_extent *x;
	unsigned n;

	if (good_extents(k, e, &mended, &x, &n, err) < 0)
		return -1;
	free(k->s->body);
	k->s->body = behind(x, n, 0, &k->s->nbody);
	k->s->changed = true;
	return 0;
}

/* The header of a new message that is in memory, the caller's. */
static char *header_of(const struct meta1_extent *x, unsigned n, size_t *len, struct meta1_err *err)
{
	uint64_t sum = 0;
	char *text;

	for (unsigned i = 0; i < n; i++)
		sum += x[i].len;
	*len = sum < REVISE_HEADER_MAX ? (size_t)sum : REVISE_HEADER_MAX;
	text = revise_read(x, n, *len, err);
	if (text == NULL)
		return NULL;
	if (revise_header(text, *len) == *len && sum > *len) {
		err_set(err, "the header of a new message is too large");
		free(text);
		return NULL;
	}
	*len = revise_header(text, *len);
	return base_realloc(text, *len + 1);
}

static int edit_message(struct making *k, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	struct revise_content *c = revise_job_content(k->job, k->at);
	struct meta1_extent mended;
	const struct meta1_extent *x;
	size_t len = c != NULL ? c->nhead : 0;
	unsigned n;
	char *text;

	if (good_extents(k, e, &mended, &x, &n, err) < 0)
		return -1;
	text = c != NULL ? c->head : header_of(x, n, &len, err);
	if (text == NULL)
		return -1;
	if (c != NULL)
		c->head = NULL;
	k->s->changed = true;
	return parse(k->r, k->s, text, len, x, n, err);
}

/* Made by revise_env.c, all of the list together. */
static int edit_envelope(struct making *k, const struct meta1_pm_edit *e, struct meta1_err *err)
{
	(void)k, (void)e, (void)err;
	return 0;
}

/* ---- all of it ---- */

static const struct {
	const char *name;
	int (*make)(struct making *, const struct meta1_pm_edit *, struct meta1_err *);
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

static int make_all(
    struct making *k, const struct meta1_pm_edit *e, unsigned n, struct meta1_err *err)
{
	struct meta1_err why = {""};

	for (unsigned i = 0; i < n; i++) {
		k->at = i;
		if (e[i].kind == 0 || e[i].kind >= ARRAY_LEN(kinds))
			return err_set(
			    err, "edit %u of %u: kind %u does not exist", i + 1, n, e[i].kind);
		if (kinds[e[i].kind].make(k, &e[i], &why) < 0)
			return err_set(err, "edit %u of %u, %s: %.200s", i + 1, n,
			    kinds[e[i].kind].name, why.text);
	}
	return 0;
}

/* What was read for the list could not be, or what it is about is too much. */
static int begin_list(struct revise *r, struct revise_job *job, const struct meta1_pm_edit *e,
    unsigned n, struct meta1_err *err)
{
	const char *why;
	uint32_t of;

	if (n > REVISE_EDITS_MAX)
		return err_set(err, "%u edits, at most %d are taken", n, REVISE_EDITS_MAX);
	why = job != NULL ? revise_job_error(job, &of) : NULL;
	if (why != NULL && of < n && e[of].kind < ARRAY_LEN(kinds))
		return err_set(
		    err, "edit %u of %u, %s: %.200s", of + 1, n, kinds[e[of].kind].name, why);
	if (why != NULL)
		return err_set(err, "%s", why);
	if (r->header == NULL && parse_mail(r, job, err) < 0)
		return -1;
	if ((uint64_t)n * r->now.nfield > REVISE_WORK_MAX)
		return err_set(
		    err, "%u edits of a header of %zu fields are too much", n, r->now.nfield);
	return 0;
}

static int make_list(struct revise *r, struct revise_job *job, const struct meta1_pm_edit *e,
    unsigned n, struct meta1_err *err)
{
	struct revise_env env = r->env;
	bool of_env = revise_env_any(e, n);
	struct revise_state next;

	if (begin_list(r, job, e, n, err) < 0)
		return -1;
	next = state_copy(&r->now);
	if (make_all(&(struct making){r, &next, job, 0}, e, n, err) < 0 ||
	    (of_env && revise_env_next(&r->env, e, n, &env, err) < 0)) {
		state_free(&next);
		return -1;
	}
	if (of_env)
		revise_env_free(&r->env);
	r->env = env;
	state_free(&r->now);
	r->now = next;
	free(r->extent);
	r->extent = NULL;
	return 0;
}

int revise_apply(struct revise *r, const struct meta1_pm_edit *e, unsigned n,
    struct revise_job **given, struct meta1_err *err)
{
	struct revise_job *job = given != NULL ? *given : NULL;

	if (given != NULL)
		*given = NULL;
	if (job == NULL) {
		job = revise_job_new(r, e, n, NULL);
		if (job != NULL)
			revise_job_work(job);
	}
	if (make_list(r, job, e, n, err) < 0) {
		revise_job_free(&job);
		return -1;
	}
	if (job != NULL) {
		r->held += revise_job_held(job);
		revise_job_next(job, r->jobs);
		r->jobs = job;
	}
	return 0;
}

struct revise *revise_new(const struct meta1_pm_message *m)
{
	struct revise *r = base_alloc(sizeof(*r));

	r->in = *m;
	r->env.room = UINT32_MAX;
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
	revise_env_free(&r->env);
	while (r->jobs != NULL) {
		struct revise_job *j = r->jobs;

		r->jobs = revise_job_next(j, NULL);
		revise_job_free(&j);
	}
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

size_t revise_held(const struct revise *r)
{
	return r != NULL ? sizeof(*r) + r->held + r->now.room * sizeof(struct revise_field) : 0;
}

struct revise_env *revise_env_of(struct revise *r)
{
	return &r->env;
}

const struct revise_env *revise_env_is(const struct revise *r)
{
	return &r->env;
}

const struct meta1_pm_message *revise_unread(const struct revise *r)
{
	return r->header == NULL ? &r->in : NULL;
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
static void put_text(struct revise *r, const struct revise_field *f)
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
	const struct revise_state *s = &r->now;

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
