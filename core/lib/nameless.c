/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nameless.c -- a file that no folder names, also where the file system has no such files.
 * Comes from smtps' images of mail and from edits; owns nothing. On failure: -1 and errno.
 */
#include "lib/nameless.h"

#include "lib/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int nameless_file(const char *folder)
{
	char name[4096];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	snprintf(name, sizeof(name), "%s/imageXXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}
