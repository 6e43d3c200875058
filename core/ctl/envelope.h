/* SPDX-License-Identifier: BSD-2-Clause */
/* envelope.h -- the envelope of a message as JSON: doc/control-api.md has the fields. */
#ifndef META1_CTL_ENVELOPE_H
#define META1_CTL_ENVELOPE_H
#include <jansson.h>
#include <meta1/queue.h>

struct envelope_word {
	const char *name; /* NULL: the end */
	uint32_t bit;
};
extern const struct envelope_word envelope_flags[], envelope_ret[], envelope_notify[],
    envelope_states[], envelope_aliases[], envelope_verp[];
struct envelope_rcpt {
	const char *address, *reason, *orcpt, *via, *sender, *alias;
	uint32_t state, tries, notify, flags; /* flags: enum meta1_rflag */
	int64_t next_try;
	bool held, warned;
};
const char *envelope_ret_word(uint32_t flags);
json_t *envelope_text(const char *); /* what is no UTF-8 is cleaned */
json_t *envelope_words(const struct envelope_word *, uint32_t bits); /* a list */
json_t *envelope_rcpt_json(const struct envelope_rcpt *);
/* Takes the recipients. */
json_t *envelope_json(const char *id, const char *from, const char *client, const char *envid,
    const struct meta1_env *, json_t *recipients);
/* Takes what qmgr wrote before a reason ("held=0; via=[h]; report=1 failed warned; ...") apart: the
 * reason begins behind it. */
void envelope_marks(struct envelope_rcpt *, char *reason);
#endif
