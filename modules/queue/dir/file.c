/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.c -- what a message's file looks like: the content, the envelope as lines of text, and
 * a last line of fixed length with lengths and checksums. Names too.
 *
 * Comes from: batch.c (written), reader.c and backlog.c (read). Owns: nothing.
 * On failure: reading says what is wrong with the file; it is never changed.
 */
#define XXH_INLINE_ALL
#include "dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define TRAILER_FMT                                                                                \
	"meta1-dir/1 number=%016" PRIx64 " content=%016" PRIx64 ":%016" PRIx64                     \
	" envelope=%08" PRIx64 ":%016" PRIx64
#define TRAILER_SUM " %016" PRIx64 "\n"
#define SUM_AT	    (TRAILER_LEN - 18)

/* ---- text ---- */

void text_word(struct bytes *t, struct meta1_buf b)
{
	const unsigned char *p = b.data;
	size_t from = 0;

	for (size_t i = 0; i < b.len; i++) {
		if (p[i] > ' ' && p[i] != '%' && p[i] != 0x7f)
			continue;
		bytes_add(t, p + from, i - from);
		bytes_fmt(t, "%%%02X", p[i]);
		from = i + 1;
	}
	bytes_add(t, b.len > 0 ? (const char *)b.data + from : "", b.len - from);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t text_unword(char *s)
{
	char *out = s;

	for (char *p = s; *p != '\0'; p++) {
		if (p[0] == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
			*out++ = (char)(hex(p[1]) * 16 + hex(p[2]));
			p += 2;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return (size_t)(out - s);
}

uint64_t text_sum(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

/* ---- the envelope ---- */

static const struct meta1_qrcpt *rcpt(const struct meta1_env *e, uint32_t i)
{
	return (const void *)((const char *)e->rcpt + (size_t)i * e->sizeof_rcpt);
}

bool file_envelope(struct bytes *t, const char *id, const struct meta1_env *e)
{
	if (e->nrcpt == 0 || e->nrcpt > DIR_NRCPT_MAX)
		return false;
	bytes_fmt(t, "id %s\ntime %" PRId64 "\nflags %" PRIu32 "\nbytes %" PRIu64 "\nfrom ", id,
	    e->time, e->flags, e->bytes);
	text_word(t, e->from);
	bytes_add(t, "\nclient ", 8);
	text_word(t, e->client);
	if (META1_HAS(e, envid) && e->envid.len > 0) {
		bytes_add(t, "\nenvid ", 7);
		text_word(t, e->envid);
	}
	if (META1_HAS(e, hold) && (e->flags & META1_M_HOLD) != 0) {
		bytes_add(t, "\nhold ", 6);
		text_word(t, e->hold);
	}
	for (uint32_t i = 0; i < e->nrcpt && t->len < DIR_ENV_MAX; i++) {
		const struct meta1_qrcpt *r = rcpt(e, i);
		bool dsn = e->sizeof_rcpt >= sizeof(*r);

		bytes_add(t, "\nrcpt ", 6);
		text_word(t, r->addr);
		if (dsn && (r->notify != 0 || r->orcpt.len > 0)) {
			bytes_fmt(t, " %" PRIu32 " ", r->notify);
			text_word(t, r->orcpt);
		}
		if (dsn && (r->flags != 0 || r->sender.len > 0 || r->alias.len > 0)) {
			bytes_fmt(t, "\nalias %" PRIu32 " ", r->flags);
			text_word(t, r->sender);
			bytes_add(t, " ", 1);
			text_word(t, r->alias);
		}
	}
	bytes_add(t, "\n", 1);
	return !t->bad && t->len < DIR_ENV_MAX - 64; /* batch.c adds a line */
}

static struct meta1_buf value(char *s)
{
	return (struct meta1_buf){s, text_unword(s)};
}

static bool rcpt_line(struct envelope *e, char *v)
{
	struct meta1_qrcpt *r;
	char *notify = strchr(v, ' '), *orcpt = notify != NULL ? strchr(notify + 1, ' ') : NULL;

	if (e->env.nrcpt % 64 == 0) {
		r = realloc(e->rcpt, (e->env.nrcpt + 64) * sizeof(*r));
		if (r == NULL)
			return false;
		e->rcpt = r;
	}
	r = &e->rcpt[e->env.nrcpt++];
	*r = (struct meta1_qrcpt){.state = META1_R_WAITING};
	if (notify != NULL) {
		*notify++ = '\0';
		r->notify = (uint32_t)strtoul(notify, NULL, 10);
	}
	if (orcpt != NULL)
		r->orcpt = value(orcpt + 1);
	r->addr = value(v);
	return true;
}

/* Of the recipient before it. */
static void alias_line(struct envelope *e, char *v)
{
	struct meta1_qrcpt *r = e->env.nrcpt > 0 ? &e->rcpt[e->env.nrcpt - 1] : NULL;
	char *sender = strchr(v, ' '), *alias = sender != NULL ? strchr(sender + 1, ' ') : NULL;

	if (r == NULL || alias == NULL)
		return;
	*alias++ = '\0';
	r->flags = (uint32_t)strtoul(v, NULL, 10);
	r->sender = value(sender + 1);
	r->alias = value(alias);
}

/* One "keyword value"; a keyword of a later version is passed over. */
static bool line(struct envelope *e, char *key)
{
	char *v = strchr(key, ' ');

	if (v == NULL)
		return true;
	*v++ = '\0';
	if (strcmp(key, "rcpt") == 0)
		return rcpt_line(e, v);
	if (strcmp(key, "alias") == 0)
		alias_line(e, v);
	else if (strcmp(key, "id") == 0)
		snprintf(e->id, sizeof(e->id), "%s", v);
	else if (strcmp(key, "time") == 0)
		e->env.time = strtoll(v, NULL, 10);
	else if (strcmp(key, "flags") == 0)
		e->env.flags = (uint32_t)strtoul(v, NULL, 10);
	else if (strcmp(key, "bytes") == 0)
		e->env.bytes = strtoull(v, NULL, 10);
	else if (strcmp(key, "from") == 0)
		e->env.from = value(v);
	else if (strcmp(key, "client") == 0)
		e->env.client = value(v);
	else if (strcmp(key, "envid") == 0)
		e->env.envid = value(v);
	else if (strcmp(key, "hold") == 0)
		e->env.hold = value(v);
	else if (strcmp(key, "after") == 0)
		e->after = strtoull(v, NULL, 16);
	return true;
}

/* ---- the file ---- */

void file_trailer(struct bytes *t, const struct trailer *r)
{
	size_t at = t->len;

	bytes_fmt(t, TRAILER_FMT, r->number, r->len, r->sum, r->envlen, r->envsum);
	if (!t->bad)
		bytes_fmt(t, TRAILER_SUM, text_sum(t->b + at, t->len - at));
}

static int read_at(int fd, void *b, size_t n, uint64_t off)
{
	for (size_t at = 0; at < n;) {
		ssize_t k = pread(fd, (char *)b + at, n - at, (off_t)(off + at));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		at += (size_t)k;
	}
	return 0;
}

int file_read_trailer(int fd, uint64_t number, struct trailer *r)
{
	char b[TRAILER_LEN + 1] = "";
	uint64_t sum = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	errno = 0;
	if (st.st_size < TRAILER_LEN ||
	    read_at(fd, b, TRAILER_LEN, (uint64_t)st.st_size - TRAILER_LEN) < 0)
		return -1;
	if (sscanf(b + SUM_AT, TRAILER_SUM, &sum) != 1 || sum != text_sum(b, SUM_AT) ||
	    sscanf(b, TRAILER_FMT, &r->number, &r->len, &r->sum, &r->envlen, &r->envsum) != 5 ||
	    r->number != number || r->envlen > DIR_ENV_MAX ||
	    r->len != (uint64_t)st.st_size - TRAILER_LEN - r->envlen) {
		errno = 0;
		return -1;
	}
	return 0;
}

bool file_content_ok(int fd, const struct trailer *r)
{
	enum { PIECE = 128 << 10 };
	uint8_t *b = malloc(PIECE);
	XXH3_state_t *st = XXH3_createState();
	uint64_t at = 0;
	bool ok = b != NULL && st != NULL && XXH3_64bits_reset(st) != XXH_ERROR;

	if (!ok)
		errno = ENOMEM;
	while (ok && at < r->len) {
		size_t n = r->len - at < PIECE ? (size_t)(r->len - at) : PIECE;

		errno = 0;
		ok = read_at(fd, b, n, at) == 0;
		if (ok)
			XXH3_64bits_update(st, b, n);
		at += n;
	}
	if (ok && XXH3_64bits_digest(st) != r->sum) {
		errno = 0;
		ok = false;
	}
	XXH3_freeState(st);
	free(b);
	return ok;
}

int file_read(int fd, uint64_t number, bool whole, struct envelope *e, char why[80])
{
	struct trailer r;
	bool memory = true;

	memset(e, 0, sizeof(*e));
	if (file_read_trailer(fd, number, &r) < 0) {
		snprintf(why, 80, "%s",
		    errno != 0 ? strerror(errno) : "its last line is not as it was written");
		return -1;
	}
	if (whole && !file_content_ok(fd, &r)) {
		snprintf(
		    why, 80, "its content: %s", errno != 0 ? strerror(errno) : "checksum differs");
		if (errno == ENOMEM)
			why[0] = '\0';
		return -1;
	}
	why[0] = '\0';
	e->text = malloc(r.envlen + 1);
	if (e->text == NULL)
		return -1;
	e->text[r.envlen] = '\0';
	e->len = r.len;
	if (read_at(fd, e->text, r.envlen, r.len) < 0 || text_sum(e->text, r.envlen) != r.envsum) {
		snprintf(why, 80, "its envelope: checksum differs");
		goto fail;
	}
	for (char *p = e->text, *end; memory && (end = strchr(p, '\n')) != NULL; p = end + 1) {
		*end = '\0';
		memory = line(e, p);
	}
	if (!memory)
		goto fail;
	if (e->env.nrcpt == 0 || e->id[0] == '\0') {
		snprintf(why, 80, "its envelope has no recipient or no id");
		goto fail;
	}
	e->env.size = sizeof(e->env);
	e->env.sizeof_rcpt = sizeof(*e->rcpt);
	e->env.rcpt = e->rcpt;
	return 0;
fail:
	file_free(e);
	return -1;
}

void file_free(struct envelope *e)
{
	free(e->text);
	free(e->rcpt);
	memset(e, 0, sizeof(*e));
}

/* ---- names ---- */

/* 64 neighbours share a folder, so that a batch syncs few of them; a million are 4,000 each.
 * The low byte of a number is its writer's. */
void file_sub(uint64_t number, char out[4])
{
	snprintf(out, 4, "%02x", (unsigned)(number >> 14 & 0xff));
}

void file_name(uint64_t number, char out[32])
{
	char sub[4];

	file_sub(number, sub);
	snprintf(out, 32, "%s/m%016" PRIx64, sub, number);
}

void file_path(uint64_t number, char out[64])
{
	char folder[16], name[32];

	folder_name((uint32_t)(number & 0xff), folder);
	file_name(number, name);
	snprintf(out, 64, "%s/%s", folder, name);
}

bool file_number(const char *name, char kind, uint64_t *number)
{
	if (name[0] != kind || strlen(name) != 17 || strspn(name + 1, "0123456789abcdef") != 16)
		return false;
	*number = strtoull(name + 1, NULL, 16);
	return true;
}
