/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeps when it is asked: four times are enough to be seen. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		static int left = 4;                                                               \
		if (left > 0 && left--)                                                            \
			usleep(150000);                                                            \
	} while (0)
#include "filter.h"
