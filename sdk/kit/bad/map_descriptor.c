/* SPDX-License-Identifier: BSD-2-Clause */
/* Each instance keeps a descriptor open for ever. */
#include <fcntl.h>
#define OPEN(in) open("/dev/null", O_RDONLY) < 0
#include "bad.h"
