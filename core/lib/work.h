/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work.h -- worker threads for what may sleep: syncs, reads from disk, remote
 * libraries. At most 8 threads a process, started when needed; an owner has at
 * most its limit of jobs running at a time, the others wait in order; at 1024
 * waiting a job is refused, so that nothing grows. A thread may be done before work_do() is back:
 * all that fn looks at is written before, and left alone until done().
 */
#ifndef META1_WORK_H
#define META1_WORK_H
#include "loop.h"

struct work; /* the process's threads */
struct work_owner {
	uint32_t limit, running, waiting; /* waiting + running <= 1024 */
	struct work_job *head, **tail;
};
struct work *work_new(struct loop *);
void work_free(struct work **); /* waits for what runs */
/* Waits until no job runs. false: after so long one still does; nothing it uses may be freed. */
bool work_wait(struct work *, int64_t ms);
void work_owner_init(struct work_owner *, uint32_t limit);
/* fn(arg) on a thread, then done(arg) on the loop. false: full, neither runs. */
bool work_do(struct work *, struct work_owner *, task_fn fn, task_fn done, void *arg);

#endif
