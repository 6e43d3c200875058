/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * secret.c -- files with secrets: who may have them is checked on the open file, whoever replaces
 * the name meanwhile.
 * Comes from tls_cert.c and smtpc's credentials. The caller owns what was read.
 * On failure: err names option, file, what was found and what to do.
 */
#include "lib/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int secret_rights(int fd, const char *what, const char *file, struct meta1_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, "%s %s: %s", what, file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, "%s %s: expected a file", what, file);
	if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
		return err_set(err,
		    "%s %s: mode %03o lets others have it; expected 400, 600, 440 or 640: "
		    "chmod o=,g-w",
		    what, file, (unsigned)st.st_mode & 0777u);
	/* another account's that is in our own group was put there by root, for two roles to share
	 */
	if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_gid != getegid())
		return err_set(err,
		    "%s %s: belongs to user %u, group %u; expected root, this account, user %u, or "
		    "its group, %u",
		    what, file, (unsigned)st.st_uid, (unsigned)st.st_gid, (unsigned)geteuid(),
		    (unsigned)getegid());
	return 0;
}

static ssize_t read_all(int fd, char *p, size_t max)
{
	size_t have = 0;
	ssize_t n;

	while (have < max) {
		n = read(fd, p + have, max - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

char *secret_read(
    const char *what, const char *file, size_t max, size_t *len, struct meta1_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *p = NULL;
	ssize_t n = -1;

	if (fd < 0) {
		err_set(err, "%s %s: %s", what, file, strerror(errno));
		return NULL;
	}
	if (secret_rights(fd, what, file, err) < 0)
		goto out;
	p = base_alloc(max + 2);
	n = read_all(fd, p, max + 1);
	if (n < 0)
		err_set(err, "%s %s: %s", what, file, strerror(errno));
	else if ((size_t)n > max)
		n = err_set(err, "%s %s: more than %zu bytes", what, file, max);
out:
	close(fd);
	if (n < 0)
		secret_wipe(&p, p ? max : 0);
	else
		*len = (size_t)n;
	return p;
}

void secret_wipe(char **p, size_t len)
{
	if (*p)
		explicit_bzero(*p, len);
	free(*p);
	*p = NULL;
}
