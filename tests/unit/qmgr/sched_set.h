/* SPDX-License-Identifier: BSD-2-Clause */
/* sched_set.h -- a schedule with places for its items, for sched.c and bounds.c. */
#ifndef TEST_QMGR_SCHED_SET_H
#define TEST_QMGR_SCHED_SET_H
#include "../unit.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

static const struct qmgr_limits lim = {.aq_max = 40,
    .initial = 2,
    .max_conn = 8,
    .min_retry = 300000,
    .max_retry = 3600000,
    .max_queue = 432000000,
    .memory = 64 << 20};

struct set {
	struct qmgr_sched s;
	struct qmgr_item item[8000];
	unsigned used;
};

static struct set *set_new(void)
{
	struct set *t = base_alloc(sizeof(*t));

	qmgr_sched_init(&t->s);
	qmgr_sched_conf(&t->s, &lim);
	return t;
}

static void set_free(struct set *t)
{
	qmgr_sched_free(&t->s);
	free(t);
}

/* n recipients of the message called group. */
static void mail(struct set *t, struct qmgr_dest *d, const char *from, const void *group, int n)
{
	while (n--) {
		struct qmgr_item *i = &t->item[t->used++];

		i->group = group;
		qmgr_sched_add(&t->s, d, from, i);
	}
}

static struct qmgr_dest *dest(struct set *t, const char *key)
{
	return qmgr_sched_dest(&t->s, key, strlen(key));
}

#endif
