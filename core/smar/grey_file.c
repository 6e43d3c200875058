/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_file.c -- bytes of the greylist's file, told in grey_file.h.
 * From grey_log.c; to the disk. Owns nothing. On failure: an append is taken back so that the file
 * stays whole, a new file is removed; the errno is in the batch.
 */
#include "smar/grey_file.h"

#include "lib/log.h"
#include "lib/newfile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FRAME	    6
#define PAYLOAD_MAX (15 + GREY_KEY_MAX)

/* ---- records ---- */
void grey_bytes_free(struct grey_bytes *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

static void append(struct grey_bytes *b, const void *p, size_t n)
{
	if (b->n + n > b->size) {
		b->size = (b->n + n) * 2 + 4096;
		b->data = base_realloc(b->data, b->size);
	}
	memcpy(b->data + b->n, p, n);
	b->n += n;
}

void grey_file_head(struct grey_bytes *b)
{
	append(b, GREY_FILE_HEAD, strlen(GREY_FILE_HEAD));
}

static void record(struct grey_bytes *b, const char *payload, size_t n)
{
	uint16_t len = htole16((uint16_t)n);
	uint32_t sum = htole32((uint32_t)XXH3_64bits(payload, n));

	append(b, &len, sizeof(len));
	append(b, &sum, sizeof(sum));
	append(b, payload, n);
}

static char *put32(char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static char *put64(char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint32_t get32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

void grey_file_clock(struct grey_bytes *b, const struct grey_clock *c)
{
	char payload[29] = "C", *p = put32(payload + 1, c->list);

	p = put64(p, (uint64_t)c->wall);
	p = put64(p, (uint64_t)c->mono);
	put64(p, c->boot);
	record(b, payload, sizeof(payload));
}

void grey_file_entry(struct grey_bytes *b, const struct grey_entry *e, bool gone)
{
	char payload[PAYLOAD_MAX], *p = payload;

	*p++ = gone ? 'D' : 'S';
	if (!gone) {
		*p++ = (char)e->kind;
		*p++ = (char)e->white;
		p = put32(p, e->first);
		p = put32(p, e->last);
		p = put32(p, e->passes);
	}
	memcpy(p, e->key, e->len);
	record(b, payload, (size_t)(p - payload) + e->len);
}

/* ---- reading ---- */
uint64_t grey_file_boot(void)
{
	char id[64];
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	size_t n = f ? fread(id, 1, sizeof(id), f) : 0;

	if (f)
		fclose(f);
	return n > 0 ? XXH3_64bits(id, n) | 1 : 0;
}

/* net NUL, or net NUL sender NUL recipient NUL */
static bool key_ok(const char *key, size_t len, bool net)
{
	unsigned nul = 0;

	for (size_t i = 0; i < len; i++)
		nul += key[i] == '\0';
	return len > 1 && len <= GREY_KEY_MAX && key[0] && key[len - 1] == '\0' &&
	       nul == (net ? 1 : 3);
}

static bool take_entry(struct grey *g, const char *p, size_t n)
{
	unsigned char kind = n > 14 ? (unsigned char)p[0] : GREY_KINDS;
	struct grey_entry *e;

	if (kind >= GREY_KINDS || !key_ok(p + 14, n - 14, kind == GREY_NET))
		return false;
	e = grey_put(g, p + 14, n - 14, kind);
	e->white = p[1] != 0;
	e->first = get32(p + 2);
	e->last = e->logged = get32(p + 6);
	e->passes = get32(p + 10);
	return true;
}

static bool take(struct grey *g, struct grey_clock *c, const char *p, size_t n)
{
	struct grey_entry *e;

	if (p[0] == 'S')
		return take_entry(g, p + 1, n - 1);
	if (p[0] == 'D') {
		e = grey_find(g, p + 1, n - 1);
		if (e)
			grey_drop(g, &e);
		return true;
	}
	if (p[0] != 'C' || n != 29)
		return false;
	c->list = get32(p + 1);
	c->wall = (int64_t)get64(p + 5);
	c->mono = (int64_t)get64(p + 13);
	c->boot = get64(p + 21);
	return true;
}

/* Where what is whole ends. */
static size_t take_all(
    struct grey *g, struct grey_clock *c, const char *p, size_t n, unsigned *wrong)
{
	size_t at = strlen(GREY_FILE_HEAD), whole = at;

	while (n - at > FRAME) {
		size_t len = (unsigned char)p[at] | (size_t)(unsigned char)p[at + 1] << 8;
		const char *payload = p + at + FRAME;

		if (len == 0 || len > PAYLOAD_MAX || len > n - at - FRAME)
			break;
		at += FRAME + len;
		if ((uint32_t)XXH3_64bits(payload, len) != get32(payload - 4) ||
		    !take(g, c, payload, len))
			++*wrong;
		else
			whole = at;
	}
	return whole;
}

static char *read_all(int fd, size_t *n)
{
	struct stat st;
	int have = fstat(fd, &st);
	size_t size = have == 0 ? (size_t)st.st_size : 0;
	char *b = have == 0 ? malloc(size + 1) : NULL;
	ssize_t got = 0;

	for (*n = 0; b && *n < size && (got = read(fd, b + *n, size - *n)) > 0;)
		*n += (size_t)got;
	if (got >= 0)
		return b;
	have = errno;
	free(b);
	errno = have;
	return NULL;
}

/* What is cut is more than the record that a crash tore: somebody may want to look at it. */
static void keep_copy(const char *path, const char *data, size_t n)
{
	const struct grey_bytes b = {.data = (char *)(uintptr_t)data, .n = n};
	char bad[1100];
	int fd, cause;

	snprintf(bad, sizeof(bad), "%s.bad", path);
	fd = open(bad, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	cause = fd < 0 ? errno : newfile_put(fd, b.data, b.n);
	if (fd >= 0)
		close(fd);
	log_event(LOG_L_WARN, "smar.greylist", "file=%s text=%s copy=%s error=%s", path,
	    "damaged in the middle, the rest is cut", bad, cause ? strerror(cause) : "no");
}

static void aside(const char *path, const char *why)
{
	char bad[1100];

	snprintf(bad, sizeof(bad), "%s.bad", path);
	log_event(LOG_L_WARN, "smar.greylist", "file=%s text=%s moved=%s error=%s", path, why, bad,
	    rename(path, bad) < 0 ? strerror(errno) : "no");
}

static int make(const char *path, struct meta1_err *err)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	/* What passes must not cost the list that is there: it would be written anew, empty. */
	if (fd < 0 && errno != EROFS && errno != ENOSPC && errno != EDQUOT)
		return err_set(err,
		    "greylisting: file %s: %s; it and its folder must be there for smar's account",
		    path, strerror(errno));
	if (fd < 0)
		log_event(LOG_L_WARN, "smar.greylist", "file=%s error=%s text=%s", path,
		    strerror(errno), "the list is in memory alone for now");
	return fd;
}

int grey_file_open(const char *path, struct grey *g, struct grey_clock *c, int *fd, uint64_t *size,
    struct meta1_err *err)
{
	size_t n = 0, head = strlen(GREY_FILE_HEAD), whole;
	unsigned wrong = 0;
	char *data;

	*size = 0;
	err->text[0] = '\0';
	*fd = make(path, err);
	if (*fd < 0)
		return err->text[0] ? -1 : 0;
	data = read_all(*fd, &n);
	if (data && n > 0 && (n < head || memcmp(data, GREY_FILE_HEAD, head) != 0) &&
	    memcmp(data, GREY_FILE_HEAD, n < head ? n : head) != 0) {
		aside(path, "not a greylist of this version; begun anew");
		close(*fd);
		free(data);
		*fd = make(path, err);
		return *fd < 0 && err->text[0] ? -1 : 0;
	}
	if (!data) {
		char why[100];

		snprintf(why, sizeof(why), "cannot be read: %s; begun anew", strerror(errno));
		aside(path, why);
		close(*fd);
		*fd = -1;
		return 0;
	}
	whole = n >= head ? take_all(g, c, data, n, &wrong) : 0;
	if (whole < n || wrong > 0)
		log_event(LOG_L_WARN, "smar.greylist", "file=%s size=%zu cut=%zu wrong=%u text=%s",
		    path, n, n - whole, wrong,
		    "records that are not whole are left out; their senders wait once more");
	if (n - whole > FRAME + PAYLOAD_MAX)
		keep_copy(path, data, n);
	free(data);
	if (whole < n && ftruncate(*fd, (off_t)whole) < 0) {
		log_event(LOG_L_WARN, "smar.greylist", "file=%s error=%s text=%s", path,
		    strerror(errno), "not written to; it will be written anew");
		close(*fd);
		*fd = -1;
	}
	*size = whole;
	return 0;
}

/* ---- writing ---- */
static void extend(struct grey_batch *w)
{
	w->failed = newfile_put(w->fd, w->bytes.data, w->bytes.n);
	if (!w->failed && fdatasync(w->fd) < 0)
		w->failed = errno;
	if (!w->failed) {
		w->size += w->bytes.n;
	} else if (ftruncate(w->fd, (off_t)w->size) < 0) {
		close(w->fd);
		w->fd = -1;
	}
}

/* The name is the new file's from the rename on, also when its folder cannot be synced. */
static int take_place(const char *path, const char *name, int fd, int *unsynced)
{
	char folder[1100];
	int dir;

	if (fdatasync(fd) < 0 || rename(name, path) < 0)
		return errno;
	str_copy(folder, sizeof(folder), path);
	dir = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*unsynced = dir < 0 || fsync(dir) < 0 ? errno : 0;
	if (dir >= 0)
		close(dir);
	return 0;
}

static void write_new(struct grey_batch *w)
{
	char name[1100];

	snprintf(name, sizeof(name), "%s.new", w->path);
	if (w->new_fd < 0) {
		unlink(name);
		w->new_fd =
		    open(name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	w->new_failed = w->new_fd < 0 ? errno : newfile_put(w->new_fd, w->more.data, w->more.n);
	if (!w->new_failed && w->finish)
		w->new_failed = take_place(w->path, name, w->new_fd, &w->unsynced);
	if (w->new_failed) {
		if (w->new_fd >= 0)
			close(w->new_fd);
		w->new_fd = -1;
		unlink(name);
	}
}

void grey_file_batch(void *arg)
{
	struct grey_batch *w = arg;

	if (w->fd >= 0 && w->bytes.n > 0)
		extend(w);
	if (w->anew)
		write_new(w);
}
