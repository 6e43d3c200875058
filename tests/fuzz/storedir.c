/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storedir.c -- fuzz target of what modules/queue/dir reads from disk. The first byte chooses:
 *	o  the rest is a file of outcomes as it stands: hostile, torn, damaged (replay.c)
 *	l  the rest is bodies of lines, one a line, sealed with right checksums
 *	m  the rest is an envelope, in a file with a right last line (file.c)
 * Whatever they say: the end is reached, and what the table counts is what it holds.
 */
#include "fuzz.h"

#include "../../modules/queue/dir/dir.h"

#include <fcntl.h>
#include <unistd.h>

static char root[64];
static int dir = -1;

static void remove_root(void)
{
	unlinkat(dir, "f", 0);
	rmdir(root);
}

static void make_root(void)
{
	static const char *const where[] = {"/dev/shm", "/tmp"};

	for (size_t i = 0; dir < 0 && i < 2; i++) {
		snprintf(root, sizeof(root), "%s/meta1-fuzzdir.XXXXXX", where[i]);
		if (mkdtemp(root))
			dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	must(dir >= 0);
	atexit(remove_root);
}

static int make_file(const void *b, size_t n)
{
	int fd = openat(dir, "f", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && bytes_write(fd, b, n, 0) == 0);
	return fd;
}

static void final(void *arg, const struct rec *r, const struct said *x)
{
	(void)arg;
	must(x->rcpt < r->nst && x->state <= META1_R_DELETED && strlen(x->id) > 0);
	must(x->by.len == strlen(x->by.data) || memchr(x->by.data, 0, x->by.len));
}

static void cursor(void *arg, uint32_t writer, uint64_t number)
{
	(void)arg;
	must(writer <= DIR_QM && (number & 0xff) == writer);
}

static void table_holds(const struct table *t)
{
	size_t n = 0;

	for (unsigned k = 0; k < 2; k++)
		for (const struct rec *r = k ? t->dead.first : t->live.first; r; r = r->next) {
			uint32_t done = 0;

			n++;
			must(table_find(t, r->writer, r->number) == r);
			for (uint32_t i = 0; i < r->nst; i++)
				done += r->st[i].state != META1_R_WAITING;
			must(r->dead || done == r->nfinal);
			must(r->nrcpt == 0 || r->nst <= r->nrcpt);
		}
	must(n == t->n);
}

static void outcomes(const void *b, size_t n)
{
	struct replay p = {.dir = dir, .final = final, .cursor = cursor};
	int fd = make_file(b, n);

	must(replay_end(fd, 1) <= n);
	close(fd);
	replay_file(&p, "f", false);
	must(p.err == 0);
	table_holds(&p.t);
	table_free(&p.t);
}

static void lines(const char *b, size_t n)
{
	struct bytes t = {0};

	bytes_add(&t, "#\n", 2);
	for (const char *end; n > 0; n -= (size_t)(end - b), b = end) {
		const char *nl = memchr(b, '\n', n);
		size_t at = t.len, len = nl ? (size_t)(nl - b) : n;
		char sum[20];

		end = nl ? nl + 1 : b + n;
		bytes_fmt(&t, "%016d ", 0);
		bytes_add(&t, b, len);
		bytes_add(&t, "\n", 1);
		snprintf(sum, sizeof(sum), "%016llx",
		    (unsigned long long)text_sum(t.b + at + 17, t.len - at - 17));
		memcpy(t.b + at, sum, 16);
	}
	outcomes(t.b, t.len);
	free(t.b);
}

static void message(const void *b, size_t n)
{
	struct trailer r = {
	    .number = 5, .envlen = n, .envsum = text_sum(b, n), .sum = text_sum("", 0)};
	struct bytes t = {0};
	struct envelope e;
	char why[80];
	int fd;

	bytes_add(&t, b, n);
	file_trailer(&t, &r);
	fd = make_file(t.b, t.len);
	if (file_read(fd, 5, true, &e, why) == 0) {
		must(e.env.nrcpt > 0 && e.id[0] != '\0' && e.len == 0);
		for (uint32_t i = 0; i < e.env.nrcpt; i++)
			must(e.rcpt[i].addr.len <= n);
		file_free(&e);
	} else {
		must(why[0] != '\0');
	}
	close(fd);
	free(t.b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2 || n > 4096)
		return 0;
	if (dir < 0)
		make_root();
	if (*data == 'o')
		outcomes(data + 1, n - 1);
	else if (*data == 'l')
		lines((const char *)data + 1, n - 1);
	else if (*data == 'm')
		message(data + 1, n - 1);
	return 0;
}
