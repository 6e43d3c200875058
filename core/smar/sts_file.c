/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_file.c -- the policies in force, kept over restarts: the line "meta1 mta-sts 1", then one a
 * domain, told in sts.h, those used longest ago first.
 * From sts.c; to the disk, on a worker thread, the whole file beside and renamed. Owns nothing.
 * On failure: what was there stays; the errno is in the job. Reading, a line that is not whole is
 * left out and counted in one line of the log: its domain is asked anew.
 */
#include "smar/sts.h"

#include "lib/log.h"
#include "lib/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define HEAD	 "meta1 mta-sts 1\n"
#define LINE_MAX (STS_TEXT_MAX + STS_MX_MAX * (ADDR_DOMAIN_MAX + 3))

/* ---- lines ---- */
static void append(struct sts_bytes *b, const char *p, size_t n)
{
	if (b->n + n > b->size) {
		b->size = (b->n + n) * 2 + 4096;
		b->data = base_realloc(b->data, b->size);
	}
	memcpy(b->data + b->n, p, n);
	b->n += n;
}

void sts_file_begin(struct sts_bytes *b)
{
	append(b, HEAD, strlen(HEAD));
}

void sts_file_add(struct sts_bytes *b, const char *domain, const char *id, int64_t fetched,
    const struct sts_policy *p)
{
	size_t at = b->n, begin;
	char text[ADDR_DOMAIN_MAX + 200];
	int n = snprintf(text, sizeof(text), "%016x %s %s %s %u %lld", 0, domain, id,
	    sts_mode_word(p->mode), p->max_age, (long long)fetched);

	append(b, text, (size_t)n);
	for (uint32_t i = 0; i < p->nmx; i++) {
		append(b, " ", 1);
		append(b, p->mx[i], strlen(p->mx[i]));
	}
	begin = at + 17;
	snprintf(text, sizeof(text), "%016llx",
	    (unsigned long long)XXH3_64bits(b->data + begin, b->n - begin));
	memcpy(b->data + at, text, 16);
	append(b, "\n", 1);
}

/* The next word; false: none, or it is too long. */
static bool word(const char **at, char *out, size_t size)
{
	size_t n = strcspn(*at, " ");

	if (n == 0 || n >= size)
		return false;
	memcpy(out, *at, n);
	out[n] = '\0';
	*at += n + ((*at)[n] == ' ');
	return true;
}

static bool number(const char **at, int64_t most, int64_t *v)
{
	char text[24], *end;

	if (!word(at, text, sizeof(text)) || strspn(text, "0123456789") != strlen(text))
		return false;
	*v = strtoll(text, &end, 10);
	return *v <= most;
}

static bool patterns(const char *at, struct sts_saved *s, enum sts_mode mode, int64_t max_age)
{
	char **mx = base_alloc(STS_MX_MAX * sizeof(*mx)), one[ADDR_DOMAIN_MAX + 3];
	uint32_t n = 0;
	bool good = true;

	while (*at && (good = n < STS_MX_MAX && word(&at, one, sizeof(one)) && sts_pattern_ok(one)))
		mx[n++] = base_strdup(one);
	good = good && (n > 0 || mode == STS_NONE);
	if (good)
		s->policy = sts_policy_new(mode, (uint32_t)max_age, (const char *const *)mx, n);
	while (n > 0)
		free(mx[--n]);
	free(mx);
	return good;
}

bool sts_file_line(const char *line, struct sts_saved *s)
{
	char sum[17], mode[16], key[ADDR_DOMAIN_MAX + 1];
	const char *at = line;
	enum sts_mode m;
	int64_t max_age;

	s->policy = NULL;
	if (!word(&at, sum, sizeof(sum)) || strlen(sum) != 16 || line[16] != ' ')
		return false;
	snprintf(key, sizeof(key), "%016llx", (unsigned long long)XXH3_64bits(at, strlen(at)));
	return strcmp(sum, key) == 0 && word(&at, s->domain, sizeof(s->domain)) &&
	       addr_domain_key(buf_str(s->domain), key, sizeof(key)) == 0 &&
	       strcmp(key, s->domain) == 0 && word(&at, s->id, sizeof(s->id)) && sts_id_ok(s->id) &&
	       word(&at, mode, sizeof(mode)) && sts_mode_of(mode, &m) &&
	       number(&at, STS_MAX_AGE, &max_age) && number(&at, INT64_MAX / 2000, &s->fetched) &&
	       patterns(at, s, m, max_age);
}

/* ---- reading ---- */
static void aside(const char *path)
{
	char bad[1100];

	snprintf(bad, sizeof(bad), "%s.bad", path);
	log_event(LOG_L_WARN, "smar.mta_sts", "file=%s text=%s moved=%s error=%s", path,
	    "not policies of this version; begun anew", bad,
	    rename(path, bad) < 0 ? strerror(errno) : "no");
}

static unsigned read_lines(
    FILE *f, char *line, void (*fn)(void *arg, struct sts_saved *), void *arg)
{
	struct sts_saved s;
	unsigned wrong = 0;
	bool middle = false; /* of a line that is longer than any of ours */

	while (fgets(line, LINE_MAX, f)) {
		size_t n = strlen(line);
		bool whole = n > 0 && line[n - 1] == '\n';

		if (whole)
			line[n - 1] = '\0';
		if (whole && !middle && sts_file_line(line, &s))
			fn(arg, &s);
		else if (!middle)
			wrong++;
		middle = !whole;
	}
	return wrong;
}

int sts_file_read(
    const char *path, void (*fn)(void *arg, struct sts_saved *), void *arg, struct meta1_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char *line;
	unsigned wrong;
	bool ours;

	if (!f && errno == ENOENT)
		return 0;
	if (!f) {
		err_set(err, "mta_sts: file %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	line = base_alloc(LINE_MAX);
	ours = !fgets(line, LINE_MAX, f) || strcmp(line, HEAD) == 0;
	if (!ours)
		aside(path);
	wrong = ours ? read_lines(f, line, fn, arg) : 0;
	if (wrong > 0)
		log_event(LOG_L_WARN, "smar.mta_sts", "file=%s wrong=%u text=%s", path, wrong,
		    "lines that are not whole are left out; their domains are asked anew");
	free(line);
	fclose(f);
	return 0;
}

/* ---- writing ---- */
void sts_file_write(void *arg)
{
	struct sts_write *w = arg;

	w->failed = newfile_write(w->path, w->bytes.data, w->bytes.n);
}
