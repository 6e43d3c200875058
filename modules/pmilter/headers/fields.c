/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields.c -- the header of a message as a list of fields, each with its number among those of its
 * name.
 *
 * Comes from pmilter_headers.c with the message; goes to edits.c. Owns nothing: copy and list are
 * of the answer's memory. A line that is no field is passed over. Time is linear in the header,
 * however it is made. On failure: a header of more than 1 MiB or 20,000 fields is not looked at,
 * and fails the question.
 */
#include "headers.h"

#include <strings.h>

#define BUCKETS 4096

void *headers_keep(struct sess *s, size_t n)
{
	return hold_get(s->h->host, s->h->ctx, &s->hold, n, ANSWER_MAX);
}

static const char *copy(struct sess *s, const struct meta1_pm_message *m, char **out)
{
	char *p = headers_keep(s, (size_t)m->header + 1);
	size_t n = 0;

	*out = p;
	if (!p)
		return "the header is larger than 1 MiB";
	for (uint32_t i = 0; i < m->nextent && n < m->header; i++) {
		const struct meta1_extent *e = &m->extent[i];
		size_t want = m->header - n < e->len ? (size_t)(m->header - n) : (size_t)e->len;

		memcpy(p + n, e->mem, want);
		n += want;
	}
	return n == m->header ? NULL : "the message is shorter than its header";
}

static uint32_t hash(const struct sess *s, const char *p, size_t n)
{
	uint32_t h = 2166136261u ^ (uint32_t)((uintptr_t)s >> 4);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint32_t)(p[i] | 32)) * 16777619u;
	return h ^ h >> 13;
}

static void number(struct sess *s, uint32_t *bucket, uint32_t i)
{
	struct field *f = &s->field[i];
	uint32_t at = hash(s, f->name, f->nlen) % BUCKETS, k = bucket[at];

	/* the newest of each name stands in the bucket; older ones are not looked at again */
	while (k) {
		const struct field *o = &s->field[k - 1];

		if (o->nlen == f->nlen && strncasecmp(o->name, f->name, f->nlen) == 0)
			break;
		k = o->same;
	}
	f->ordinal = k ? s->field[k - 1].ordinal + 1 : 1;
	f->same = bucket[at];
	bucket[at] = i + 1;
}

/* Behind the field that begins at p: the next line that does not go on with it. */
static const char *behind(const char *p, const char *end)
{
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		p = nl ? nl + 1 : end;
		if (p < end && *p != ' ' && *p != '\t')
			return p;
	}
	return end;
}

static int take(struct field *f, const char *p, const char *end)
{
	const char *colon = memchr(p, ':', (size_t)(end - p)), *name = colon;

	if (!colon)
		return 0;
	while (name > p && (name[-1] == ' ' || name[-1] == '\t'))
		name--;
	if (name == p || memchr(p, '\n', (size_t)(name - p)))
		return 0;
	if (end > colon + 1 && end[-1] == '\n')
		end--;
	if (end > colon + 1 && end[-1] == '\r')
		end--;
	*f = (struct field){.name = p,
	    .nlen = (size_t)(name - p),
	    .value = colon + 1,
	    .vlen = (size_t)(end - colon - 1)};
	return 1;
}

static uint32_t count(const char *p, const char *end)
{
	uint32_t n = 0;

	for (; p < end; n++)
		p = behind(p, end);
	return n;
}

const char *fields_of(struct sess *s, const struct meta1_pm_message *m)
{
	char *p = NULL;
	const char *bad = copy(s, m, &p);

	return bad ? bad : fields_read(s, p, (size_t)m->header);
}

const char *fields_read(struct sess *s, char *p, size_t len)
{
	const char *end = p + len;
	uint32_t n, *bucket;

	n = count(p, end);
	bucket = headers_keep(s, BUCKETS * sizeof(*bucket));
	s->field = n <= FIELDS_MAX ? headers_keep(s, (n + 1) * sizeof(*s->field)) : NULL;
	if (!bucket || !s->field)
		return "the header has more than 20,000 fields";
	memset(bucket, 0, BUCKETS * sizeof(*bucket));
	for (s->nfield = 0; p < end;) {
		const char *next = behind(p, end);

		if (take(&s->field[s->nfield], p, next))
			number(s, bucket, s->nfield++);
		p += next - p;
	}
	return NULL;
}

int fields_match(const struct field *f, const char *pattern)
{
	size_t n = strlen(pattern);

	if (n && pattern[n - 1] == '*')
		return f->nlen >= n - 1 && strncasecmp(f->name, pattern, n - 1) == 0;
	return f->nlen == n && strncasecmp(f->name, pattern, n) == 0;
}
