/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_side.h -- both sides of a connection with TLS in one process, and the certificates for them.
 */
#ifndef TEST_TLS_SIDE_H
#define TEST_TLS_SIDE_H
#include "../unit.h"
#include "lib/conn.h"
#include "lib/tls.h"

#include "../tls_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

struct side {
	struct conn *c;
	unsigned secured, ends, inputs, drains;
	enum conn_end how;
	char why[200];
	struct evbuffer *got; /* NULL: leaves what comes in the conn */
};

static struct loop *loop;
static struct work *work;
static struct tls_who ca, other_ca, host, rsa, ann, old, stranger, second;

/* ---- players ---- */

static inline void on_input(void *arg)
{
	struct side *s = arg;

	s->inputs++;
	if (s->got)
		evbuffer_add_buffer(s->got, conn_in(s->c));
}

static inline void on_drained(void *arg)
{
	((struct side *)arg)->drains++;
}

static inline void on_secured(void *arg)
{
	((struct side *)arg)->secured++;
}

static inline void on_end(void *arg, enum conn_end how, const char *why)
{
	struct side *s = arg;

	s->ends++;
	s->how = how;
	snprintf(s->why, sizeof(s->why), "%s", why);
	if (how != CONN_EOF)
		conn_close(&s->c);
}

static const struct conn_events events = {
    .input = on_input, .drained = on_drained, .end = on_end, .secured = on_secured};

static inline struct set_tls options(const char *const *cert, const char *const *key, bool trusts)
{
	return (struct set_tls){.cert_file = cert,
	    .key_file = key,
	    .CAcert_file = trusts ? base_strdup(tls_file("ca", "pem")) : NULL,
	    .ciphers = "ECDHE+AESGCM",
	    .flags = TLS_F_REQUEST_CERT};
}

static inline struct tls_ctx *context(const char *name, bool server, struct meta1_err *err)
{
	const char *cert[2] = {name ? tls_file(name, "pem") : NULL, NULL};
	const char *key[2] = {name ? tls_file(name, "key") : NULL, NULL};
	struct set_tls set = options(cert, key, true);
	struct tls_ctx *c = tls_ctx_new(&set, server, work, err);

	free((char *)set.CAcert_file);
	return c;
}

static inline struct tls_ctx *good(const char *name, bool server)
{
	struct meta1_err err = {""};
	struct tls_ctx *c = context(name, server, &err);

	if (!c)
		fail_msg("%s", err.text);
	return c;
}

static inline void both(struct side *a, struct side *b)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	*a = (struct side){.got = evbuffer_new()};
	*b = (struct side){.got = evbuffer_new()};
	a->c = conn_new(loop, fd[0], &events, a);
	b->c = conn_new(loop, fd[1], &events, b);
}

static inline void start(struct side *s, struct tls_ctx *ctx, const char *name, const char *listen)
{
	struct tls_want want = {.name = name, .listen = listen};
	struct meta1_err err = {""};
	size_t dropped;

	assert_int_equal(conn_starttls(s->c, ctx, &want, 10000, &dropped, &err), 0);
}

static bool gated; /* workers are kept from going on */

/* Until nothing happens any more. */
static inline void settle(void)
{
	for (unsigned i = 0; i < 200; i++) {
		loop_turn(loop, false);
		if (i % 50 == 49 && !gated) /* a worker's handshake */
			assert_true(work_wait(work, 60000));
	}
}

static inline void over(struct side *s)
{
	if (s->c)
		conn_close(&s->c);
	evbuffer_free(s->got);
}

static inline void meet(
    struct side *srv, struct side *cl, struct tls_ctx *sctx, struct tls_ctx *cctx)
{
	both(srv, cl);
	start(srv, sctx, NULL, "127.0.0.1:25");
	start(cl, cctx, "mx.test", NULL);
	for (unsigned i = 0; i < 50 && !(srv->secured && cl->secured) && !srv->ends; i++)
		settle();
}

static inline void got(struct side *s, const char *text)
{
	settle();
	evbuffer_add(s->got, "", 1);
	assert_string_equal((char *)evbuffer_pullup(s->got, -1), text);
	evbuffer_drain(s->got, evbuffer_get_length(s->got));
}

/* ---- life ---- */

static inline int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the roles do */
	assert_non_null(mkdtemp(tls_dir));
	loop = loop_new();
	work = work_new(loop);
	ca = tls_make("ca", NULL, 0, -1, 30, NULL);
	other_ca = tls_make("otherca", NULL, 0, -1, 30, NULL);
	host = tls_make("host", &ca, 0, -1, 30, "mx.test");
	second = tls_make("second", &ca, 0, -1, 30, "second.test");
	rsa = tls_make("rsa", &ca, 3072, -1, 30, "mx.test");
	ann = tls_make("ann", &ca, 0, -1, 30, NULL);
	old = tls_make("old", &ca, 0, -30, -1, NULL);
	stranger = tls_make("stranger", &other_ca, 0, -1, 30, "else.test");
	return 0;
}

static inline int teardown(void **state)
{
	struct tls_who *all[] = {&ca, &other_ca, &host, &second, &rsa, &ann, &old, &stranger};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tls_forget(all[i]);
	work_free(&work);
	loop_free(&loop);
	tls_clean();
	return 0;
}

#endif
