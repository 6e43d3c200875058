/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * require.c -- what a mail itself says of TLS (RFC 8689): REQUIRETLS at MAIL, or the header field
 * "TLS-Required: No".
 *
 * Comes from take.c and deliver.c; goes back there. With REQUIRETLS a hop is only good with a
 * certificate that is verified, by name or DANE, and only when it is proven to be one of the
 * domain: by DNSSEC, by MTA-STS, or because the configuration names it; that it offers REQUIRETLS
 * too is seen by the transport. What no host of the destination has is final: 5.7.10, 5.7.30. The
 * header field lets what the recipient's domain asks for by DANE or MTA-STS be ignored, never what
 * an admin says; REQUIRETLS goes before it.
 * Owns nothing. On failure: a content that is a file of its own, and was queued by a version that
 * did not mark it, is not looked into, and what the domain asks for holds.
 */
#include "smtpc.h"

#include "ipc/hop.h"
#include "lib/tls_need.h"
#include "mail/tls_required.h"

#define HEADER_MAX (256u << 10) /* bytes that are looked at */

static bool required(const struct smtpc_delivery *d)
{
	return d->mail.flags & META1_M_REQUIRETLS;
}

void smtpc_require_hop(const struct p_deliver *m, uint32_t i, struct smtpc_hop *h)
{
	bool named = i < m->secure.n && m->secure.v[i] & SECURE_NAME;
	struct meta1_err err;
	struct tls_need n;

	if (h->to.tls_need && tls_need_parse(buf_str(h->to.tls_need), &n, &err) == 0) {
		h->soft = n.by == TLS_BY_DANE || n.by == TLS_BY_STS;
		named |= h->soft && !n.testing; /* MTA-STS has left out all other hosts */
	}
	/* an address that a row, or the recipient, names is none that somebody else could name */
	h->sure = named || h->to.addr[0] == '/' || strcmp(h->to.host, h->to.addr) == 0;
	if (!(m->flags & META1_M_REQUIRETLS) || h->to.tls == META1_TLS_VERIFY)
		return;
	h->to.tls = META1_TLS_VERIFY;
	h->to.tls_need = NULL;
	h->need = "";
	h->words = "verify,requiretls";
}

/* ---- what a transport heeds ---- */

static uint32_t unheeded(const struct smtpc_delivery *d)
{
	return d->mail.flags & META1_M_MUST & ~d->transport->ops->heeds;
}

static bool ascii(struct meta1_buf b)
{
	for (size_t i = 0; i < b.len; i++)
		if (((const unsigned char *)b.data)[i] > 127)
			return false;
	return true;
}

/* Clients say SMTPUTF8 of mail that is all ASCII, too. */
void smtpc_require_heeded(struct smtpc_delivery *d)
{
	bool needs = d->mail.flags & META1_M_HEADER_8BIT || !ascii(d->mail.from);

	if (!(unheeded(d) & META1_M_SMTPUTF8))
		return;
	for (uint32_t i = 0; i < d->mail.nrcpt; i++)
		needs |= !ascii(d->rcpt[i].addr);
	if (!needs)
		d->mail.flags &= ~(uint32_t)META1_M_SMTPUTF8;
}

static const struct meta1_reply *bars_unheeded(uint32_t must)
{
	static const struct meta1_reply utf8 = {.size = sizeof(utf8),
	    .smtp = 550,
	    .dsn = "5.6.7",
	    .scope = META1_ABOUT_OFFER,
	    .text = "the transport takes no addresses or header fields in UTF-8"};
	static const struct meta1_reply tls = {.size = sizeof(tls),
	    .smtp = 550,
	    .dsn = "5.7.30",
	    .scope = META1_ABOUT_OFFER,
	    .text = "REQUIRETLS was said, and the transport does not know it"};
	static const struct meta1_reply other = {.size = sizeof(other),
	    .smtp = 554,
	    .dsn = "5.3.3",
	    .scope = META1_ABOUT_OFFER,
	    .text = "the transport does not know what the mail asks for"};

	return must & META1_M_SMTPUTF8 ? &utf8 : must & META1_M_REQUIRETLS ? &tls : &other;
}

const struct meta1_reply *smtpc_require_bars(
    const struct smtpc_delivery *d, const struct smtpc_hop *h)
{
	static const struct meta1_reply unsure = {.size = sizeof(unsure),
	    .smtp = 550,
	    .dsn = "5.7.10",
	    .scope = META1_ABOUT_OFFER,
	    .text = "REQUIRETLS was said, and neither DNSSEC nor MTA-STS proves that the next hop "
		    "is one of the domain"};

	if (unheeded(d))
		return bars_unheeded(unheeded(d));
	return required(d) && !h->sure ? &unsure : NULL;
}

const struct meta1_reply *smtpc_require_failed(
    const struct smtpc_delivery *d, const struct meta1_reply *r)
{
	static struct meta1_reply no;

	/* without a code it is our word about TLS; the same from a hop may pass */
	if (!required(d) || !r || r->smtp ||
	    (strcmp(r->dsn, "4.7.4") != 0 && strcmp(r->dsn, "4.7.5") != 0))
		return NULL;
	no = (struct meta1_reply){.size = sizeof(no),
	    .smtp = 550,
	    .dsn = "5.7.10",
	    .scope = META1_ABOUT_OFFER,
	    .text = r->text,
	    .host = r->host};
	return &no;
}

/* ---- the header ---- */

static bool says_no(const struct smtpc_delivery *d)
{
	struct tls_required l = {.n = 0};
	size_t left = HEADER_MAX;

	if (d->mail.flags & MAIL_TLS_NO)
		return true;

	for (uint32_t i = 0; i < d->mail.nextent && left && !l.over; i++) {
		const struct meta1_extent *x = &d->mail.extent[i];
		size_t n = x->len < left ? (size_t)x->len : left;

		if (!x->mem)
			return false;
		tls_required_look(&l, x->mem, n);
		left -= n;
	}
	return tls_required_no(&l);
}

void smtpc_require_header(struct smtpc_delivery *d)
{
	bool asked = false;

	for (uint32_t i = 0; i < d->nhop && !required(d); i++) {
		struct smtpc_hop *h = &d->hop[i];

		if (!h->soft)
			continue;
		if (!asked && !says_no(d))
			return;
		asked = true;
		h->to.tls = hop_tls(h->conf->tls_policy);
		h->to.tls_need = NULL;
		h->need = "";
		h->words = "tls-required-no";
	}
}
