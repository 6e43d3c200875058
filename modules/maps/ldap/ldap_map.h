/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldap_map.h -- the parts of map_ldap: map_ldap.c asks and reads answers, session.c connects,
 * starts TLS and binds.
 */
#ifndef MAP_LDAP_H
#define MAP_LDAP_H
#include "../netmap/netmap.h"

#include <ldap.h>

struct ldap_conf {
	struct netmap_conf net; /* first */
	const char *base, *filter, *bind_dn, *password_file, *ca_file;
	const char *const *attributes;
	int32_t scope, start_tls;
	int64_t size_limit;
};

enum ldap_phase { LDAP_TCP, LDAP_ASK_TLS, LDAP_TLS, LDAP_BIND, LDAP_SERVES };
struct ldap_session {
	struct netmap_conn c; /* first */
	LDAP *ld;	      /* has the descriptor */
	int sock;
	enum ldap_phase phase;
	int rc; /* of the TLS handshake, on a worker thread */
	char why[300];
	bool more; /* libldap may have read more than was taken */
};

/* ---- session.c ---- */
int ldap_session_connect(struct netmap_conn *, struct meta1_err *);
void ldap_session_close(struct netmap_conn *);
/* The socket became writable, for the first time. */
int ldap_session_connected(struct ldap_session *, struct meta1_err *);
/* A message before it serves. 1: a worker thread has the session now. */
int ldap_session_step(struct ldap_session *, LDAPMessage *, struct meta1_err *);
int ldap_failed(struct ldap_session *, const char *what, int rc, struct meta1_err *); /* -1 */
/* Waits for what is to come: to be read, and to be written when libldap could not send all. */
int ldap_watch(struct ldap_session *, struct meta1_err *);

/* ---- map_ldap.c ---- */
/* All messages that are there. */
int ldap_read(struct ldap_session *, struct meta1_err *);

#endif
