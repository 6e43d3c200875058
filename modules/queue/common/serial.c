/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serial.c -- files of state/ that are numbered: NAME.SERIAL, 16 hex digits.
 * Comes from: journals, checkpoints, history. Owns: nothing. On failure: errno.
 */
#include "common.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void serial_name(char out[40], const char *what, uint64_t serial)
{
	snprintf(out, 40, "%.20s.%016" PRIx64, what, serial);
}

static bool parse(const char *name, const void *what, uint64_t *serial)
{
	size_t len = strlen(what);
	const char *hex = name + len + 1;

	if (strncmp(name, what, len) != 0 || name[len] != '.' ||
	    strspn(hex, "0123456789abcdef") != 16 || hex[16] != '\0')
		return false;
	*serial = strtoull(hex, NULL, 16);
	return true;
}

int serial_list(int dir, const char *what, uint64_t **out, size_t *n)
{
	*out = NULL;
	*n = 0;
	if (folder_list(dir, ".", parse, what, out, n) < 0)
		return -1;
	folder_sort(*out, *n);
	return 0;
}
