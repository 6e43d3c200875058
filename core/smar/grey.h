/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey.h -- greylisting: who sends to a recipient for the first time comes again later.
 *
 * The story. check_grey.c is the last step of a question about a recipient; it asks grey.c, which
 * keeps the list in memory: a triple of client net, sender and recipient is grey from its first
 * try, white when it comes again after grey_wait and before grey_expire, and forgotten after
 * white_expire without use. A net of which auto_white triples became white is white itself.
 * grey_log.c writes each change to the disk, a moment later, and reads the list at the start;
 * grey_control.c shows it and removes from it.
 *
 * Time is the list's own: seconds that count on with the monotonic clock, over restarts by the
 * slower of that and the wall clock, so that no jump makes anything white or forgotten.
 *
 * Memory: GREY_ENTRY_MAX bytes an entry at most, max_entries of them. The oldest grey ones go
 * first, so that a flood of made-up senders cannot displace what is white. Of one net no more than
 * an eighth of all may be grey: then its own oldest go, so that its flood displaces nobody else's.
 * For that the net of IPv6 has 48 bits at most, since whoever has one commonly has all below it.
 */
#ifndef META1_SMAR_GREY_H
#define META1_SMAR_GREY_H
#include "lib/work.h"
#include "smar/check.h"

#define GREY_NET_MAX   50  /* "2001:db8::/64", with NUL */
#define GREY_ADDR_MAX  100 /* bytes of an address that are kept; see grey_shorten() */
#define GREY_KEY_MAX   (GREY_NET_MAX + 2 * (GREY_ADDR_MAX + 1))
#define GREY_ENTRY_MAX 336
#define GREY_SHARE     8  /* of one net: this part of all, */
#define GREY_SHARE_MIN 64 /* or so many */
#define GREY_ID_MAX    17

struct grey_conf {
	uint32_t wait, expire, white, reconfirm; /* seconds; reconfirm 0: never */
	uint32_t auto_white;			 /* 0: never */
	unsigned bits4, bits6;
	bool null_pass; /* the null sender is not greylisted */
};

enum grey_kind { GREY_GREY, GREY_WHITE, GREY_NET, GREY_KINDS };
struct grey_entry {
	struct grey_entry *chain, *older, *newer;
	struct grey_entry *net_older, *net_newer; /* grey: of its net, in the same order */
	uint32_t first;	 /* grey: first try; white: since when; net: the first pass */
	uint32_t last;	 /* last try, use or pass */
	uint32_t logged; /* last, as the disk has it */
	uint32_t passes; /* net: triples that became white; else mails that passed */
	uint8_t kind;	 /* GREY_ */
	bool white;	 /* a net that is white; a white triple too */
	uint16_t len;	 /* of key, with its last NUL */
	char key[];	 /* net NUL sender NUL recipient NUL; a net alone: net NUL */
};
struct grey_list { /* from the least lately used */
	struct grey_entry *oldest, *newest;
	uint32_t n;
};
struct grey {
	struct grey_entry **bucket;
	struct grey_list *net; /* grey ones by a hash of their net */
	uint32_t nbucket, nnet, max;
	uint64_t seed, key_bytes;
	struct grey_list list[GREY_KINDS];
	uint64_t evicted;
	/* An entry changed, or goes away for good at somebody's wish; may be NULL. */
	void (*changed)(void *arg, const struct grey_entry *, bool gone);
	void *arg;
};

struct grey *grey_new(uint32_t max, uint64_t seed);
void grey_free(struct grey **);
uint32_t grey_count(const struct grey *);

/* ---- keys ---- */
/* The net of an address. <0: it is none. */
int grey_net(const struct grey_conf *, const char *client, char out[GREY_NET_MAX]);
/* "local@domain" as it is kept: each part of a sender's local part, between = - + . _ /, that has
 * a digit in it is #, so that numbered return addresses (VERP, BATV) are one sender. */
void grey_sender(const char *local, const char *domain, char out[GREY_ADDR_MAX + 1]);
void grey_recipient(const char *local, const char *domain, char out[GREY_ADDR_MAX + 1]);
/* The parts of a key; "" for a net alone. */
const char *grey_key_sender(const struct grey_entry *);
const char *grey_key_recipient(const struct grey_entry *);
void grey_id(const struct grey_entry *, char out[GREY_ID_MAX]); /* names it for admins */

/* ---- rules ---- */
struct grey_said {
	bool pass;
	uint32_t wait;	 /* seconds, when not */
	const char *why; /* for counters and the trace */
	enum { GREY_SAID_NEW, GREY_SAID_EARLY, GREY_SAID_PASSED, GREY_SAID_WHITE } what;
};
/* look: nothing is changed. */
struct grey_said grey_ask(struct grey *, const struct grey_conf *, uint32_t now, const char *net,
    const char *sender, const char *recipient, bool look);
/* Forgets up to n that are too old. false: there may be more. */
bool grey_sweep(struct grey *, const struct grey_conf *, uint32_t now, unsigned n);
bool grey_old(const struct grey_conf *, const struct grey_entry *, uint32_t now);

/* ---- for grey_log.c and grey_control.c ---- */
/* A new entry or the one that is there, as the last used of its kind; the caller fills it. */
struct grey_entry *grey_put(struct grey *, const char *key, size_t len, enum grey_kind);
struct grey_entry *grey_find(const struct grey *, const char *key, size_t len);
void grey_drop(struct grey *, struct grey_entry **);
/* After a load: the lists by last use. */
void grey_sort(struct grey *);

/* ---- grey_log.c ---- */
struct grey_log;
/* Reads the list, cuts a torn end, and writes from then on. NULL: err. idle: see flushed. */
struct grey_log *grey_log_open(struct loop *, struct work *, struct grey *, const char *path,
    void (*idle)(void), struct meta1_err *);
uint32_t grey_log_now(const struct grey_log *);
/* true: all is on the disk, or cannot be. Else it is written now, and idle() is called then. */
bool grey_log_flushed(struct grey_log *);
void grey_log_close(struct grey_log **); /* after that said true */

/* ---- grey_role.c: the list of the role ---- */
struct grey_role {
	struct loop *loop;
	struct grey *grey;
	struct grey_log *log;
	struct grey_conf conf;
	struct watch *sweep;
};
/* NULL: there is no list. */
const struct grey_role *grey_role(void);
void grey_conf_of(const struct set_greylisting *, struct grey_conf *);
/* Opens the list when there is such a section. idle: see grey_flushed(). */
int grey_start(
    struct loop *, struct work *, const struct settings *, void (*idle)(void), struct meta1_err *);
/* true: only a restart can change this. */
bool grey_restart(const struct set_greylisting *was, const struct set_greylisting *now);
void grey_reload(const struct set_greylisting *);
/* false: something is being written; idle() is called when it is done. */
bool grey_flushed(void);
void grey_stop(void);
/* What check_grey.c asks; look: nothing is changed or counted. */
struct grey_said grey_check(const struct grey_conf *, const char *net, const char *sender,
    const char *recipient, bool look);

/* ---- grey_control.c ---- */
struct ctl;
void grey_control_add(struct ctl *);

#endif
