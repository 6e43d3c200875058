/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * certs.c -- a CA of one's own and what it signs: P-256 keys, certificates for this host and for
 * clients.
 *
 * Comes from setup.c for -c and -i. Makes the files that the sections tls name and that are not
 * there; goes to OpenSSL. The CA's key is cakey.pem beside CAcert_file, root's alone.
 * Owns nothing after its end. On failure: what was found; no file that is there is ever written
 * to, one that cannot be written whole is taken away again.
 */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CA_DAYS	  3650
#define CERT_DAYS 730
#define CN_MAX	  64

struct ca {
	EVP_PKEY *key;
	X509 *cert;
	char dir[1024];
	char file[256]; /* of cert, in dir */
};

static const char *why(void)
{
	unsigned long e = ERR_peek_last_error();

	return e ? ERR_reason_error_string(e) : strerror(errno);
}

/* ---- files ---- */

static bool there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void folder_of(const char *path, char *out, size_t size)
{
	char *slash;

	str_copy(out, size, path);
	slash = strrchr(out, '/');
	if (slash && slash != out)
		*slash = '\0';
	else
		str_copy(out, size, slash ? "/" : ".");
}

static int make_folder(struct setup *s, const char *file)
{
	char dir[1024];

	folder_of(file, dir, sizeof(dir));
	if (there(dir))
		return 0;
	if (mkdir(dir, 0755) < 0) {
		setup_failed(s, "%s: %s", dir, strerror(errno));
		return -1;
	}
	setup_did(s, "mkdir %s", dir);
	return 0;
}

struct file {
	const char *path, *what;
	uid_t uid;
	gid_t gid;
	mode_t mode;
	EVP_PKEY *key; /* or a certificate, and the one that signed it */
	X509 *cert;
};

/* A file that is new, or nothing. */
static int put(struct setup *s, const struct file *f)
{
	int fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	char owner[160];
	bool good;

	if (!out) {
		setup_failed(s, "%s: %s", f->path, strerror(errno));
		return -1;
	}
	good = (f->key ? PEM_write_PrivateKey(out, f->key, NULL, NULL, 0, NULL, NULL)
		       : PEM_write_X509(out, f->cert)) == 1;
	good = good && fflush(out) == 0 && fchown(fd, f->uid, f->gid) == 0 &&
	       fchmod(fd, f->mode) == 0 && fsync(fd) == 0;
	if (!good)
		setup_failed(s, "%s: %s", f->path, why());
	good = fclose(out) == 0 && good;
	if (!good) {
		unlink(f->path);
		return -1;
	}
	setup_names(owner, sizeof(owner), f->uid, f->gid);
	setup_did(s, "%s: %s, owner %s, mode %04o", f->path, f->what, owner, (unsigned)f->mode);
	return 0;
}

/* ---- certificates ---- */

static bool extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool good;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return good;
}

static bool fill(X509 *x, EVP_PKEY *key, const char *cn, int days)
{
	ASN1_INTEGER *serial = X509_get_serialNumber(x);
	unsigned char bytes[16];
	BIGNUM *n = NULL;
	char name[CN_MAX + 1];
	bool good;

	str_copy(name, sizeof(name), cn);
	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	good = n && BN_to_ASN1_INTEGER(n, serial);
	BN_free(n);
	return good && X509_set_version(x, 2) == 1 && X509_set_pubkey(x, key) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
	       X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) &&
	       X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
		   (const unsigned char *)name, -1, -1, 0) == 1;
}

static const struct ext {
	int nid;
	const char *value;
} for_ca[] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
    {NID_key_usage, "critical,keyCertSign,cRLSign"}, {NID_subject_key_identifier, "hash"}},
  for_host[] = {{NID_basic_constraints, "critical,CA:FALSE"},
      {NID_key_usage, "critical,digitalSignature"}, {NID_ext_key_usage, "serverAuth,clientAuth"},
      {NID_subject_key_identifier, "hash"}, {NID_authority_key_identifier, "keyid"}},
  for_client[] = {{NID_basic_constraints, "critical,CA:FALSE"},
      {NID_key_usage, "critical,digitalSignature"}, {NID_ext_key_usage, "clientAuth"},
      {NID_subject_key_identifier, "hash"}, {NID_authority_key_identifier, "keyid"}};

