/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_role.c -- the one greylist of a smar: opened at the start, swept each minute, counted.
 * From smar.c (start, reload, stop) and check_grey.c (questions); to grey.c and grey_log.c.
 * Owns both. On failure: a file that can never be written stops the start.
 */
#include "smar/grey.h"

#include "lib/metric.h"

#include <stdlib.h>
#include <sys/random.h>

#define SWEEP_MS   60000
#define SWEEP_MORE 100	/* ms to the next part of a sweep */
#define SWEEP_PART 5000 /* entries in a part */

METRIC_COUNTER(m_first, "greylist_first_total", "First tries that were told to come again.");
METRIC_COUNTER(m_early, "greylist_early_total", "Tries that came again too early.");
METRIC_COUNTER(m_passed, "greylist_passed_total", "Tries that came again in time.");
METRIC_COUNTER(m_white, "greylist_white_total", "Recipients accepted because they were white.");
METRIC_COUNTER(m_evicted, "greylist_evicted_total",
    "Entries forgotten because the list was full, or a net had its share.");
METRIC_GAUGE(m_grey, "greylist_grey", "Grey entries.");
METRIC_GAUGE(m_whites, "greylist_white", "White entries.");
METRIC_GAUGE(m_nets, "greylist_nets", "Client nets that are counted or white.");
METRIC_GAUGE(m_bytes, "greylist_memory_bytes", "Most memory that the entries have.");

static struct grey_role me;

const struct grey_role *grey_role(void)
{
	return me.grey ? &me : NULL;
}

void grey_conf_of(const struct set_greylisting *s, struct grey_conf *c)
{
	c->wait = (uint32_t)(s->grey_wait / 1000);
	c->expire = (uint32_t)(s->grey_expire / 1000);
	c->white = (uint32_t)(s->white_expire / 1000);
	c->reconfirm = (uint32_t)(s->white_reconfirm / 1000);
	c->auto_white = (uint32_t)s->auto_white;
	c->bits4 = (unsigned)s->ipv4_bits;
	c->bits6 = (unsigned)s->ipv6_bits;
	c->null_pass = s->null_sender == NULL_SENDER_PASS;
}

static void show(void)
{
	m_grey.value = me.grey->list[GREY_GREY].n;
	m_whites.value = me.grey->list[GREY_WHITE].n;
	m_nets.value = me.grey->list[GREY_NET].n;
	m_bytes.value = (int64_t)grey_count(me.grey) * (GREY_ENTRY_MAX - GREY_KEY_MAX) +
			(int64_t)me.grey->key_bytes;
	m_evicted.value = (int64_t)me.grey->evicted;
}

static void sweep(int fd, short what, void *arg)
{
	bool all = grey_sweep(me.grey, &me.conf, grey_log_now(me.log), SWEEP_PART);

	(void)fd, (void)what, (void)arg;
	show();
	loop_rearm(me.sweep, all ? SWEEP_MS : SWEEP_MORE);
}

int grey_start(struct loop *l, struct work *work, const struct settings *set, void (*idle)(void),
    struct meta1_err *err)
{
	const struct set_greylisting *s = &set->smar.greylisting;
	uint64_t seed;

	if (!s->section)
		return 0;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return err_set(err, "greylisting: no random numbers");
	grey_conf_of(s, &me.conf);
	me.loop = l;
	me.grey = grey_new((uint32_t)s->max_entries, seed);
	me.log = grey_log_open(l, work, me.grey, s->file, idle, err);
	if (!me.log) {
		grey_free(&me.grey);
		return -1;
	}
	me.sweep = loop_timer(l, SWEEP_MORE, sweep, NULL);
	show();
	return 0;
}

bool grey_restart(const struct set_greylisting *was, const struct set_greylisting *now)
{
	return !was->section != !now->section ||
	       (now->section &&
		   (strcmp(was->file, now->file) != 0 || was->max_entries != now->max_entries));
}

void grey_reload(const struct set_greylisting *s)
{
	if (me.grey)
		grey_conf_of(s, &me.conf);
}

bool grey_flushed(void)
{
	return !me.log || grey_log_flushed(me.log);
}

void grey_stop(void)
{
	if (!me.grey)
		return;
	loop_unwatch(&me.sweep);
	grey_log_close(&me.log);
	grey_free(&me.grey);
}

struct grey_said grey_check(const struct grey_conf *c, const char *net, const char *sender,
    const char *recipient, bool look)
{
	struct metric *const counter[] = {[GREY_SAID_NEW] = &m_first,
	    [GREY_SAID_EARLY] = &m_early,
	    [GREY_SAID_PASSED] = &m_passed,
	    [GREY_SAID_WHITE] = &m_white};
	struct grey_said said =
	    grey_ask(me.grey, c, grey_log_now(me.log), net, sender, recipient, look);

	if (!look) {
		counter[said.what]->value++;
		show();
	}
	return said;
}
