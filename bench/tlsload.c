/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsload.c -- clients and a server of SMTP with TLS for bench/tls, a thread for each connection.
 *
 *	tlsload shake PORT THREADS SECONDS RATE [resume]   handshakes; RATE 0: as many as go
 *	tlsload mail PORT THREADS MESSAGES BYTES [keep]    mail over TLS
 *	tlsload idle PORT THREADS SESSIONS [tls]           opens sessions, says "ready", waits for
 *EOF tlsload sink PORT CERT KEY                         takes mail over TLS, prints how much
 *
 * All on 127.0.0.1. Prints one JSON object, the sink a line for each 200 ms with news. On failure:
 * says what was expected and found, exit status 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 200

struct link { /* a connection, in TLS or not yet */
	int fd;
	SSL *ssl;
	char in[4096];
	size_t n;
};

static struct {
	SSL_CTX *ctx;
	int port, threads;
	double seconds, rate;
	long messages, sessions;
	size_t bytes;
	bool flag; /* resume, keep, tls */
	char *body;
	atomic_long done, resumed, begun;
	int64_t until;
} job;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what, const char *found)
{
	fprintf(stderr, "tlsload: %s: %s\n", what, found);
	exit(1);
}

/* ---- one connection ---- */

static ssize_t link_read(struct link *l)
{
	size_t room = sizeof(l->in) - 1 - l->n;
	ssize_t n =
	    l->ssl ? SSL_read(l->ssl, l->in + l->n, (int)room) : read(l->fd, l->in + l->n, room);

	if (n > 0)
		l->n += (size_t)n;
	l->in[l->n] = '\0';
	return n;
}

static bool link_write(struct link *l, const char *p, size_t n)
{
	ssize_t done;

	for (; n > 0; p += done, n -= (size_t)done) {
		done =
		    l->ssl ? SSL_write(l->ssl, p, n > 65536 ? 65536 : (int)n) : write(l->fd, p, n);
		if (done <= 0)
			return false;
	}
	return true;
}

static void say(struct link *l, const char *text)
{
	if (!link_write(l, text, strlen(text)))
		fail("write of a command", strerror(errno));
}

/* Reads one reply; its code must be this. */
static void expect(struct link *l, int code)
{
	for (;;) {
		char *end = strchr(l->in, '\n');
		bool last;

		if (!end) {
			if (link_read(l) <= 0)
				fail("a reply was due", "the server closed");
			continue;
		}
		last = l->in[3] == ' ';
		if (atoi(l->in) != code)
			fail("a good reply was due", l->in);
		l->n -= (size_t)(end + 1 - l->in);
		memmove(l->in, end + 1, l->n + 1);
		if (last)
			return;
	}
}

static void dial(struct link *l)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)job.port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;

	*l = (struct link){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail("connect", strerror(errno));
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	expect(l, 220);
	say(l, "EHLO bench.test\r\n");
	expect(l, 250);
}

static void secure(struct link *l, SSL_SESSION *s)
{
	say(l, "STARTTLS\r\n");
	expect(l, 220);
	l->ssl = SSL_new(job.ctx);
	SSL_set_fd(l->ssl, l->fd);
	if (s)
		SSL_set_session(l->ssl, s);
	if (SSL_connect(l->ssl) != 1)
		fail("a handshake", ERR_reason_error_string(ERR_get_error()));
	say(l, "EHLO bench.test\r\n");
	expect(l, 250);
}

static void leave(struct link *l)
{
	say(l, "QUIT\r\n");
	expect(l, 221);
	if (l->ssl)
		SSL_shutdown(l->ssl);
	SSL_free(l->ssl);
	close(l->fd);
}

/* ---- what the threads do ---- */

static void *shake(void *arg)
{
	SSL_SESSION *s = NULL;
	struct link l;

	(void)arg;
	while (now_us() < job.until) {
		if (job.rate > 0) {
			int64_t due = job.until - (int64_t)(job.seconds * 1e6) +
				      (int64_t)((double)job.begun++ * 1e6 / job.rate);
			int64_t wait = due - now_us();

			if (wait > 0)
				usleep((useconds_t)wait);
		}
		dial(&l);
		secure(&l, s);
		job.resumed += SSL_session_reused(l.ssl);
		if (job.flag) { /* its ticket came before the reply to EHLO */
			SSL_SESSION_free(s);
			s = SSL_get1_session(l.ssl);
		}
		leave(&l);
		job.done++;
	}
	SSL_SESSION_free(s);
	return NULL;
}

static void *mail(void *arg)
{
	struct link l = {.fd = -1};
	char line[80];
	long n;

	(void)arg;
	while ((n = job.begun++) < job.messages) {
		if (l.fd < 0) {
			dial(&l);
			secure(&l, NULL);
		}
		snprintf(line, sizeof(line), "RCPT TO:<u%ld.%d@bench.test>\r\n", n, (int)getpid());
		say(&l, "MAIL FROM:<from@bench.test>\r\n");
		expect(&l, 250);
		say(&l, line);
		expect(&l, 250);
		say(&l, "DATA\r\n");
		expect(&l, 354);
		say(&l, job.body);
		expect(&l, 250);
		job.done++;
		if (!job.flag) {
			leave(&l);
			l.fd = -1;
		}
	}
	if (l.fd >= 0)
		leave(&l);
	return NULL;
}

