/* SPDX-License-Identifier: BSD-2-Clause */
/* Leaves the pointer to a session that it freed. */
#define END(s, sess) s->f->host->free(s->f->ctx, s)
#include "filter.h"