/* A certificate that ca signed (NULL: itself); alt: subjectAltName or NULL. NULL: why(). */
static X509 *certificate(EVP_PKEY *key, const char *cn, const char *alt, const struct ca *ca,
    const struct ext *ext, size_t next)
{
	X509 *x = X509_new(), *issuer = ca ? ca->cert : x;
	bool good = x && fill(x, key, cn, ca ? CERT_DAYS : CA_DAYS) &&
		    X509_set_issuer_name(x, X509_get_subject_name(issuer)) == 1;

	for (size_t i = 0; good && i < next; i++)
		good = extend(x, issuer, ext[i].nid, ext[i].value);
	good = good && (!alt || extend(x, issuer, NID_subject_alt_name, alt));
	if (good && X509_sign(x, ca ? ca->key : key, EVP_sha256()) > 0)
		return x;
	X509_free(x);
	return NULL;
}

/* ---- the CA ---- */

static void ca_close(struct ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
}

static int ca_make(struct setup *s, struct ca *ca, const char *cert, const char *key)
{
	char cn[CN_MAX + 1];

	snprintf(cn, sizeof(cn), "ca.%.60s", s->set->hostname);
	if (make_folder(s, cert) < 0)
		return -1;
	ca->key = EVP_EC_gen("P-256");
	ca->cert = ca->key ? certificate(ca->key, cn, NULL, NULL, for_ca, ARRAY_LEN(for_ca)) : NULL;
	if (!ca->cert) {
		setup_failed(s, "%s: cannot be made: %s", cert, why());
		return -1;
	}
	if (put(s, &(struct file){key, "the key of a new CA", 0, 0, 0600, ca->key, NULL}) < 0)
		return -1;
	if (put(s, &(struct file){cert, "the certificate of the CA, for ten years", 0, 0, 0644,
		       NULL, ca->cert}) == 0)
		return 0;
	unlink(key);
	return -1;
}

static int ca_read(struct setup *s, struct ca *ca, const char *cert, const char *key)
{
	FILE *c = fopen(cert, "re"), *k = fopen(key, "re");

	if (c)
		ca->cert = PEM_read_X509(c, NULL, NULL, NULL);
	if (k)
		ca->key = PEM_read_PrivateKey(k, NULL, NULL, NULL);
	if (!c || !k)
		setup_failed(s,
		    "%s: %s: to sign, both %s and its key %s are needed; with a CA of "
		    "another kind make the certificates there",
		    c ? key : cert, strerror(errno), cert, key);
	else if (!ca->cert || !ca->key || X509_check_private_key(ca->cert, ca->key) != 1)
		setup_failed(s, "%s: is not the key of %s: %s", key, cert, why());
	if (c)
		fclose(c);
	if (k)
		fclose(k);
	return ca->cert && ca->key && X509_check_private_key(ca->cert, ca->key) == 1 ? 0 : -1;
}

/* That of the configuration; without one CA/cacert.pem beside meta1.conf. */
static int ca_open(struct setup *s, struct ca *ca)
{
	const char *named = s->set->nsmtps ? s->set->smtps[0].tls_set.CAcert_file : NULL;
	char cert[1100], key[1100];

	if (!named || !*named)
		named = s->set->smtpc.tls_set.CAcert_file;
	if (named && *named)
		str_copy(cert, sizeof(cert), named);
	else
		snprintf(cert, sizeof(cert), "%s/CA/cacert.pem", conf_dir(s->set->conf));
	folder_of(cert, ca->dir, sizeof(ca->dir));
	str_copy(ca->file, sizeof(ca->file), strrchr(cert, '/') ? strrchr(cert, '/') + 1 : cert);
	snprintf(key, sizeof(key), "%s/cakey.pem", ca->dir);
	if (there(cert) || there(key))
		return ca_read(s, ca, cert, key);
	if (!s->dry)
		return ca_make(s, ca, cert, key);
	setup_did(s, "%s and %s: a new CA", cert, key);
	return 1;
}

/* CAcert_directory finds a CA by a hash of its name. */
static void hash_link(struct setup *s, const struct ca *ca)
{
	const char *named = s->set->nsmtps ? s->set->smtps[0].tls_set.CAcert_directory : NULL;
	char path[1200];
	int ok = 0;
	unsigned long hash;

	if (!named || strcmp(named, ca->dir) != 0)
		return;
	hash = X509_NAME_hash_ex(X509_get_subject_name(ca->cert), NULL, NULL, &ok);
	snprintf(path, sizeof(path), "%s/%08lx.0", ca->dir, hash);
	if (ok && !there(path) && symlink(ca->file, path) == 0)
		setup_did(s, "%s: a link to %s", path, ca->file);
}

/* ---- what it signs ---- */

