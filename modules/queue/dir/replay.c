/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c -- the lines of state/outcomes.N become a table; on a worker, at start.
 *
 * A bad line at the end of all is a torn one; one behind which a later piece begins was synced
 * once: damage, named, and passed over. What it said may be done again.
 * Comes from: state/. Goes to: backlog.c. Owns: the table until it is handed over.
 * On failure: only lack of memory and a folder that cannot be read stop it, for a while.
 */
#include "dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGN 4096u

static char *field(char **p)
{
	char *f = *p, *end = f != NULL ? strchr(f, ' ') : NULL;

	if (end != NULL)
		*end++ = '\0';
	*p = end;
	return f;
}

static uint64_t number(char **p, int base)
{
	const char *f = field(p);

	return f != NULL ? strtoull(f, NULL, base) : 0;
}

/* The part behind the sum, checked. */
static void take(struct replay *p, char *text)
{
	uint32_t writer = (uint32_t)number(&text, 10);
	uint64_t n = number(&text, 16);
	struct rec *r = writer <= DIR_QM ? table_add(&p->t, writer, n) : NULL;
	struct rst s = {.state = 0};
	struct meta1_buf why = {NULL, 0};
	uint32_t rcpt;

	if (r == NULL) {
		p->err = ENOMEM;
		return;
	}
	if (text != NULL && strcmp(text, "done") == 0) {
		table_dead(&p->t, r);
		return;
	}
	rcpt = (uint32_t)number(&text, 10);
	s.state = (uint32_t)number(&text, 10);
	s.tries = (uint32_t)number(&text, 10);
	s.next_try = (int64_t)number(&text, 10);
	field(&text); /* when it was said */
	why.data = field(&text);
	if (why.data != NULL)
		why.len = text_unword((char *)(uintptr_t)why.data);
	if (s.state <= META1_R_DELETED && !r->dead && rcpt < DIR_NRCPT_MAX &&
	    !table_state(r, rcpt, &s, why))
		p->err = ENOMEM;
}

static bool good(const char *line, size_t len)
{
	uint64_t sum;
	char hex[17];

	if (len < 20 || line[16] != ' ')
		return false;
	memcpy(hex, line, 16);
	hex[16] = '\0';
	sum = strtoull(hex, NULL, 16);
	return sum == text_sum(line + 17, len - 17 + 1); /* with its newline */
}

static void read_lines(struct replay *p, char *b, size_t len)
{
	bool bad = false;

	for (char *at = b, *end; at < b + len && p->err == 0; at = end + 1) {
		size_t n;

		while (at < b + len && (*at == '\0' || *at == ' ')) /* room that was never used */
			at++;
		end = memchr(at, '\n', len - (size_t)(at - b));
		if (end == NULL) {
			if (at < b + len)
				bad = true;
			break;
		}
		n = (size_t)(end - at);
		if (n == 0)
			continue;
		/* A piece begins here: what was before it had been synced. */
		if (n == 1 && *at == '#' && (size_t)(at - b) % ALIGN == 0) {
			p->damaged += bad;
			bad = false;
			continue;
		}
		if (!good(at, n)) {
			bad = true;
			continue;
		}
		*end = '\0';
		take(p, at + 17);
	}
}

static void read_file(struct replay *p, uint64_t serial)
{
	struct stat st;
	char name[40], *b = NULL;
	size_t at = 0;
	int fd;

	snprintf(name, sizeof(name), "outcomes.%016" PRIx64, serial);
	fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		p->err = errno;
		goto out;
	}
	b = malloc((size_t)st.st_size + 1);
	if (b == NULL) {
		p->err = ENOMEM;
		goto out;
	}
	while (at < (size_t)st.st_size) {
		ssize_t n = pread(fd, b + at, (size_t)st.st_size - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			p->damaged++;
			break;
		}
		at += (size_t)n;
	}
	b[at] = '\0';
	read_lines(p, b, at);
	/* What a killed qmgr left is in memory only, perhaps; files are removed on its word now. */
	if (fdatasync(fd) < 0)
		p->damaged++;
out:
	if (fd >= 0)
		close(fd);
	free(b);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers in the names of a folder's entries. */
static size_t names(struct replay *p, int at, const char *path, const char *prefix, int base,
    uint64_t *v, size_t max)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	size_t n = 0, skip = strlen(prefix);
	struct dirent *e;

	if (d == NULL) {
		if (errno != ENOENT)
			p->err = errno;
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (n < max && (errno = 0, (e = readdir(d)) != NULL)) {
		char *end;

		if (strncmp(e->d_name, prefix, skip) != 0 || e->d_name[skip] == '\0')
			continue;
		v[n] = strtoull(e->d_name + skip, &end, base);
		n += *end == '\0';
	}
	if (n < max && errno != 0)
		p->err = errno;
	closedir(d);
	if (n > 0)
		qsort(v, n, sizeof(*v), by_number);
	return n;
}

void replay_work(void *arg)
{
	struct replay *p = arg;
	static uint64_t v[4096]; /* one replay runs at a time */
	size_t n = names(p, p->dir, ".", "outcomes.", 16, v, 4096);

	p->fd = -1;
	p->serial = 1;
	for (size_t i = 0; i < n && p->err == 0; i++) {
		read_file(p, v[i]);
		p->serial = v[i] + 1;
		p->files++;
	}
	if (p->err != 0)
		return;
	n = names(p, p->qfd, "in", "", 10, v, 255);
	p->folder[p->nfolder++] = DIR_QM;
	for (size_t i = 0; i < n; i++)
		if (v[i] < DIR_QM)
			p->folder[p->nfolder++] = (uint32_t)v[i];
	if (p->err == 0)
		p->fd = outcomes_make(p->dir, p->serial, p->room);
}
