/* SPDX-License-Identifier: BSD-2-Clause */
/* liar.h -- what the tests of workers that lie share: an isolated instance of any kind, and its
 * worker's end of the stream, on which the test says what it likes. */
#ifndef TESTS_MOD_LIAR_H
#define TESTS_MOD_LIAR_H
#include "fix.h"

#include "mod/iso_msg.h"
#include "mod/wire.h"

struct liar {
	struct fix *f;
	char module[32], worker[40];
	struct set_isolate iso;
	struct settings set;
	struct settings_module sm;
	struct mod_inst *in;
	int fd; /* the worker's end; -1: none */
	unsigned pid, kills;
};

/* Of that kind, open. */
struct liar *liar_new(const char *kind);
void liar_free(struct liar *);
/* The next process that mcp has started, which is there at once. */
void liar_come(struct liar *);
/* What the role asked last: the number of its question. 0: none. */
uint32_t liar_asked(struct liar *);
void liar_say(struct liar *, const struct wire_head *, const void *body, const int *fd);
void liar_tell(struct liar *, uint16_t type, uint32_t id, const struct shape *, const void *msg,
    const int *fd, uint16_t nfd);

#endif
