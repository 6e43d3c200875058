/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter-spamd.c -- asks SpamAssassin's spamd: an example of libpmilter with threads.
 *
 *	filter-spamd [-l unix:/run/filter-spamd.sock] [-s 127.0.0.1:783 | -s /run/spamd.sock]
 *		[-r SCORE] [-m BYTES] [-t SECONDS]
 *
 * Each message of at most -m bytes (500 KB) is told to spamd; its verdict becomes the field
 * X-Spam-Status, a field of that name that came with the mail is taken out, and mail of at least -r
 * points (never) is refused. pmfi_eom waits for spamd, so callbacks run on up to 16 threads.
 * On failure: spamd away, or slower than -t seconds (60): 451, the client comes again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <meta1/pmfapi.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

struct message {
	char *at;
	size_t len, size;
	int large;
};

struct verdict {
	int spam;
	double score, limit;
	char symbols[800];
};

static const char *spamd = "127.0.0.1:783";
static double refuse = 1e9;
static size_t most = 500000;
static long seconds = 60;

/* ---- spamd ---- */

static int dial(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct sockaddr_in sin = {.sin_family = AF_INET};
	struct timeval tv = {.tv_sec = seconds};
	const char *colon = strrchr(spamd, ':');
	char addr[64] = "";
	int unix_socket = *spamd == '/', fd, r;

	fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (unix_socket) {
		snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", spamd);
		r = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	} else {
		snprintf(addr, sizeof(addr), "%.*s", colon ? (int)(colon - spamd) : 63, spamd);
		sin.sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 783));
		r = inet_pton(AF_INET, addr, &sin.sin_addr) != 1
			? -1
			: connect(fd, (struct sockaddr *)&sin, sizeof(sin));
	}
	if (r < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int put(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t got = send(fd, p, n, MSG_NOSIGNAL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

static int get(int fd, char *to, size_t size)
{
	size_t n = 0;

	while (n < size - 1) {
		ssize_t got = recv(fd, to + n, size - 1 - n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	to[n] = '\0';
	return 0;
}

/* "SPAMD/1.1 0 EX_OK", "Spam: True ; 15.0 / 5.0", an empty line, the symbols */
static int parse(const char *reply, struct verdict *v)
{
	const char *spam = strstr(reply, "\r\nSpam: "), *body = strstr(reply, "\r\n\r\n");
	char word[12];
	size_t n = 0;

	if (strncmp(reply, "SPAMD/", 6) != 0 || !strstr(reply, " 0 EX_OK") || !spam || !body ||
	    sscanf(spam + 8, "%11[A-Za-z] ; %lf / %lf", word, &v->score, &v->limit) != 3)
		return -1;
	v->spam = strcmp(word, "True") == 0;
	for (body += 4; *body && *body != '\r' && *body != '\n' && n < sizeof(v->symbols) - 1;
	     body++)
		if (*body > ' ' && *body <= '~')
			v->symbols[n++] = *body;
	v->symbols[n] = '\0';
	return 0;
}

static int ask(const struct message *m, struct verdict *v)
{
	char head[200], reply[8192];
	int fd = dial(), n, r;

	if (fd < 0)
		return -1;
	n = snprintf(
	    head, sizeof(head), "SYMBOLS SPAMC/1.2\r\nContent-length: %zu\r\n\r\n", m->len);
	r = put(fd, head, (size_t)n) < 0 || put(fd, m->at, m->len) < 0 ||
		    shutdown(fd, SHUT_WR) < 0 || get(fd, reply, sizeof(reply)) < 0
		? -1
		: parse(reply, v);
	close(fd);
	return r;
}

/* ---- callbacks ---- */

static void forget(pmse_ctx_P s)
{
	struct message *m = sm_pmfi_get_ctx_se(s);

	sm_pmfi_set_ctx_se(s, NULL);
	if (m)
		free(m->at);
	free(m);
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	struct message *m = sm_pmfi_get_ctx_se(s);

	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return SMTP_R_TEMP;
		sm_pmfi_set_ctx_se(s, m);
		m->size = (size_t)sm_pmfi_info(s)->bytes;
		m->large = m->size > most;
		m->at = m->large ? NULL : malloc(m->size + 1);
	}
	if (!m->at || n > m->size - m->len) {
		sfsistat_T r = m->large ? SMTP_R_ACCEPT : SMTP_R_TEMP;

		forget(s); /* with that verdict pmfi_eom is not called */
		return r;
	}
	memcpy(m->at + m->len, p, n);
	m->len += n;
	return SMTP_R_CONT;
}

static void take_out(pmse_ctx_P s, struct message *m)
{
	const char *p = m->at;
	unsigned n = 0;

	m->at[m->len] = '\0';
	for (; p && *p != '\r'; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		n += strncasecmp(p, "X-Spam-Status:", 14) == 0;
	for (; n > 0; n--)
		sm_pmfi_hdr_mod(s, SM_HDRMOD_T_REMOVE, n, "X-Spam-Status", NULL);
}

static sfsistat_T judge(pmse_ctx_P s, struct message *m)
{
	struct verdict v = {.spam = 0};
	char text[1000];

	if (ask(m, &v) < 0) {
		sm_pmfi_setreply(s, "451", "4.7.1", "the spam filter cannot be asked, come again");
		sm_pmfi_note(s, "spamd cannot be asked");
		return SMTP_R_TEMP;
	}
	snprintf(text, sizeof(text), "%s, score=%.1f required=%.1f tests=%s", v.spam ? "Yes" : "No",
	    v.score, v.limit, *v.symbols ? v.symbols : "none");
	sm_pmfi_note(s, text);
	if (v.score >= refuse) {
		sm_pmfi_setreply(s, "554", "5.7.1", "this looks like spam");
		return 554;
	}
	take_out(s, m);
	sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-Spam-Status", text);
	return SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	struct message *m = sm_pmfi_get_ctx_se(s);
	sfsistat_T r = m ? judge(s, m) : SMTP_R_CONT;

	forget(s);
	return r;
}

static sm_ret_T on_end(pmse_ctx_P s)
{
	forget(s);
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "filter-spamd",
    .pmfi_actions = PM_FCT_HEADERS,
    .pmfi_thrmax_s = 2,
    .pmfi_thrmax_h = 16,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_abort = on_end,
    .pmfi_close = on_end};

int main(int argc, char **argv)
{
	const char *where = "unix:/run/filter-spamd.sock";
	int opt;
	pmg_ctx_P g;

	while ((opt = getopt(argc, argv, "l:s:r:m:t:")) != -1) {
		if (opt == 'l')
			where = optarg;
		else if (opt == 's')
			spamd = optarg;
		else if (opt == 'r')
			refuse = atof(optarg);
		else if (opt == 'm')
			most = strtoul(optarg, NULL, 10);
		else if (opt == 't')
			seconds = strtol(optarg, NULL, 10);
		else
			return 64;
	}
	if (sm_is_err(sm_pmfi_init(&g)))
		return 71;
	sm_pmfi_setdbg(g, 1);
	if (sm_is_err(sm_pmfi_setconn(g, where)) || sm_is_err(sm_pmfi_start(g, &filter)))
		return 69;
	sm_pmfi_free(&g);
	return 0;
}
