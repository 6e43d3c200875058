/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_faults.h -- the faults of queue_bad. A row says in which folder of the kit's the fault
 * shows, in which life of the store there, and what is done with which message; note() counts the
 * lives. For queue.c alone. Owns nothing. On failure: a fault that does not show, which
 * tests/unit/mod/bad.py sees.
 */
#ifndef META1_BAD_QUEUE_FAULTS_H
#define META1_BAD_QUEUE_FAULTS_H
#include "around.h"

#include <meta1/queue.h>
#include <unistd.h>

enum what {
	OPEN_FAILS,
	MANAGE_FAILS,
	COMMIT_FAILS,
	COMMIT_LIES, /* OK, and nothing is kept */
	LOAD_FAILS,
	LOAD_WRONG,
	OUTCOME_FAILS,
	FETCH_FAILS, /* of no keys */
	DROPS,	     /* entry() does not come */
	TWICE,
	LATER,	 /* behind the next one */
	PHANTOM, /* and one more, of the number other */
	RENAMES, /* as other */
	RETELLS, /* at its notice */
	INVENTS, /* at manage() */
	REVIVES, /* at the end of manage(), when it was not told */
	STATE,	 /* of its first recipient */
	DAMAGE,
	FORGETS, /* loaded(): there is none */
	FETCHED_STATE,
	HIDES,	/* loaded(): what cannot be read is none */
	BLAMES, /* the other way round */
	REPEATS,
	NO_SPACE,
	JUNK,
	BLIND,	 /* check() finds nothing */
	LOSSES,	 /* nor what is lost */
	GUESSES, /* that all it could not look at is lost */
	SEES	 /* what is not there */
};

enum when { ALWAYS, BARE, BEHIND_BARE, AUDITED, OUTCOME, PARENT, SAID };

static const struct fault {
	const char *name, *dir;
	unsigned life; /* 0: every one */
	enum what what;
	unsigned id, other;
	enum when when;
	uint32_t role; /* 0: any */
} faults[] = {
    {"unmanaged", "life", 1, MANAGE_FAILS, 0, 0, 0, 0},
    {"inherits", "life", 1, INVENTS, 9, 0, 0, 0},
    {"refuses", "life", 0, COMMIT_FAILS, 5, 0, 0, 0},
    {"tells_twice", "life", 0, TWICE, 2, 0, 0, 0},
    {"spoils", "life", 0, LOAD_WRONG, 3, 0, 0, META1_SMTPC},
    {"unread", "life", 0, LOAD_FAILS, 3, 0, 0, META1_QMGR},
    {"disorders", "life", 0, LATER, 2, 0, 0, 0},
    {"gap", "life", 0, DROPS, 103, 0, 0, 0},
    {"tail", "life", 0, DROPS, 109, 0, 0, 0},
    {"retells", "life", 0, RETELLS, 109, 0, 0, 0},
    {"half_read", "life", 0, LOAD_FAILS, 105, 0, 0, 0},
    {"few", "life", 0, DROPS, 1005, 0, 0, 0},
    {"abort", "life", 0, RENAMES, 1008, 1009, 0, 0},
    {"remembers", "life", 0, PHANTOM, 20008, 20001, 0, 0},
    {"halves", "life", 0, COMMIT_FAILS, 30001, 0, 0, 0},
    {"no_outcome", "life", 0, OUTCOME_FAILS, 0, 0, 0, 0},
    {"forgets", "life", 0, FORGETS, 3, 0, 0, 0},
    {"stale", "life", 0, FETCHED_STATE, 0, 0, 0, 0},
    {"nothing", "life", 0, FETCH_FAILS, 0, 0, 0, 0},
    {"restart", "life", 2, MANAGE_FAILS, 0, 0, 0, 0},
    {"restart_state", "life", 2, STATE, 0, 0, 0, 0},
    {"restart_final", "life", 2, PHANTOM, 3, 1, 0, 0},
    {"restart_less", "life", 2, DROPS, 5, 0, 0, 0},
    {"restart_content", "life", 2, LOAD_FAILS, 7, 0, 0, 0},
    {"restart_damage", "life", 2, DAMAGE, 0, 0, 0, 0},
    {"unspaced", "space", 0, COMMIT_FAILS, 3005, 0, 0, 0},
    {"greedy", "space", 0, NO_SPACE, 0, 0, 0, 0},
    {"leftover", "space", 2, INVENTS, 9, 0, 0, 0},
    {"numberless", "ids", 0, OPEN_FAILS, 0, 0, 0, 0},
    {"repeats", "ids", 0, REPEATS, 0, 0, 0, 0},
    {"unfound", "damage", 0, COMMIT_FAILS, 0, 0, 0, 0},
    {"hides", "damage", 0, HIDES, 6, 0, 0, 0},
    {"others", "damage", 0, FORGETS, 2, 0, 0, 0},
    {"blind", "damage", 0, BLIND, 0, 0, 0, 0},
    {"for_ever", "damage", 0, FORGETS, 6, 0, 0, 0},
    {"blames", "damage", 0, BLAMES, 6, 0, 0, 0},
    {"losses", "damage", 0, LOSSES, 0, 0, 0, 0},
    {"gone", "damage", 4, DROPS, 6, 0, 0, 0},
    {"junk", "compact", 1, JUNK, 0, 0, 0, 0},
    {"moved", "compact", 1, LOAD_FAILS, 7, 0, 0, 0},
    {"strays", "compact", 2, DROPS, 7, 0, 0, 0},
    {"remains", "compact", 4, INVENTS, 9, 0, 0, 0},
    {"no_image", "crash", 0, COMMIT_FAILS, 2, 0, 0, 0},
    {"torn", "try", 0, DROPS, 2, 0, 0, 0},
    {"torn_alone", "try", 0, DROPS, 2, 0, BARE, 0},
    {"killed", "try", 0, DROPS, 4, 0, BEHIND_BARE, 0},
    {"torn_outcome", "try", 0, DROPS, 2, 0, OUTCOME, 0},
    {"undone", "try", 0, REVIVES, 1, 0, OUTCOME, 0},
    {"sees", "bytes.2", 0, SEES, 0, 0, 0, 0},
    {"wrong_bytes", "try", 0, LOAD_WRONG, 1, 0, AUDITED, 0},
    {"not_full", "full", 1, MANAGE_FAILS, 0, 0, 0, 0},
    {"overfull", "full", 1, COMMIT_LIES, 1, 0, 0, 0},
    {"full_for_ever", "full", 1, COMMIT_FAILS, 3, 0, 0, 0},
    {"refused_kept", "full", 2, INVENTS, 9, 0, 0, 0},
    {"empty", "memory", 0, COMMIT_FAILS, 3, 0, 0, 0},
    {"starts_less", "memory", 2, DROPS, 2, 0, 0, 0},
    {"guesses", "memory", 0, GUESSES, 0, 0, 0, 0},
    {"passes_over", "memory.unheard.copy", 0, DROPS, 4, 0, 0, 0},
    {"reads_wrong", "memory", 0, LOAD_WRONG, 3, 0, 0, META1_SMTPC},
    {"ends_less", "memory", 0, DROPS, 2, 0, SAID, 0},
    {"lost", "kill", 0, DROPS, 1, 0, PARENT, 0},
};
#define NFAULTS (sizeof(faults) / sizeof(faults[0]))

