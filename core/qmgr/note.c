/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * note.c -- what is recorded of reports with a recipient's outcome, before the reason: "report=3
 * delayed warned; ". Comes from store.c (records) and msg.c (a restart); bounce.c says what it
 * means. Owns nothing. Pure. On failure: a text that only begins like one of ours is a reason.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>

static const char *const action_name[] = {"", "delayed", "delivered", "relayed", "expanded"};

void qmgr_note_put(const struct qmgr_rcpt *r, char *out, size_t size)
{
	const char *known = r->warned && r->told ? "warned told"
			    : r->warned		 ? "warned"
			    : r->told		 ? "told"
						 : "";

	*out = 0;
	if (r->report)
		snprintf(out, size, "report=%u%s%s%s%s; ", r->report, r->action ? " " : "",
		    action_name[r->action], *known ? " " : "", known);
	else if (*known)
		snprintf(out, size, "%s; ", known);
}

static bool note_word(struct qmgr_rcpt *r, const char *s, size_t len)
{
	static const char prefix[] = "report=";
	size_t i = sizeof(prefix) - 1;
	uint32_t n = 0;
	unsigned a;

	if (len == 6 && !memcmp(s, "warned", 6)) {
		r->warned = 1;
		return true;
	}
	if (len == 4 && !memcmp(s, "told", 4)) {
		r->told = 1;
		return true;
	}
	for (a = 1; a < ARRAY_LEN(action_name); a++)
		if (strlen(action_name[a]) == len && !memcmp(s, action_name[a], len)) {
			r->action = a & 7;
			return true;
		}
	if (len <= i || memcmp(s, prefix, i) != 0)
		return false;
	for (; i < len && s[i] >= '0' && s[i] <= '9' && n < 100000000; i++)
		n = n * 10 + (uint32_t)(s[i] - '0');
	r->report = n;
	return n && i == len;
}

/* A text that only begins like one of ours is left as it is. */
void qmgr_note_take(struct qmgr_rcpt *r, struct meta1_buf *reason)
{
	const char *s = reason->data, *end = s + reason->len, *word = s;

	for (; reason->len && s < end && s - word < 20; s++) {
		if (*s != ' ' && *s != ';')
			continue;
		if (!note_word(r, word, (size_t)(s - word)))
			break;
		word = s + 1;
		if (*s == ';' && word < end && *word == ' ') {
			*reason = buf_of(word + 1, (size_t)(end - word - 1));
			return;
		}
	}
	r->report = 0;
	r->warned = 0;
	r->told = 0;
	r->action = QA_FAILED;
}
