/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * take.c -- what qmgr's DELIVER says becomes a delivery: its hosts in order, the mail and its
 * recipients as a transport wants them. All strings are copied, the frame is gone soon.
 * Comes from deliver.c with a frame; goes back there. Owns nothing: all is in the delivery's pool.
 * On failure: a host that is malformed is passed over with a line in the log; no host, no
 * recipient or no memory say false.
 */
#include "smtpc.h"

#include "ipc/hop.h"
#include "lib/tls_need.h"

#define MAIL_FLAGS                                                                                 \
	(META1_M_8BIT | META1_M_STUFFED | META1_M_SMTPUTF8 | META1_M_HEADER_8BIT |                 \
	    META1_M_RET_FULL | META1_M_RET_HDRS | META1_M_REQUIRETLS)

/* A copy that lives with the delivery; nothing when its pool is full. */
struct meta1_buf smtpc_take_text(struct smtpc_delivery *d, const char *text, size_t max)
{
	size_t len = text ? strnlen(text, max) : 0;
	char *p = len ? pool_strn(&d->pool, text, len) : NULL;

	return buf_of(p ? p : "", p ? len : 0);
}

const char *smtpc_tls_words(const struct meta1_hop *hop, char out[TLS_NEED_WORDS])
{
	static const char *const option[] = {[META1_TLS_MAY] = "may",
	    [META1_TLS_NONE] = "none",
	    [META1_TLS_ENCRYPT] = "encrypt",
	    [META1_TLS_VERIFY] = "verify"};
	struct meta1_err err;
	struct tls_need n;

	if (hop->tls_need && tls_need_parse(buf_str(hop->tls_need), &n, &err) == 0)
		return tls_need_words(&n, out);
	str_copy(out, TLS_NEED_WORDS, option[hop->tls]);
	return out;
}

static const char *words(struct smtpc_delivery *d, const struct meta1_hop *hop)
{
	char text[TLS_NEED_WORDS];

	return smtpc_take_text(d, smtpc_tls_words(hop, text), sizeof(text)).data;
}

static void malformed(const struct smtpc_delivery *d, struct meta1_buf hop, const char *why)
{
	log_event(LOG_L_WARN, "smtpc.hop", "id=%s malformed=%.*s error=%s", d->name, (int)hop.len,
	    (const char *)hop.data, why);
}

/* "NAME:what the route says", for the transport of that name, which gets what it says. */
static bool named(const struct smtpc_delivery *d, struct meta1_hop *hop)
{
	const char *name = d->transport->name;
	size_t n = strlen(name);

	if (!d->transport->named || hop->port || strcmp(hop->host, name) != 0 ||
	    strncmp(hop->addr, name, n) != 0 || hop->addr[n] != ':')
		return false;
	hop->addr += n + 1;
	return true;
}

static bool take_hops(struct smtpc_delivery *d, const struct p_deliver *m)
{
	const struct hop_conf **known = pool_try(&d->pool, (m->conf.n + 1) * sizeof(*known));
	uint32_t i;

	d->hop = pool_try(&d->pool, (m->hops.n + 1) * sizeof(*d->hop));
	for (i = 0; d->hop && known && i < m->hops.n; i++) {
		const struct hop_conf *conf = smtpc_conf_of(d, m, i, known);
		struct smtpc_hop *h = &d->hop[d->nhop];
		struct meta1_hop *hop = &h->to;
		struct meta1_err err;
		bool local;

		err_set(&err, "%s", conf ? "not ADDRESS PORT NAME" : "its options cannot be read");
		if (!conf || hop_take(&d->pool, m->hops.v[i], hop) < 0 ||
		    hop_need(&d->pool, &m->need, &m->need_of, i, hop_tls(conf->tls_policy), hop,
			&h->need, &err) < 0) {
			malformed(d, m->hops.v[i], err.text);
			continue;
		}
		local = named(d, hop) || hop->addr[0] == '/';
		if (hop->port == 0 && !local)
			hop->port = (uint32_t)d->gear->remote_port;
		smtpc_conf_hop(conf, hop);
		hop->login =
		    logins_row(d->gear->logins, conf->login, local ? NULL : hop->host, hop->port);
		h->words = words(d, hop);
		h->conf = conf;
		smtpc_require_hop(m, i, h);
		h->sure |= local;
		d->nhop++;
	}
	return d->nhop > 0;
}

static bool take_mail(struct smtpc_delivery *d, const struct p_deliver *m)
{
	uint32_t i, n = m->rcpts.n;

	d->rcpt = pool_try(&d->pool, n * sizeof(*d->rcpt));
	d->index = pool_try(&d->pool, n * sizeof(*d->index));
	d->known = pool_try(&d->pool, n);
	if (!n || !d->rcpt || !d->index || !d->known)
		return false;
	for (i = 0; i < n; i++) {
		d->rcpt[i].addr = smtpc_take_text(d, m->rcpts.v[i].data, m->rcpts.v[i].len);
		if (i < m->notify.n)
			d->rcpt[i].notify = (uint32_t)m->notify.v[i];
		if (i < m->orcpts.n)
			d->rcpt[i].orcpt =
			    smtpc_take_text(d, m->orcpts.v[i].data, m->orcpts.v[i].len);
		d->index[i] = i;
	}
	d->total = d->left = n;
	d->mail = (struct meta1_mail){.size = sizeof(d->mail),
	    .nrcpt = n,
	    .sizeof_rcpt = sizeof(*d->rcpt),
	    .flags = (uint32_t)m->flags & MAIL_FLAGS,
	    .id = d->name,
	    .from = smtpc_take_text(d, m->from.data, m->from.len),
	    .rcpt = d->rcpt,
	    .bytes = m->bytes,
	    .envid = smtpc_take_text(d, m->envid.data, m->envid.len)};
	return true;
}

bool smtpc_take(struct smtpc_delivery *d, const struct p_deliver *m)
{
	if (!take_hops(d, m) || !take_mail(d, m) || m->ref.len > sizeof(d->ref.b))
		return false;
	d->ref.len = (uint32_t)m->ref.len;
	memcpy(d->ref.b, m->ref.data, m->ref.len);
	return true;
}

void smtpc_take_rest(struct smtpc_delivery *d)
{
	uint32_t i, n = 0;

	for (i = 0; i < d->mail.nrcpt; i++) {
		if (d->known[i] == KNOWN_RESULT)
			continue;
		d->rcpt[n] = d->rcpt[i];
		d->index[n++] = d->index[i];
	}
	memset(d->known, KNOWN_NOT, d->mail.nrcpt);
	d->mail.nrcpt = n;
	d->lacking = 0;
}
