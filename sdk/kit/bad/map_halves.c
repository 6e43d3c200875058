/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes a read() for whole that did a half. */
#include <unistd.h>
#define OPEN(in)  halves()
#define CLOSE(in) (void)(in)->block

static inline int halves(void)
{
	char b[100] = "";
	int fd[2], r = -1;

	if (pipe(fd) < 0)
		return -1;
	if (write(fd[1], b, sizeof(b)) == (ssize_t)sizeof(b))
		r = read(fd[0], b, sizeof(b)) == (ssize_t)sizeof(b) ? 0 : -1;
	close(fd[0]);
	close(fd[1]);
	return r;
}
#include "bad.h"