static void *idle(void *arg)
{
	struct link l; /* the sessions end with the process */

	(void)arg;
	while (job.begun++ < job.sessions) {
		dial(&l);
		if (job.flag)
			secure(&l, NULL);
		job.done++;
	}
	return NULL;
}

/* ---- the sink ---- */

static void *take(void *arg)
{
	struct link l = {.fd = (int)(intptr_t)arg};
	bool data = false;
	char *end;

	say(&l, "220 sink.test ESMTP\r\n");
	for (;;) {
		while ((end = strchr(l.in, '\n')) == NULL)
			if (link_read(&l) <= 0)
				goto out;
		if (data) {
			data = strncmp(l.in, ".\r\n", 3) != 0;
			if (!data) {
				job.done++;
				say(&l, "250 2.0.0 taken\r\n");
			}
		} else if (strncasecmp(l.in, "EHLO", 4) == 0) {
			say(&l, l.ssl ? "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
				      : "250-sink.test\r\n250 STARTTLS\r\n");
		} else if (strncasecmp(l.in, "STARTTLS", 8) == 0) {
			say(&l, "220 go\r\n");
			l.ssl = SSL_new(job.ctx);
			SSL_set_fd(l.ssl, l.fd);
			if (SSL_accept(l.ssl) != 1)
				goto out;
			l.n = 0;
			l.in[0] = '\0';
			continue;
		} else if (strncasecmp(l.in, "DATA", 4) == 0) {
			data = true;
			say(&l, "354 go\r\n");
		} else if (strncasecmp(l.in, "QUIT", 4) == 0) {
			say(&l, "221 bye\r\n");
			break;
		} else {
			say(&l, "250 2.0.0 ok\r\n");
		}
		l.n -= (size_t)(end + 1 - l.in);
		memmove(l.in, end + 1, l.n + 1);
	}
out:
	SSL_free(l.ssl);
	close(l.fd);
	return NULL;
}

static void *report(void *arg)
{
	long said = 0;

	(void)arg;
	for (;; usleep(20000))
		if (job.done != said) {
			printf("%ld\n", said = job.done);
			fflush(stdout);
		}
	return NULL;
}

static int sink(const char *cert, const char *key)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)job.port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, one;
	pthread_t t;

	job.ctx = SSL_CTX_new(TLS_server_method());
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (SSL_CTX_use_certificate_chain_file(job.ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(job.ctx, key, SSL_FILETYPE_PEM) != 1)
		fail("certificate", cert);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1000) < 0)
		fail("listen", strerror(errno));
	pthread_create(&t, NULL, report, NULL);
	while ((one = accept(fd, NULL, NULL)) >= 0) {
		setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (pthread_create(&t, NULL, take, (void *)(intptr_t)one) == 0)
			pthread_detach(t);
		else
			close(one);
	}
	return 1;
}

/* ---- the beginning ---- */

static void make_body(void)
{
	size_t at = (size_t)sprintf(job.body = malloc(job.bytes + 100), "Subject: bench\r\n\r\n");

	while (at < job.bytes)
		at += (size_t)sprintf(job.body + at, "%.70s\r\n",
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	strcpy(job.body + at, ".\r\n");
}

static void *(*prepare(int argc, char **argv))(void *)
{
	job.ctx = SSL_CTX_new(TLS_client_method());
	job.threads = atoi(argv[3]);
	if (job.threads < 1 || job.threads > THREADS_MAX)
		fail("threads", argv[3]);
	job.flag = argc > 5 && strchr("rkt", argv[argc - 1][0]) != NULL;
	if (strcmp(argv[1], "shake") == 0 && argc >= 6) {
		job.seconds = atof(argv[4]);
		job.rate = atof(argv[5]);
		return shake;
	}
	if (strcmp(argv[1], "mail") == 0 && argc >= 6) {
		job.messages = atol(argv[4]);
		job.bytes = (size_t)atol(argv[5]);
		make_body();
		return mail;
	}
	job.sessions = atol(argv[4]);
	return strcmp(argv[1], "idle") == 0 ? idle : NULL;
}

int main(int argc, char **argv)
{
	void *(*run)(void *) = NULL;
	pthread_t t[THREADS_MAX];
	int64_t start;
	double took;

	job.port = argc > 2 ? atoi(argv[2]) : 0;
	if (argc == 5 && strcmp(argv[1], "sink") == 0)
		return sink(argv[3], argv[4]);
	if (argc > 4)
		run = prepare(argc, argv);
	if (!run) {
		fprintf(stderr, "tlsload shake|mail|idle|sink PORT ..., see its source\n");
		return 64;
	}
	start = now_us();
	job.until = start + (int64_t)(job.seconds * 1e6);
	for (int i = 0; i < job.threads; i++)
		if (pthread_create(&t[i], NULL, run, NULL) != 0)
			fail("pthread_create", strerror(errno));
	for (int i = 0; i < job.threads; i++)
		pthread_join(t[i], NULL);
	took = (double)(now_us() - start) / 1e6;
	printf("{\"n\": %ld, \"resumed\": %ld, \"seconds\": %.3f}\n", (long)job.done,
	    (long)job.resumed, took);
	fflush(stdout);
	if (run == idle)
		while (getchar() != EOF)
			;
	free(job.body);
	SSL_CTX_free(job.ctx);
	return 0;
}
