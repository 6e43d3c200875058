/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * envelope.c -- the envelope of a message as JSON, for an export: by qmgr, or by meta1ctl from a
 * queue that stands still.
 * Comes from core/qmgr/envelope.c and export.c. Owns nothing. Pure. Does not fail.
 */
#include "ctl/envelope.h"

#include "lib/base.h"

#include <meta1/transport.h>
#include <string.h>

const struct envelope_word envelope_flags[] = {{"8bitmime", META1_M_8BIT},
    {"smtputf8", META1_M_SMTPUTF8}, {"header_8bit", META1_M_HEADER_8BIT},
    {"bounce_8bit", META1_M_BOUNCE_8BIT}, {"requiretls", META1_M_REQUIRETLS}, {NULL, 0}};
const struct envelope_word envelope_ret[] = {
    {"", 0}, {"full", META1_M_RET_FULL}, {"hdrs", META1_M_RET_HDRS}, {NULL, 0}};
#define V(a, b) (META1_M_VERP | (a) << META1_VERP_AT | (b) << (META1_VERP_AT + 2))
const struct envelope_word envelope_verp[] = {{"", 0}, {"default", V(3, 3)}, {"--", V(0, 0)},
    {"-=", V(0, 1)}, {"-+", V(0, 2)}, {"=-", V(1, 0)}, {"==", V(1, 1)}, {"=+", V(1, 2)},
    {"+-", V(2, 0)}, {"+=", V(2, 1)}, {"++", V(2, 2)}, {NULL, 0}};
const struct envelope_word envelope_notify[] = {{"never", META1_N_NEVER},
    {"success", META1_N_SUCCESS}, {"failure", META1_N_FAILURE}, {"delay", META1_N_DELAY},
    {NULL, 0}};
const struct envelope_word envelope_states[] = {{"waiting", META1_R_WAITING},
    {"delivered", META1_R_DELIVERED}, {"bounced", META1_R_BOUNCED}, {"failed", META1_R_FAILED},
    {"deleted", META1_R_DELETED}, {NULL, 0}};
const struct envelope_word envelope_aliases[] = {
    {"expanded", META1_RF_EXPANDED}, {"list", META1_RF_LIST}, {"tell", META1_RF_TELL}, {NULL, 0}};

const char *envelope_ret_word(uint32_t flags)
{
	return flags & META1_M_RET_FULL ? "full" : flags & META1_M_RET_HDRS ? "hdrs" : "";
}

json_t *envelope_text(const char *s)
{
	json_t *j = json_string(s);
	char clean[1200];
	size_t i;

	if (j)
		return j;
	for (i = 0; s[i] && i + 1 < sizeof(clean); i++)
		clean[i] = (unsigned char)s[i] < 32 || (unsigned char)s[i] > 126 ? '?' : s[i];
	clean[i] = 0;
	return json_string(clean);
}

json_t *envelope_words(const struct envelope_word *w, uint32_t bits)
{
	json_t *list = json_array();

	for (; w->name; w++)
		if (bits & w->bit)
			json_array_append_new(list, json_string(w->name));
	return list;
}

json_t *envelope_rcpt_json(const struct envelope_rcpt *r)
{
	return json_pack("{s:o s:s s:I s:I s:o s:o s:o s:b s:o s:b s:o s:o s:o}", "address",
	    envelope_text(r->address), "state", envelope_states[r->state].name, "tries",
	    (json_int_t)r->tries, "next_try", (json_int_t)r->next_try, "reason",
	    envelope_text(r->reason), "notify", envelope_words(envelope_notify, r->notify), "orcpt",
	    envelope_text(r->orcpt), "held", (int)r->held, "via", envelope_text(r->via), "warned",
	    (int)r->warned, "sender", envelope_text(r->sender), "of_alias",
	    envelope_words(envelope_aliases, r->flags), "alias", envelope_text(r->alias));
}

/* "", "default", or the delimiters that were said with XVERP */
static const char *verp(uint32_t flags)
{
	const struct envelope_word *w = envelope_verp;

	while (w[1].name && w->bit != (flags & V(3, 3)))
		w++;
	return flags & META1_M_VERP ? w->name : "";
}

json_t *envelope_json(const char *id, const char *from, const char *client, const char *envid,
    const struct meta1_env *e, json_t *recipients)
{
	return json_pack("{s:s s:o s:o s:I s:I s:o s:s s:o s:s s:o}", "id", id, "from",
	    envelope_text(from), "client", envelope_text(client), "time", (json_int_t)e->time,
	    "size", (json_int_t)e->bytes, "flags", envelope_words(envelope_flags, e->flags), "ret",
	    envelope_ret_word(e->flags), "envid", envelope_text(envid), "verp", verp(e->flags),
	    "recipients", recipients);
}

void envelope_marks(struct envelope_rcpt *r, char *reason)
{
	char *end;

	r->via = "";
	for (; (end = strstr(reason, "; ")) != NULL; reason = end + 2) {
		char *word = reason;

		if (!strncmp(word, "deleted=", 8)) {
			r->state = META1_R_DELETED; /* while it was being delivered */
		} else if (!strncmp(word, "held=", 5)) {
			r->held = true;
		} else if (!strncmp(word, "via=", 4)) {
			*end = '\0';
			r->via = word + 4;
		} else if (!strncmp(word, "report=", 7)) {
			*end = '\0';
			r->warned = r->warned || strstr(word, " warned");
			/* Its sender is to be told of a success: it does not wait any more. */
			if (strstr(word, " delivered") || strstr(word, " relayed"))
				r->state = META1_R_DELIVERED;
		} else if (!strncmp(word, "warned; ", 8)) {
			r->warned = true;
		} else if (!strncmp(word, "tls=", 4)) {
			continue; /* of the last try, which is over */
		} else {
			break;
		}
	}
	r->reason = reason;
}
