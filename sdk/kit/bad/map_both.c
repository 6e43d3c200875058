/* SPDX-License-Identifier: BSD-2-Clause */
/* Has lookup() and find(). */
#include <meta1/map.h>
static enum meta1_status find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	(void)inst, (void)key, (void)r;
	return META1_NOTFOUND;
}
#define EXTRA_OPS .find = find, .props = META1_MAP_LOCAL
#include "bad.h"
