/* SPDX-License-Identifier: BSD-2-Clause */
/* fsck.h -- meta1ctl queue fsck: asks the store's module itself, without the roles. */
#ifndef META1_CTL_FSCK_H
#define META1_CTL_FSCK_H
#include "lib/settings.h"

/* 0: everything is accounted for; 1: not, or something is damaged; 2: it cannot be said. */
int ctl_fsck(struct settings *, bool json);

#endif
