/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_kill.c -- a store whose process ends at each of its changes of a file: what was
 * acknowledged is there, what was not is whole or not there, what was done does not come back, and
 * the next mail is taken. Comes from queue.c. A child runs the store up to the n'th change
 * (hook_files.c) and says in shared memory what it was promised; then the store is opened here.
 * Threads are the child's own. On failure: "not ok" with the change.
 */
#include "host_priv.h"
#include "queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAILS	   6
#define POINTS_MAX 2000
#define THROUGH	   0
#define STUCK_S	   60

struct promised { /* in memory that both processes see */
	bool taken[MAILS + 1], done[MAILS + 1], doing[MAILS + 1];
	unsigned changes;
};

static const size_t sizes[MAILS + 1] = {0, 700, 3000, 270000, 0, 70000, 900};

static void life(struct q *q, struct promised *p)
{
	unsigned told = 0;

	q_tail(q);
	for (unsigned i = 1; i <= MAILS; i++) {
		struct q_note note = {.len = 0};
		enum meta1_status st;

		if (!q_store(q, i, sizes[i], &note, &st) || st != META1_OK)
			continue;
		p->taken[i] = true;
		q_notice(q, i, sizes[i], &note);
		q_until(q, ++told);
		if (i != 2 && i != 5)
			continue; /* two are done in between */
		p->doing[i] = true;
		p->done[i] = q_outcome(q, i, 0, META1_R_DELIVERED);
	}
}

/* In a process of its own, which has a host of its own. */
static _Noreturn void child(struct kit *k, const char *dir, unsigned at, struct promised *p)
{
	static struct q q;
	static struct kit mine;
	int null = open("/dev/null", O_WRONLY);

	k->slow = true; /* it is nobody's to say so */
	alarm(STUCK_S);
	dup2(null, STDOUT_FILENO);
	mine = *k;
	mine.confs = NULL;
	kit_host_start(&mine.host, dir);
	kit_hook_host(&mine.host);
	mine.host.crash_at = at;
	if (q_open(&q, &mine, dir, "wmr") == 0 && q_manage(&q))
		life(&q, p);
	q_close(&q);
	p->changes = mine.host.changes;
	_exit(THROUGH);
}

static bool as_promised(struct q *q, const struct promised *p, unsigned at)
{
	unsigned least = 0;
	bool right = true;

	for (unsigned i = 1; i <= MAILS; i++)
		least += p->taken[i] && !p->doing[i];
	q_tail(q);
	q_until(q, least);
	for (int i = 0; i < 5; i++)
		q_turn(q);
	for (unsigned i = 1; i <= MAILS; i++) {
		const struct q_entry *e = q_find(q, i);
		const char *bad = !e && p->taken[i] && !p->doing[i] ? "is lost"
				  : e && p->done[i]		    ? "is done, and there again"
				  : e && q_check(q, e, i, sizes[i]) != META1_OK ? "is not whole"
										: NULL;

		if (bad)
			kit_note(q->k, "change %u: mail %u %s", at, i, bad);
		right = right && !bad;
	}
	return right;
}

static bool after(struct kit *k, const char *dir, const struct promised *p, unsigned at)
{
	static struct q q;
	enum meta1_status st = META1_TEMPFAIL;
	bool right = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q);

	right = right && as_promised(&q, p, at);
	if (right && (!q_store(&q, 100, 500, NULL, &st) || st != META1_OK)) {
		kit_note(k, "change %u: no mail is taken afterwards", at);
		right = false;
	}
	q_close(&q);
	return right;
}

/* What became of the child; the store afterwards. */
static int killed_at(struct kit *k, unsigned at, struct promised *p, bool *right)
{
	char dir[128];
	int status = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%.60s/kill%u", k->dir, at);
	mkdir(dir, 0750);
	memset(p, 0, sizeof(*p));
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(k, dir, at, p);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    (WEXITSTATUS(status) != KIT_CRASHED && WEXITSTATUS(status) != THROUGH)) {
		kit_note(k, "change %u: the process ended by itself (%d)", at, status);
		*right = false;
		return -1;
	}
	*right = after(k, dir, p, at) && *right;
	q_remove(dir);
	return WEXITSTATUS(status) == THROUGH;
}

/* Every one with META1_FULL=1, else some fifteen of them. */
void kit_queue_kill(struct kit *k)
{
	struct promised *p =
	    mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *full = getenv("META1_FULL");
	bool right = true, through;
	unsigned changes, step, tried = 0;

	through = killed_at(k, POINTS_MAX, p, &right) == 1;
	changes = p->changes;
	step = full && *full == '1' ? 1 : changes / 15 + 1;
	for (unsigned at = 1; at <= changes && right; at += step)
		if (killed_at(k, at, p, &right) >= 0)
			tried++;
	kit_ok(k, right && through && tried,
	    "killed at %u of %u changes of a file: what was promised is there", tried, changes);
	munmap(p, sizeof(*p));
}