/* ---- where it is ---- */

static struct place { /* by the last word of a folder */
	char dir[64];
	unsigned lives;
} places[64];
static unsigned bare, was_bare; /* managers of "try" without a writer; before this one */
static int audited, outcome_seen, manager_alone;
static unsigned said; /* outcomes, in this run */
static pid_t first;

static const char *word(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash ? slash + 1 : dir;
}

static struct place *place_of(const char *dir)
{
	struct place *p = places;

	while (p->dir[0] && strcmp(p->dir, word(dir)) != 0 && p < &places[63])
		p++;
	snprintf(p->dir, sizeof(p->dir), "%s", word(dir));
	return p;
}

/* A life begins with the writer, or with the manager where there is none. */
static void note(const struct meta1_host *h)
{
	const char *dir = word(h->qdir);
	int try = strcmp(dir, "try") == 0;

	if (h->role == META1_SMTPS) {
		place_of(dir)->lives++;
		manager_alone = 0;
		was_bare = bare;
		bare = try ? 0 : bare;
	} else if (h->role == META1_QMGR) {
		if (manager_alone) {
			place_of(dir)->lives++;
			bare += (unsigned)try;
		}
		manager_alone = 1;
	}
	audited |= try && h->role == META1_TOOL;
	outcome_seen |= strcmp(dir, "outcome") == 0;
}

static int happens(enum when when)
{
	return when == BARE	     ? bare >= 2
	       : when == BEHIND_BARE ? !bare && was_bare >= 2
	       : when == AUDITED     ? audited
	       : when == OUTCOME     ? outcome_seen
	       : when == SAID	     ? said > 2
	       : when == PARENT	     ? getpid() == first
				     : 1;
}

/* Does the store there do this to that message? */
static const struct fault *does(const struct around *a, enum what what, unsigned id)
{
	static const struct fault *named[NFAULTS]; /* in this run */
	static unsigned n, looked;
	const char *dir = word(a->host.qdir);

	for (; looked < NFAULTS; looked++)
		if (is(faults[looked].name))
			named[n++] = &faults[looked];
	for (unsigned i = 0; i < n; i++) {
		const struct fault *f = named[i];
		size_t begins = strcmp(f->dir, "kill") ? strlen(dir) + 1 : strlen(f->dir);

		if (f->what == what && f->id == id && strncmp(dir, f->dir, begins) == 0 &&
		    (!f->life || f->life == place_of(dir)->lives) &&
		    (!f->role || f->role == a->host.role) && happens(f->when))
			return f;
	}
	return NULL;
}

#endif
