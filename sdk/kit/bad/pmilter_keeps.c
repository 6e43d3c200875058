/* SPDX-License-Identifier: BSD-2-Clause */
/* Its edit points into the content, which is not its own behind the answer. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_END && a->msg->nextent && a->msg->extent[0].mem)                  \
		s->edit.value = (struct meta1_buf)                                                 \
		{                                                                                  \
			a->msg->extent[0].mem, 4                                                   \
		}
#include "filter.h"
