/* SPDX-License-Identifier: BSD-2-Clause */
/* apart.h -- what the tests of a map in a process of its own share: the role's side, and workers,
 * which are forks of the test. */
#ifndef TESTS_MOD_APART_H
#define TESTS_MOD_APART_H
#include "fix.h"

#include <sys/types.h>

#define APART_NAME "map_try/x@1"

struct apart {
	struct fix *f;
	char folder[64];
	struct set_isolate iso;
	struct settings set;
	struct settings_module sm;
	struct mod_inst *in;
	pid_t pid; /* of the worker */
	unsigned kills, restarts;
};

/* What the instance says of its worker. */
struct seen {
	unsigned n;
	bool up;
	uint32_t pid, restarts, open;
	char end[96];
};

int apart_up(void **state); /* struct apart */
int apart_down(void **state);
/* A worker, as mcp does it, with a fork in place of another program. */
void apart_start(struct apart *);
int apart_ended(struct apart *);				   /* waits for it: its status */
struct mod_inst *apart_begin(struct apart *, const char *options); /* mod_use() alone */
struct mod_inst *apart_use(struct apart *, const char *options);
void apart_open(struct apart *, const char *options); /* with a worker */
void apart_ask(struct apart *, const char *key, struct said *);
struct seen apart_seen(struct apart *);
void apart_until_up(struct apart *, bool is);

#endif
