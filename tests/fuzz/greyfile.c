/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greyfile.c -- fuzz target of what core/smar/grey_file.c reads from disk. The first byte chooses:
 *	f  the rest is a file as it stands: hostile, torn, damaged
 *	p  the rest is payloads, a byte of length before each, framed with right sums
 * Whatever it says: reading ends, what is in the list holds its bounds, and the list written and
 * read again is the same.
 */
#include "fuzz.h"
#include "lib/log.h"
#include "smar/grey_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define ENTRIES 64

static char root[64], path[96], bad[104];

static void remove_root(void)
{
	unlink(path);
	unlink(bad);
	rmdir(root);
}

static void make_root(void)
{
	static const char *const where[] = {"/dev/shm", "/tmp"};
	const struct log_conf log = {.ident = "fuzz", .file = "/dev/null", .level = LOG_L_WARN};
	struct meta1_err err;

	must(log_open(NULL, &log, &err) >= 0);
	for (size_t i = 0; !path[0] && i < 2; i++) {
		snprintf(root, sizeof(root), "%s/meta1-fuzzgrey.XXXXXX", where[i]);
		if (mkdtemp(root))
			snprintf(path, sizeof(path), "%s/greylist", root);
	}
	must(path[0] != '\0');
	snprintf(bad, sizeof(bad), "%s.bad", path);
	atexit(remove_root);
}

static void put(const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* As grey_file.h has it: length, half of the sum, payload. */
static void put_payloads(const uint8_t *data, size_t size)
{
	static uint8_t file[65536];
	size_t n = strlen(GREY_FILE_HEAD);

	memcpy(file, GREY_FILE_HEAD, n);
	while (size > 1) {
		size_t len = data[0] < size ? data[0] : size - 1;
		uint32_t sum = (uint32_t)XXH3_64bits(data + 1, len);

		if (n + 6 + len > sizeof(file))
			break;
		file[n++] = (uint8_t)len;
		file[n++] = 0;
		for (unsigned i = 0; i < 32; i += 8)
			file[n++] = (uint8_t)(sum >> i);
		memcpy(file + n, data + 1, len);
		n += len;
		data += 1 + len;
		size -= 1 + len;
	}
	put(file, n);
}

static struct grey *read_list(struct grey_clock *c, uint64_t *size)
{
	struct grey *g = grey_new(ENTRIES, 1);
	struct meta1_err err = {""};
	struct stat st;
	int fd = -1;

	memset(c, 0, sizeof(*c));
	must(grey_file_open(path, g, c, &fd, size, &err) == 0);
	if (fd >= 0) {
		must(fstat(fd, &st) == 0 && (uint64_t)st.st_size == *size);
		close(fd);
	}
	return g;
}

static void entry(const struct grey *g, const struct grey_entry *e, unsigned kind)
{
	char id[GREY_ID_MAX];

	must(e->kind == kind && e->len > 1 && e->len <= GREY_KEY_MAX && e->key[e->len - 1] == '\0');
	must(grey_find(g, e->key, e->len) == e);
	must(strlen(e->key) + strlen(grey_key_sender(e)) + strlen(grey_key_recipient(e)) < e->len);
	grey_id(e, id);
	must(strlen(id) < sizeof(id));
}

/* All entries as the file has them. */
static void write_list(const struct grey *g, const struct grey_clock *c, struct grey_bytes *out)
{
	uint32_t n = 0;

	grey_file_head(out);
	grey_file_clock(out, c);
	for (unsigned k = 0; k < GREY_KINDS; k++)
		for (const struct grey_entry *e = g->list[k].oldest; e; e = e->newer) {
			entry(g, e, k);
			grey_file_entry(out, e, false);
			n++;
		}
	must(n == grey_count(g) && n <= ENTRIES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct grey_bytes one = {NULL, 0, 0}, two = {NULL, 0, 0};
	struct grey_clock c, again;
	uint64_t whole;
	struct grey *g;

	if (size == 0 || (data[0] != 'f' && data[0] != 'p'))
		return 0;
	if (!path[0])
		make_root();
	if (data[0] == 'f')
		put(data + 1, size - 1);
	else
		put_payloads(data + 1, size - 1);
	g = read_list(&c, &whole);
	write_list(g, &c, &one);
	grey_free(&g);
	put(one.data, one.n);
	g = read_list(&again, &whole);
	must(whole == one.n);
	write_list(g, &again, &two);
	must(one.n == two.n && memcmp(one.data, two.data, one.n) == 0);
	grey_free(&g);
	grey_bytes_free(&one);
	grey_bytes_free(&two);
	unlink(bad);
	return 0;
}
