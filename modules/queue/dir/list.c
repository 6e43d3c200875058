/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.c -- which messages a folder holds, by the names of its files.
 * Comes from: numbers.c, backlog.c. Owns: nothing. On failure: errno; half a list is none.
 */
#include "dir.h"

#include <errno.h>
#include <stdlib.h>

static bool is_kind(const char *name, const void *kind, uint64_t *number)
{
	return file_number(name, *(const char *)kind, number);
}

int list_in(int dir, const char *sub, char kind, uint64_t **v, size_t *n)
{
	return folder_list(dir, sub, is_kind, &kind, v, n) < 0 && errno != ENOENT ? -1 : 0;
}

int list_files(int dir, uint64_t above, uint64_t upto, uint64_t **v, size_t *n)
{
	uint64_t subs = (upto >> 14) - (above >> 14);
	size_t k = 0;

	*v = NULL;
	*n = 0;
	/* A short range has its files in few folders. */
	for (uint64_t i = 0; i < 256 && i <= subs; i++) {
		char sub[4];

		file_sub(above + (i << 14), sub);
		if (list_in(dir, sub, 'm', v, n) < 0)
			return -1;
	}
	for (size_t i = 0; i < *n; i++)
		if ((*v)[i] > above && (*v)[i] <= upto)
			(*v)[k++] = (*v)[i];
	*n = k;
	folder_sort(*v, k);
	return 0;
}
