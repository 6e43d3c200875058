/* SPDX-License-Identifier: BSD-2-Clause */
/* Cannot work with a descriptor that select() cannot hold. */
#include <fcntl.h>
#include <unistd.h>
static int low(void)
{
	int fd = open("/dev/null", O_RDONLY);

	close(fd);
	return fd >= 0 && fd < 1024;
}
#define OPEN(in) low() && ((in)->block = (in)->host->alloc((in)->ctx, 64)) ? 0 : -1
#include "bad.h"
