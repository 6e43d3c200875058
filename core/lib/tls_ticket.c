/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_ticket.c -- keys of session tickets: one for an hour, good for one more, then forgotten, so
 * that a key that is stolen later opens nothing.
 * Comes from OpenSSL, in handshakes, on the loop or a worker thread; owns the two keys.
 * On failure: no ticket, or a full handshake.
 */
#include "lib/tls.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define AGE 3600 /* seconds for which a key makes tickets */

struct key {
	unsigned char name[16], aes[32], mac[32];
	int64_t made; /* monotonic seconds; 0: none */
};
struct tls_tickets {
	pthread_mutex_t lock;
	struct key now, old;
};

static int where = -1; /* of struct tls_tickets in an SSL_CTX */

static int64_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec + 1;
}

static bool make(struct key *k, int64_t made)
{
	k->made = made;
	return RAND_bytes(k->name, sizeof(k->name)) == 1 &&
	       RAND_priv_bytes(k->aes, sizeof(k->aes)) == 1 &&
	       RAND_priv_bytes(k->mac, sizeof(k->mac)) == 1;
}

static bool turn(struct tls_tickets *t)
{
	int64_t now = seconds();

	if (t->old.made && now - t->old.made >= 2 * AGE)
		OPENSSL_cleanse(&t->old, sizeof(t->old));
	if (now - t->now.made < AGE)
		return true;
	t->old = t->now;
	if (now - t->old.made >= 2 * AGE)
		OPENSSL_cleanse(&t->old, sizeof(t->old));
	return make(&t->now, now);
}

/* A copy of the key to make a ticket with, or of the one with this name. 1: found; 2: it is the old
 * one, the client gets a new ticket; 0: none. */
static int find(struct tls_tickets *t, const unsigned char *name, struct key *out)
{
	int found = 0;

	pthread_mutex_lock(&t->lock);
	if (!turn(t)) {
		found = -1;
	} else if (!name || memcmp(name, t->now.name, sizeof(t->now.name)) == 0) {
		*out = t->now;
		found = 1;
	} else if (t->old.made && memcmp(name, t->old.name, sizeof(t->old.name)) == 0) {
		*out = t->old;
		found = 2;
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

static int use(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int makes)
{
	struct tls_tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), where);
	char sha[] = "SHA256";
	struct key k = {.made = 0};
	int found = t ? find(t, makes ? NULL : name, &k) : -1;
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k.mac, sizeof(k.mac)),
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha, 0),
	    OSSL_PARAM_construct_end()};

	if (found <= 0)
		return found;
	if (makes) {
		memcpy(name, k.name, sizeof(k.name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			found = -1;
	}
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv, makes) != 1 ||
	    EVP_MAC_CTX_set_params(mac, params) != 1)
		found = -1;
	OPENSSL_cleanse(&k, sizeof(k));
	return found;
}

struct tls_tickets *tls_ticket_new(SSL_CTX *ssl, struct meta1_err *err)
{
	struct tls_tickets *t = base_alloc(sizeof(*t));

	pthread_mutex_init(&t->lock, NULL);
	if (where < 0)
		where = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (where < 0 || !make(&t->now, seconds()) || SSL_CTX_set_ex_data(ssl, where, t) != 1) {
		err_set(err, "tls: no keys for session tickets: %s", tls_error());
		tls_ticket_free(&t);
		return NULL;
	}
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, use);
	SSL_CTX_set_timeout(ssl, AGE);
	return t;
}

void tls_ticket_free(struct tls_tickets **tp)
{
	struct tls_tickets *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof(*t));
	free(t);
}
