/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_fetch.c -- one policy by HTTPS (RFC 8461 section 3.3), by libcurl. The one file that includes
 * it.
 * From sts.c, on a worker thread; the job goes back there. Owns the handle for one fetch.
 * Addresses come with the job, so libcurl asks no DNS. TLS 1.2 or more, a certificate of a trusted
 * CA for mta-sts.DOMAIN (a name in subjectAltName), no redirects, no proxy of the environment,
 * status 200, text/plain, at most STS_TEXT_MAX bytes of headers and as many of policy, one time for
 * all. Whatever else comes is a failure with a reason.
 */
#include "smar/sts.h"

#include "mail/reply.h"

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

struct body {
	struct sts_job *job;
	size_t n, headers;
	char text[STS_TEXT_MAX];
};

int sts_fetch_init(struct meta1_err *err)
{
	CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);

	return rc ? err_set(err, "mta_sts: libcurl: %s", curl_easy_strerror(rc)) : 0;
}

const char *sts_fetch_library(void)
{
	static char text[40];

	snprintf(text, sizeof(text), "libcurl %s", curl_version_info(CURLVERSION_NOW)->version);
	return text;
}

static void fail(struct sts_job *j, enum sts_fetched result, const char *fmt, ...) PRINTF(3, 4);
static void fail(struct sts_job *j, enum sts_fetched result, const char *fmt, ...)
{
	char text[sizeof(j->why)];
	va_list ap;

	if (j->result != STS_FETCH_GOOD)
		return; /* the first reason is the true one */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_clean(text, strlen(text), j->why, sizeof(j->why));
	for (char *p = j->why; *p; p++)
		*p = (char)((unsigned char)*p > 126 ? '?' : *p); /* it goes into JSON */
	j->result = result;
}

/* ---- what libcurl calls ---- */
static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct body *b = arg;

	n *= size;
	if (n > sizeof(b->text) - b->n) {
		fail(b->job, STS_FETCH_INVALID, "the policy is larger than %d bytes", STS_TEXT_MAX);
		return CURL_WRITEFUNC_ERROR;
	}
	memcpy(b->text + b->n, p, n);
	b->n += n;
	return n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct body *b = arg;

	(void)p;
	b->headers += n * size;
	if (b->headers > STS_TEXT_MAX) {
		fail(b->job, STS_FETCH_FAILED, "more than %d bytes of headers", STS_TEXT_MAX);
		return 0;
	}
	return n * size;
}

/* About once a second, also while nothing comes. */
static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct sts_job *j = arg;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&j->stop) ? 1 : 0;
}

/* libcurl takes the common name of a certificate without names; RFC 8461 section 3.3 does not. */
static CURLcode on_tls(CURL *curl, void *ssl, void *arg)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ssl);
	const char *host = arg;

	(void)curl;
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

/* ---- the fetch ---- */
static void set_tls(CURL *c, const struct sts_job *j, char *host)
{
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_tls);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, host);
	if (j->CAcert_file || j->CAcert_directory) {
		curl_easy_setopt(c, CURLOPT_CAINFO, j->CAcert_file);
		curl_easy_setopt(c, CURLOPT_CAPATH, j->CAcert_directory);
	}
}

static void set_bounds(CURL *c, struct sts_job *j)
{
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_PROXY, "");
	curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)j->timeout);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)j->timeout);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, j);
	curl_easy_setopt(c, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
}

static bool is_text(const char *type)
{
	static const char want[] = "text/plain";
	size_t n = sizeof(want) - 1;

	return type && strncasecmp(type, want, n) == 0 &&
	       (type[n] == '\0' || strchr("; \t", type[n]));
}

static void judge(struct sts_job *j, CURL *c, CURLcode rc, const char *text)
{
	const char *type = NULL;
	long code = 0;

	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
	if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_ISSUER_ERROR)
		fail(j, STS_FETCH_WEBPKI, "%s", text[0] ? text : curl_easy_strerror(rc));
	else if (rc)
		fail(j, STS_FETCH_FAILED, "%s", text[0] ? text : curl_easy_strerror(rc));
	else if (code != 200)
		fail(j, STS_FETCH_FAILED, "HTTP status %ld%s", code,
		    code / 100 == 3 ? ": redirects are not followed" : "");
	else if (!is_text(type))
		fail(j, STS_FETCH_INVALID, "the media type is %.80s, expected text/plain",
		    type ? type : "not said");
}

static void fetch(struct sts_job *j, CURL *c, struct body *b)
{
	char host[sizeof(j->domain) + sizeof(STS_HOST_PREFIX)], url[sizeof(host) + 60];
	char port[8] = "", text[CURL_ERROR_SIZE] = "";
	struct curl_slist *known = curl_slist_append(NULL, j->resolve);
	struct meta1_err err;

	snprintf(host, sizeof(host), STS_HOST_PREFIX "%s", j->domain);
	if (j->port != 443)
		snprintf(port, sizeof(port), ":%u", j->port);
	snprintf(url, sizeof(url), "https://%s%s/.well-known/mta-sts.txt", host, port);
	set_bounds(c, j);
	set_tls(c, j, host);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_RESOLVE, known);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, b);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, b);
	judge(j, c, curl_easy_perform(c), text);
	curl_slist_free_all(known);
	if (j->result != STS_FETCH_GOOD)
		return;
	j->policy = sts_policy_read(buf_of(b->text, b->n), &err);
	if (!j->policy)
		fail(j, STS_FETCH_INVALID, "%s", err.text);
}

void sts_fetch_run(void *arg)
{
	struct sts_job *j = arg;
	struct body *b = base_alloc(sizeof(*b));
	CURL *c = atomic_load(&j->stop) ? NULL : curl_easy_init();

	b->job = j;
	j->result = STS_FETCH_GOOD;
	if (c)
		fetch(j, c, b);
	else
		fail(j, STS_FETCH_FAILED, "libcurl gives no handle");
	curl_easy_cleanup(c);
	free(b);
}
