/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session_conf.c -- SESSION_CONF: the row smtps_session_conf:CLIENT of the access map. What it says
 * is smtps' business. From smar.c; to seek.c; the answer goes back to smar.c. Owns one struct
 * search a question. On failure: TEMPFAIL, since a client must not get more than its row allows
 * only because a file could not be read; a row that is too long is such a failure too.
 */
#include "smar/smar.h"

#include <stdlib.h>

struct search {
	struct smar_policy *policy; /* held, so that a reload does not take it */
	struct smar_seek seek;
	smar_session_conf_fn fn;
	void *arg;
};

static void found(void *arg, const struct smar_found *f)
{
	struct search *s = arg;
	struct p_session_conf_is is = {.status = f->status, .row = buf_str(f->key)};

	if (f->status == META1_OK && f->value.len > SMAR_LIMIT_MAX) {
		log_event(LOG_L_WARN, "smar.session_conf", "map=%s key=%s error=%s", f->map, f->key,
		    "longer than 512 bytes");
		is.status = META1_TEMPFAIL;
	} else if (f->status == META1_OK) {
		is.text = f->value;
	} else if (f->status == META1_PERMFAIL) {
		is.status = META1_TEMPFAIL;
	}
	s->fn(s->arg, &is);
	smar_policy_unref(&s->policy);
	free(s);
}

void smar_session_conf(struct smar_policy *p, struct meta1_buf client, int64_t deadline,
    smar_session_conf_fn fn, void *arg)
{
	struct p_session_conf_is none = {.status = META1_NOTFOUND};
	char text[64] = "";
	struct search *s;

	if (!p->access.map || client.len == 0 || client.len >= sizeof(text)) {
		fn(arg, &none);
		return;
	}
	memcpy(text, client.data, client.len);
	s = base_alloc(sizeof(*s));
	s->policy = smar_policy_ref(p);
	s->fn = fn;
	s->arg = arg;
	smar_keys_client(&s->seek.keys, "smtps_session_conf:", text);
	smar_seek_start(&s->seek, &p->access, deadline, found, s);
}
