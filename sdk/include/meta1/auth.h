/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/auth.h -- proves who a peer is: mechanisms of SASL (RFC 4422).
 *
 * In smtps a module is the server: it says which mechanisms it has for a peer, and takes an
 * exchange to its end. In smtpc it is the client: it chooses a mechanism among those that the
 * hop offers. The host does what belongs to SMTP (RFC 4954): base64, "*", "=", line lengths,
 * the order of commands, what failures cost, and which mechanisms the admin trusts.
 *
 * An exchange is one conversation and one request at a time. start() opens it, step() goes on
 * with what the peer said, end() ends it at any point, whatever happened. Replies, as server:
 *	MORE	 val[0]: challenge, raw bytes, at most META1_AUTH_MAX
 *	OK	 val[0]: who the peer acts as (authorisation identity), never empty;
 *		 val[1]: whose secret it was (authentication identity), when it is another.
 *		 Data that goes with a success is sent as one more challenge before: the module
 *		 says MORE, and OK to the empty answer (RFC 4954, 4)
 *	NOTFOUND wrong secret, no such user, not allowed to act as that one: all alike, so that
 *		 nobody learns which
 *	PERMFAIL the exchange is not as the mechanism wants it
 *	TEMPFAIL what knows the secrets cannot be asked now
 * as client:
 *	MORE	 val[0]: response; smtp 235 in it: the server may end with a success after it,
 *		 without it a success would be a fraud. Of login(): val[0] name of the mechanism,
 *		 val[1], when there, the initial response (empty: "=")
 *	OK	 the server's words are as they must be (a mechanism that proves the server too);
 *		 nothing more to say
 *	NOTFOUND none of the mechanisms offered can be used, or the server did not prove itself
 *	TEMPFAIL, PERMFAIL as above
 * text says why, for the log; it must not have secrets. Passwords and responses never go to log().
 *
 * What may sleep (saslauthd, a database, DNS) runs by offload(). After cancel() of its request an
 * exchange takes end() only, which may come while work of it is under way on another thread.
 */
#ifndef META1_AUTH_H
#define META1_AUTH_H
#include <meta1/module.h>

#ifdef __cplusplus
extern "C" {
#endif

#define META1_AUTH_MAX	    9216 /* bytes of a challenge or response: 12288 in base64 (RFC 4954, 4) */
#define META1_AUTH_MECH_MAX 20	 /* bytes of a mechanism's name (RFC 4422, 3.1) */

/* What an admin can demand of mechanisms, as Cyrus SASL names it (sasl_security_properties). */
enum meta1_auth_flag {
	META1_A_NOPLAINTEXT = 1,       /* none that sends the secret itself */
	META1_A_NOACTIVE = 2,	       /* none that an active attacker can use */
	META1_A_NODICTIONARY = 4,      /* none that a listener can try passwords against */
	META1_A_FORWARD_SECRECY = 8,   /* only such that one broken session breaks no other */
	META1_A_NOANONYMOUS = 16,      /* none without a name */
	META1_A_PASS_CREDENTIALS = 32, /* only such that pass on the client's credentials */
	META1_A_MUTUAL_AUTH = 64       /* only such where the server proves itself too */
};

/* The two ends of a connection; the host's. Pointers are valid during the call. */
struct meta1_auth_peer {
	uint32_t size;
	uint32_t flags;		    /* enum meta1_auth_flag: demanded on this connection as it is */
	const char *service;	    /* "smtp", or "lmtp" */
	const char *server;	    /* name of the server: ours as server, the hop's as client */
	const char *local, *remote; /* "192.0.2.1;25" as Cyrus SASL has it; NULL: not of IP */
	uint32_t tls_bits, pad;	    /* strength of its TLS, 0: plain */
	const char *external;	    /* name that TLS has proved of the client, or NULL (EXTERNAL) */
	/* Channel binding of its TLS (RFC 5929, RFC 9266): "tls-exporter" and its bytes; NULL:
	 * none. */
	const char *binding;
	struct meta1_buf binding_data;
	struct meta1_buf cert; /* server: the client's certificate in DER, verified; len 0: none */
};

/* Whose secret a client uses; the host's, during the call: it is wiped behind it. */
struct meta1_auth_creds {
	uint32_t size, pad;
	struct meta1_buf user, act_as, realm; /* act_as, realm: len 0: none */
	struct meta1_buf secret;	      /* a password; of XOAUTH2 and OAUTHBEARER a token */
};

struct meta1_auth_ops {
	uint32_t size, props;
	/* ---- server; NULL: not in smtps ---- */
	/* Names of the mechanisms for this peer, best first, a blank between two; cut at a whole
	 * name. Must not sleep: EHLO waits for it. */
	void (*offer)(void *inst, const struct meta1_auth_peer *, char *out, size_t size);
	/* mech: in capitals, one that was offered. first: NULL when there was none. Sets *conv at
	 * once when it returns (NULL only with an immediate end). */
	void (*start)(void *inst, struct meta1_req *, const struct meta1_auth_peer *,
	    const char *mech, const struct meta1_buf *first, void **conv);
	/* ---- client; NULL: not in smtpc ---- */
	/* mechs: what the hop offers and the admin allows, in capitals, a blank between two. */
	void (*login)(void *inst, struct meta1_req *, const struct meta1_auth_peer *,
	    const char *mechs, const struct meta1_auth_creds *, void **conv);
	/* ---- both ---- */
	void (*step)(void *conv, struct meta1_req *, struct meta1_buf in);
	void (*end)(void **conv);			/* secrets are wiped */
	void (*cancel)(void *inst, struct meta1_req *); /* of start(), login() or step() */
};

#ifdef __cplusplus
}
#endif

#endif
