/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lmtp-maildir.c -- a small LMTP server (RFC 2033) that delivers into Maildirs.
 *
 *	lmtp-maildir SOCKET DIRECTORY
 *
 * Listens on the unix socket and writes each mail to DIRECTORY/LOCALPART/new; any
 * local part of letters, digits and .-_+ is a mailbox. One process a connection,
 * plain blocking calls: an example of what stands behind transport_lmtp, and the
 * mail store of ./quickstart. Not a mail store for users.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RCPTS_MAX      100
#define LINE_MAX_BYTES 8192

static const char *store;
static char rcpt[RCPTS_MAX][65];
static unsigned nrcpt;
static int have_mail;

static void say(const char *text)
{
	printf("%s\r\n", text);
	fflush(stdout);
}

/* The local part of <local@domain> when it is a name that may be a folder. */
static int mailbox_of(const char *arg, char *out, size_t size)
{
	const char *p = strchr(arg, '<');
	size_t n = 0;

	for (p = p ? p + 1 : arg; *p && *p != '@' && *p != '>'; p++) {
		if (!(isalnum((unsigned char)*p) || strchr(".-_+", *p)) || n + 1 >= size)
			return -1;
		out[n++] = (char)tolower((unsigned char)*p);
	}
	out[n] = '\0';
	return n && *out != '.' ? 0 : -1;
}

static int make_maildir(const char *box, char *dir, size_t size)
{
	static const char *const subs[] = {"", "/tmp", "/new", "/cur"};
	size_t i;

	for (i = 0; i < 4; i++) {
		snprintf(dir, size, "%s/%s%s", store, box, subs[i]);
		if (mkdir(dir, 0700) && errno != EEXIST)
			return -1;
	}
	snprintf(dir, size, "%s/%s", store, box);
	return 0;
}

/* Copies the spooled mail into the Maildir: tmp, synced, then renamed into new. */
static int deliver(const char *box, FILE *spool)
{
	char dir[600], tmp[800], final[800], buf[65536];
	static unsigned count;
	size_t n;
	FILE *f;
	int ok;

	if (make_maildir(box, dir, sizeof(dir)))
		return -1;
	snprintf(tmp, sizeof(tmp), "%s/tmp/%ld.%d_%u.demo", dir, (long)time(NULL), (int)getpid(),
	    ++count);
	snprintf(final, sizeof(final), "%s/new/%ld.%d_%u.demo", dir, (long)time(NULL),
	    (int)getpid(), count);
	if (!(f = fopen(tmp, "w")))
		return -1;
	rewind(spool);
	while ((n = fread(buf, 1, sizeof(buf), spool)) > 0)
		fwrite(buf, 1, n, f);
	ok = !fflush(f) && !ferror(f) && !ferror(spool) && !fsync(fileno(f));
	ok = !fclose(f) && ok && !rename(tmp, final);
	if (!ok)
		unlink(tmp);
	return ok ? 0 : -1;
}

static void take_data(void)
{
	char line[LINE_MAX_BYTES];
	FILE *spool = tmpfile();
	int whole = 1, was_whole, end = 0;
	unsigned i;
	size_t n;

	if (!spool) {
		say("451 4.3.0 no temporary file");
		return;
	}
	say("354 end with a dot");
	while (fgets(line, sizeof(line), stdin)) {
		was_whole = whole;
		n = strlen(line);
		whole = n && line[n - 1] == '\n';
		if (was_whole && (!strcmp(line, ".\r\n") || !strcmp(line, ".\n"))) {
			end = 1;
			break;
		}
		/* a Maildir file has plain line ends and no doubled dots */
		if (n > 1 && line[n - 2] == '\r') {
			line[n - 2] = '\n';
			line[n - 1] = '\0';
		}
		fputs(was_whole && *line == '.' ? line + 1 : line, spool);
	}
	for (i = 0; end && i < nrcpt; i++)
		say(deliver(rcpt[i], spool) ? "451 4.3.0 cannot write the mailbox"
					    : "250 2.0.0 delivered");
	fclose(spool);
	nrcpt = 0;
}

static void take_rcpt(const char *arg)
{
	if (nrcpt == RCPTS_MAX)
		say("452 4.5.3 too many recipients");
	else if (!have_mail)
		say("503 5.5.1 MAIL first");
	else if (mailbox_of(arg, rcpt[nrcpt], sizeof(rcpt[0])))
		say("550 5.1.1 no such mailbox");
	else {
		nrcpt++;
		say("250 2.1.5 ok");
	}
}

static void session(void)
{
	char line[LINE_MAX_BYTES];

	say("220 lmtp-maildir LMTP ready");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (!strncasecmp(line, "LHLO", 4)) {
			say("250-lmtp-maildir\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 "
			    "ENHANCEDSTATUSCODES");
		} else if (!strncasecmp(line, "MAIL FROM:", 10)) {
			have_mail = 1;
			nrcpt = 0;
			say("250 2.1.0 ok");
		} else if (!strncasecmp(line, "RCPT TO:", 8)) {
			take_rcpt(line + 8);
		} else if (!strcasecmp(line, "DATA")) {
			if (nrcpt)
				take_data();
			else
				say("503 5.5.1 RCPT first");
		} else if (!strcasecmp(line, "RSET") || !strcasecmp(line, "NOOP")) {
			if (tolower((unsigned char)*line) == 'r')
				nrcpt = 0, have_mail = 0;
			say("250 2.0.0 ok");
		} else if (!strcasecmp(line, "QUIT")) {
			say("221 2.0.0 bye");
			return;
		} else {
			say("500 5.5.2 unknown command");
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int s, c;

	if (argc != 3) {
		fprintf(stderr, "usage: lmtp-maildir SOCKET DIRECTORY\n");
		return 64;
	}
	if (strlen(argv[1]) >= sizeof(sa.sun_path)) {
		fprintf(stderr,
		    "lmtp-maildir: %s: %zu bytes are too long for a socket, at most %zu\n", argv[1],
		    strlen(argv[1]), sizeof(sa.sun_path) - 1);
		return 64;
	}
	store = argv[2];
	strcpy(sa.sun_path, argv[1]);
	unlink(argv[1]);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)) || chmod(argv[1], 0666) ||
	    listen(s, 20)) {
		fprintf(stderr, "lmtp-maildir: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	while ((c = accept(s, NULL, NULL)) >= 0 || errno == EINTR) {
		if (c >= 0 && !fork()) {
			close(s);
			dup2(c, 0);
			dup2(c, 1);
			close(c);
			session();
			exit(0);
		}
		if (c >= 0)
			close(c);
	}
	return 1;
}
