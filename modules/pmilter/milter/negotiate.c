/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * negotiate.c -- what both sides can and want: OPTNEG.
 *
 * Comes from a connection that was made; what the filter says back stands in its struct peer.
 * On failure: a text that says what was expected; the connection is of no use.
 */
#include "milter.h"

#include <stdio.h>
#include <string.h>

static const struct {
	uint32_t version, actions, steps;
} can[] = {/* of each version; the last holds for later ones */
    {2, 0x3f, 0x7f}, {3, 0x3f, 0x1ff}, {4, 0x3f, 0x3ff}, {6, 0x1ff, 0x1fffff}};

void negotiate_ask(struct peer *p)
{
	static const uint32_t sizes[] = {0, SMFIP_MDS_256K, SMFIP_MDS_256K | SMFIP_MDS_1M};
	const struct conf *conf = p->m->conf;
	unsigned char data[12];
	unsigned i = 0;

	while (i + 1 < sizeof(can) / sizeof(can[0]) && can[i + 1].version <= conf->version)
		i++;
	p->version = (uint32_t)conf->version;
	p->actions = can[i].actions;
	p->steps = can[i].steps | (p->version >= 6 ? sizes[conf->data_size] : 0);
	put32(data, p->version);
	put32(data + 4, p->actions);
	put32(data + 8, p->steps);
	peer_say(p, 'O', &(struct meta1_buf){data, sizeof(data)}, 1);
}

/* "stage, names, NUL", again and again */
static int lists(struct peer *p, struct meta1_buf b, struct meta1_err *why)
{
	struct milter *m = p->m;

	while (b.len > 0) {
		const char *text = (const char *)b.data + 4;
		const char *end = b.len > 4 ? memchr(text, '\0', b.len - 4) : NULL;
		uint32_t stage = end ? get32(b.data) : 0;

		if (!end || stage >= MACRO_LISTS) {
			snprintf(why->text, sizeof(why->text),
			    "asks for macros of %s; expected are a stage of 0 to %d and names that "
			    "end with NUL",
			    end ? "a stage that there is not" : "a list that has no end",
			    MACRO_LISTS - 1);
			return -1;
		}
		m->host->free(m->ctx, p->list[stage]);
		p->list[stage] = m->host->alloc(m->ctx, (size_t)(end - text) + 1);
		if (!p->list[stage]) {
			snprintf(why->text, sizeof(why->text), "no memory");
			return -1;
		}
		memcpy(p->list[stage], text, (size_t)(end - text));
		b.len -= (size_t)(end - (const char *)b.data) + 1;
		b.data = end + 1;
	}
	return 0;
}

/* One line of the log when it is another filter than the last one. */
static void tell(const struct peer *p)
{
	struct milter *m = p->m;
	char where[160];

	if (m->version == p->version && m->actions == p->actions && m->steps == p->steps)
		return;
	m->version = p->version;
	m->actions = p->actions;
	m->steps = p->steps;
	peer_place(p, where, sizeof(where));
	m->host->log(m->ctx, META1_INFO, "%s: milter version %u, actions 0x%x, steps 0x%x", where,
	    p->version, p->actions, p->steps);
}

int negotiate_said(struct peer *p, char cmd, struct meta1_buf b, struct meta1_err *why)
{
	uint32_t version, actions, steps;

	if (cmd == 'l' && p->actions & SMFIF_SETSYMLIST) {
		if (lists(p, b, why) < 0)
			return -1;
		p->m->nameless = (p->steps & SMFIP_NOCONNECT) && !macros_name(p);
		return 0;
	}
	if (cmd != 'O' || b.len < 12) {
		snprintf(why->text, sizeof(why->text),
		    "answers OPTNEG with 0x%02x and %zu bytes; expected is OPTNEG with 12: it is "
		    "no "
		    "milter, or one that is out of step",
		    (unsigned char)cmd, b.len);
		return -1;
	}
	version = get32(b.data);
	actions = get32((const char *)b.data + 4);
	steps = get32((const char *)b.data + 8);
	if (version < 2 || version > p->version) {
		snprintf(why->text, sizeof(why->text),
		    "speaks milter version %u; expected is 2 to %u", version, p->version);
		return -1;
	}
	if (actions & ~p->actions || steps & ~p->steps) {
		snprintf(why->text, sizeof(why->text),
		    "wants actions 0x%x and steps 0x%x; offered were 0x%x and 0x%x", actions, steps,
		    p->actions, p->steps);
		return -1;
	}
	p->version = version;
	p->actions = actions;
	p->steps = steps;
	p->chunk = steps & SMFIP_MDS_1M	    ? (1u << 20) - 1
		   : steps & SMFIP_MDS_256K ? (256u << 10) - 1
					    : (64u << 10) - 1;
	if (lists(p, (struct meta1_buf){(const char *)b.data + 12, b.len - 12}, why) < 0)
		return -1;
	p->m->nameless = (p->steps & SMFIP_NOCONNECT) && !macros_name(p);
	tell(p);
	return 0;
}

uint32_t negotiate_wants(const struct peer *p)
{
	static const struct {
		uint32_t stage, no, version;
	} row[] = {
	    {META1_PM_CONNECT, SMFIP_NOCONNECT, 2},
	    {META1_PM_HELO, SMFIP_NOHELO, 2},
	    {META1_PM_MAIL, SMFIP_NOMAIL, 2},
	    {META1_PM_RCPT, SMFIP_NORCPT, 2},
	    {META1_PM_DATA, SMFIP_NODATA, 4},
	    {META1_PM_UNKNOWN, SMFIP_NOUNKNOWN, 3},
	};
	uint32_t wants = META1_PM_END;

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		if (!(p->steps & row[i].no) && p->version >= row[i].version)
			wants |= row[i].stage;
	if (p->steps & SMFIP_RCPT_REJ && !(p->steps & SMFIP_NORCPT))
		wants |= META1_PM_REFUSED;
	return wants;
}
