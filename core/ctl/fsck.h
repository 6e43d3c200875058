/* SPDX-License-Identifier: BSD-2-Clause */
/* fsck.h -- meta1ctl queue fsck: asks the store's module itself, without the roles; so does an
 * export from a queue that stands still. */
#ifndef META1_CTL_FSCK_H
#define META1_CTL_FSCK_H
#include "lib/settings.h"

struct mod_inst;

/* Opens the queue's module as a tool; what use() returns, or 2 and a line on stderr. */
int ctl_store(struct settings *, int (*use)(struct mod_inst *, void *), void *arg);
/* 0: everything is accounted for; 1: not, or something is damaged; 2: it cannot be said. */
int ctl_fsck(struct settings *, bool json);

#endif
