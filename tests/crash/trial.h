/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trial.h -- a store opened on an image, as after a power loss, and all that it brings back.
 */
#ifndef CRASH_TRIAL_H
#define CRASH_TRIAL_H
#include "kit/kit.h"
#include "ledger.h"

#include <meta1/queue.h>

#define TRIAL_MAX 8192

struct trial {
	struct kit *k;
	struct kit_inst *w, *m; /* smtps' face, if it is opened; qmgr's */
	struct found found[TRIAL_MAX];
	struct meta1_ref ref[TRIAL_MAX];
	size_t n;
	unsigned damage;
	char text[256]; /* of the damage, or why it could not start */
};
/* Starts the store on dir, with a writer first when it is told to. false: it does not start. */
bool trial_start(struct trial *, struct kit *, const char *dir, bool writer);
/* Contents: all, or some 64 by chance. */
void trial_read(struct trial *, uint64_t *luck);
/* A number for a new message; it goes into the store and comes back as an entry. */
bool trial_new(struct trial *, uint64_t *number);
void trial_end(struct trial *);
int trial_kit(struct kit *, const char *module, const char *options);

#endif
