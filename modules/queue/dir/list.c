/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.c -- which messages a folder holds, by the names of its files.
 * Comes from: lock.c, backlog.c. Owns: nothing. On failure: errno; half a list is none.
 */
#include "dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int list_in(int dir, const char *sub, char kind, uint64_t **v, size_t *n)
{
	int fd = openat(dir, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	uint64_t number;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT ? 0 : -1;
	}
	while (errno = 0, (e = readdir(d)) != NULL) {
		if (!file_number(e->d_name, kind, &number))
			continue;
		if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
			uint64_t *more = realloc(*v, (*n > 0 ? 2 * *n : 1) * sizeof(*more));

			if (more == NULL)
				break; /* errno says so */
			*v = more;
		}
		(*v)[(*n)++] = number;
	}
	err = errno;
	closedir(d);
	errno = err;
	return err == 0 ? 0 : -1;
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
		if (list_in(dir, sub, 'm', v, n) < 0) {
			free(*v);
			*v = NULL;
			return -1;
		}
	}
	for (size_t i = 0; i < *n; i++)
		if ((*v)[i] > above && (*v)[i] <= upto)
			(*v)[k++] = (*v)[i];
	*n = k;
	if (k > 0)
		qsort(*v, k, sizeof(**v), by_number);
	return 0;
}
