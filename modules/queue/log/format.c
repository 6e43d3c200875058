/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format.c -- is what stands in the folders of our format?
 *
 * Looked at before anything is written: a queue of another version is refused, whole, with what
 * to do, and never half read as damage. Damage is not another version: a turned bit in
 * the version still fits the header's checksum.
 * Comes from: log.c at open. Owns nothing. On failure: the text says which file.
 */
#include "log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum what { NOTHING, OURS, OTHER };

static enum what look(int dir, uint64_t seg, uint32_t *version)
{
	enum what w = NOTHING;
	struct seg_head h, as_ours;
	char name[24];
	int fd;

	seg_name(name, 's', seg);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return w;
	if (pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) && h.magic == SEG_MAGIC) {
		as_ours = h;
		as_ours.version = SEG_VERSION;
		*version = h.version;
		w = seg_head_ok(&as_ours, seg, 0) ? OURS
		    : h.version != SEG_VERSION	  ? OTHER
						  : NOTHING;
	}
	close(fd);
	return w;
}

/* The newest that has a good beginning decides. */
static int check(int at, const char *folder, struct meta1_err *e)
{
	int dir = openat(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t version = 0, other = 0;
	uint64_t *v = NULL, seg = 0;
	size_t n = 0;

	if (dir < 0 || scan_list(dir, 's', &v, &n) < 0)
		n = 0;
	while (n-- > 0) {
		enum what w = look(dir, v[n], &version);

		if (w == OURS) {
			other = 0;
			break;
		}
		if (w == OTHER && other == 0) {
			other = version;
			seg = v[n];
		}
	}
	free(v);
	if (dir >= 0)
		close(dir);
	if (other == 0)
		return 0;
	snprintf(e->text, sizeof(e->text),
	    "queue folder %s: s%016llx is of format version %u, expected %u (%s): let the meta1 "
	    "that "
	    "wrote it deliver what waits, or move the folder away, then start this one",
	    folder, (unsigned long long)seg, other, SEG_VERSION, LOG_FORMAT);
	return -1;
}

int format_check(struct store *l, struct meta1_err *e)
{
	char folder[16];

	for (uint32_t w = 0; w <= LOG_QM; w++) {
		folder_name(w, folder);
		if (check(l->qfd, folder, e) < 0)
			return -1;
	}
	return 0;
}