static bool name_good(const char *name)
{
	static const char good[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@";

	return *name && strspn(name, good) == strlen(name) && name[0] != '.' && name[0] != '-';
}

/* Two files or none. */
static int pair(struct setup *s, const struct ca *ca, struct file *key, struct file *cert,
    const char *cn, const char *alt, const struct ext *ext, size_t next)
{
	int rc;

	if (there(key->path) || there(cert->path)) {
		setup_failed(s, "%s: is there already, and its other half %s is not; move it away",
		    there(key->path) ? key->path : cert->path,
		    there(key->path) ? cert->path : key->path);
		return -1;
	}
	if (s->dry) {
		setup_did(
		    s, "%s and %s: %s and a certificate for it", key->path, cert->path, key->what);
		return 0;
	}
	if (make_folder(s, key->path) < 0 || make_folder(s, cert->path) < 0)
		return -1;
	key->key = EVP_EC_gen("P-256");
	cert->cert = key->key ? certificate(key->key, cn, alt, ca, ext, next) : NULL;
	if (!cert->cert)
		setup_failed(s, "%s: cannot be made: %s", cert->path, why());
	rc = cert->cert ? put(s, key) : -1;
	if (rc == 0 && (rc = put(s, cert)) < 0)
		unlink(key->path);
	EVP_PKEY_free(key->key);
	X509_free(cert->cert);
	return rc;
}

static int for_one_key(
    struct setup *s, const struct ca *ca, const struct setup_key *k, const struct setup_certs *c)
{
	struct file key = {.path = k->key, .what = "a P-256 key"},
		    cert = {.path = k->cert, .what = "a certificate for two years", .mode = 0644};
	char alt[4096];
	size_t n;

	if (there(k->key) && there(k->cert))
		return 0;
	if (!setup_key_owner(s, k, &key.uid, &key.gid, &key.mode) && !s->dry) {
		setup_failed(s, "%s: the account that is to read it is not there", k->key);
		return -1;
	}
	n = (size_t)snprintf(alt, sizeof(alt), "DNS:%.255s", s->set->hostname);
	for (unsigned i = 0; i < c->nname; i++)
		n += (size_t)snprintf(alt + n, sizeof(alt) - n, ",DNS:%.200s", c->name[i]);
	return pair(s, ca, &key, &cert, s->set->hostname, alt, for_host, ARRAY_LEN(for_host));
}

static int for_one_client(
    struct setup *s, const struct ca *ca, const char *name, const char *folder)
{
	char k[1200], c[1200];
	struct file key = {.path = k, .what = "a P-256 key of a client", .mode = 0600},
		    cert = {.path = c, .what = "its certificate for two years", .mode = 0644};

	snprintf(k, sizeof(k), "%s/%s.key", folder, name);
	snprintf(c, sizeof(c), "%s/%s.pem", folder, name);
	if (there(k) && there(c))
		return 0;
	if (pair(s, ca, &key, &cert, name, NULL, for_client, ARRAY_LEN(for_client)) < 0)
		return -1;
	printf("  a row of the access map by which it may relay:  certsubject:/cn=");
	for (; *name; name++)
		putchar(*name >= 'A' && *name <= 'Z' ? *name + 32 : *name);
	printf("  RELAY\n");
	return 0;
}

static int names(struct setup *s, const struct setup_certs *c)
{
	const char *bad = name_good(s->set->hostname) ? NULL : s->set->hostname;

	for (unsigned i = 0; i < c->nname; i++)
		bad = name_good(c->name[i]) ? bad : c->name[i];
	for (unsigned i = 0; i < c->nclient; i++)
		bad = name_good(c->client[i]) ? bad : c->client[i];
	if (!bad)
		return 0;
	setup_failed(s, "%s: no name for a certificate; expected letters, digits and - . _ @", bad);
	return -1;
}

int setup_certs(struct setup *s, const struct setup_certs *c)
{
	struct setup_key key[SETUP_KEYS];
	unsigned n = c->make ? setup_keys_all(s, key) : 0;
	struct ca ca = {.key = NULL};
	int rc;

	if (!c->make && !c->nclient)
		return 0;
	if (c->make && !n)
		printf("no section tls names a key_file: only the CA is made\n");
	rc = names(s, c);
	if (rc == 0 && (rc = ca_open(s, &ca)) == 0)
		hash_link(s, &ca);
	for (unsigned i = 0; rc >= 0 && i < n; i++)
		rc |= for_one_key(s, &ca, &key[i], c);
	for (unsigned i = 0; rc >= 0 && i < c->nclient; i++)
		rc |= for_one_client(s, &ca, c->client[i], c->out);
	ca_close(&ca);
	return rc < 0 ? -1 : 0;
}
