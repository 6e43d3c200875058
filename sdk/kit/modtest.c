/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * modtest.c -- main() of meta1-modtest: loads one module as a role would and runs the
 * suites on it.
 *	meta1-modtest FILE.so [-c 'options'] [-k key=value]... [-s peer.script] ...
 * Comes from module authors and ./check; goes to the suites by the table below. On failure: TAP
 *with "not ok" lines, "N passed, N failed" last, exit status 1. A module that crashes is a failure
 *too: the last line is there.
 */
#include "guard.h"
#include "kit.h"

#include "lib/log.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TMPDIR_MAX 30

static const struct {
	const char *name;
	uint32_t kind; /* 0: every */
	int (*run)(struct kit *);
	void (*part)(struct kit *); /* in its place, of stores that last */
} suites[] = {
    {"descriptor", 0, kit_descriptor, NULL},
    {"life", 0, kit_life, NULL},
    {"faults", 0, kit_faults, NULL},
    {"requests", 0, kit_requests, NULL},
    {"map", META1_MAP, kit_map, NULL},
    {"transport", META1_TRANSPORT, kit_transport, NULL},
    {"auth", META1_AUTH, kit_auth, NULL},
    {"pmilter", META1_PMILTER, kit_pmilter, NULL},
    {"queue", META1_QUEUE, kit_queue, NULL},
    {"space", META1_QUEUE, NULL, kit_queue_space},
    {"numbers", META1_QUEUE, NULL, kit_queue_numbers},
    {"damage", META1_QUEUE, NULL, kit_queue_damage},
    {"compact", META1_QUEUE, NULL, kit_queue_compact},
    {"crash", META1_QUEUE, NULL, kit_queue_crash},
    {"bytes", META1_QUEUE, NULL, kit_queue_bytes},
    {"full", META1_QUEUE, NULL, kit_queue_full},
    {"memory", META1_QUEUE, NULL, kit_queue_memory},
    {"kill", META1_QUEUE, NULL, kit_queue_kill},
};

static void usage(FILE *out)
{
	fputs(
	    "meta1-modtest FILE.so [-c 'name = value; ...'] [-k key=value]... [-s script] [-l1a] "
	    "[-t suite] [-w seconds] [-m map]... [-d record]...\n"
	    "Tries a module as the server would use it. Output is TAP; the last line counts.\n"
	    "  -c   its options, as in the braces of its section\n"
	    "  -k   map: a key that it holds, and its value; auth: a user and his secret; may be "
	    "repeated\n"
	    "  -s   a file with the script of a peer, in place of the suites of its kind; @PEER@ "
	    "in\n"
	    "       the options is its socket. Lines: \"> text\" says it, \"< text\" waits for a\n"
	    "       line, \"& text\" waits for text, \"# text\" says it without line end, \".\" "
	    "takes\n"
	    "       a content, \"= \\0\\x01c\" says bytes, \"? \\0c\" waits for bytes, \"-\" "
	    "hangs up\n"
	    "  -l   shows what it logs\n"
	    "  -t   this suite alone, such as \"queue\"; its name stands before its lines\n"
	    "  -1   ends at the first line that is not ok\n"
	    "  -a   all places that ask for memory or a service must have been refused it once\n"
	    "  -w   how long one answer is waited for (10)\n"
	    "  -x   auth: a file with the certificate of the client, in DER; -k says for whom\n"
	    "  -m   NAME=FILE.so:options, another map that it may ask by this name\n"
	    "  -d   name=text, a TXT record that it may ask for; there is no other\n",
	    out);
}

/* ---- the end ---- */

static int gone(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int summary(struct kit *k)
{
	nftw(k->dir, gone, 16, FTW_DEPTH | FTW_PHYS);
	printf("1..%u\n%u passed, %u failed\n", k->number, k->passed, k->failed);
	return k->failed ? 1 : 0;
}

/* -1: in the middle of a suite, so nothing of the module is asked any more. */
static void stop(struct kit *k)
{
	summary(k);
	fflush(stdout);
	_exit(1);
}

static struct meta1_buf certificate(const char *file)
{
	static char der[65536];
	FILE *f = fopen(file, "re");
	size_t n = f ? fread(der, 1, sizeof(der), f) : 0;

	if (f)
		fclose(f);
	return buf_of(der, n);
}

static const char *whole(const char *file)
{
	static char text[65536];
	FILE *f = fopen(file, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (!f)
		perror(file);
	else
		fclose(f);
	return f && n ? text : NULL;
}

/* ---- the command ---- */

static bool is_suite(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(suites); i++)
		if (strcmp(suites[i].name, name) == 0)
			return true;
	return false;
}

static bool number(const char *text, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*out = (unsigned)n;
	return n > 0 && n <= 3600 && end != text && !*end;
}

static int options(struct kit *k, int argc, char **argv)
{
	char *eq;
	int c;

	k->options = "";
	k->pair = base_alloc((size_t)argc * sizeof(*k->pair));
	while ((c = getopt(argc, argv, "c:k:s:m:d:x:t:w:1alh")) != -1) {
		if (c == 'c') {
			k->options = optarg;
		} else if (c == 'k' && (eq = strchr(optarg, '='))) {
			*eq = '\0';
			k->pair[k->npair++] = (struct kit_pair){buf_str(optarg), buf_str(eq + 1)};
		} else if (c == 's' && (k->script = whole(optarg))) {
			continue;
		} else if (c == 'l') {
			k->lines = true;
		} else if (c == 'a') {
			k->strict = true;
		} else if (c == '1') {
			k->stop = stop;
		} else if (c == 't' && is_suite(optarg)) {
			k->only = optarg;
		} else if (c == 'w' && number(optarg, &k->patience)) {
			continue;
		} else if (c == 'x' && (k->cert = certificate(optarg)).len > 0) {
			continue;
		} else if ((c == 'm' || c == 'd') && kit_other(k, c, optarg) == 0) {
			continue;
		} else {
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 64);
		}
	}
	return argc - optind == 1 ? 0 : -1;
}

/* @PEER@ in the options becomes the path; the caller's. */
static char *fill(const struct kit *k)
{
	const char *at, *from = k->options;
	char *out = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&out, &n);

	for (; (at = strstr(from, "@PEER@")); from = at + 6)
		fprintf(f, "%.*s%s", (int)(at - from), from, k->peer);
	fputs(from, f);
	fclose(f);
	return out;
}

static int load(struct kit *k, const char *file)
{
	struct meta1_err err = {""};
	uint32_t bit;

	k->suite = "load";
	k->mod = kit_load(&k->host, file, &err);
	if (!kit_ok(k, k->mod != NULL, "loads%s%s", k->mod ? "" : ": ", err.text))
		return -1;
	k->m = k->mod->m;
	if (!kit_accepts(k))
		return -1;
	for (bit = 1; !(k->m->roles & bit); bit <<= 1)
		;
	k->host.role = bit;
	return kit_others_open(k) < 0 ? -1 : kit_map_sample(k);
}

static void run(struct kit *k)
{
	size_t i;

	if (k->script) {
		k->suite = "play";
		kit_play(k);
		return;
	}
	for (i = 0; i < ARRAY_LEN(suites); i++) {
		if ((suites[i].kind && suites[i].kind != k->m->kind) ||
		    (k->only && strcmp(k->only, suites[i].name) != 0))
			continue;
		k->suite = suites[i].name;
		kit_note(k, "suite: %s", k->suite);
		if (suites[i].part)
			kit_queue_lasting(k, suites[i].part);
		else if (suites[i].run(k) < 0)
			return;
	}
}

/* ---- a module that crashes ---- */

static struct kit *running; /* until a signal ends it */

static void put(const char *s)
{
	ssize_t n = write(STDOUT_FILENO, s, strlen(s));

	(void)n;
}

static void put_number(unsigned n)
{
	char digits[16], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	put(p);
}

/* Nothing but write(): memory may be anything. */
static void crashed(int sig, siginfo_t *info, void *context)
{
	bool late = (sig == SIGSEGV || sig == SIGBUS) && kit_guard_holds(info->si_addr);

	(void)context;
	put("not ok ");
	put_number(++running->number);
	put(sig == SIGUSR2 ? " - it does not come back"
	    : late	   ? " - it looks at what it was lent, after its time"
			   : " - it crashes");
	put(": signal ");
	put_number((unsigned)(sig == SIGUSR2 ? SIGALRM : sig));
	put(" in the suite ");
	put(running->suite);
	put("\nBail out!\n");
	put_number(running->passed);
	put(" passed, ");
	put_number(++running->failed);
	put(" failed\n");
	if (fork() == 0)
		execl("/bin/rm", "rm", "-rf", running->dir, NULL);
	_exit(1);
}

/* Who waits for a module that waits is told so while he waits. */
static void late(int sig)
{
	(void)sig;
	if (running->slow) {
		raise(SIGUSR2); /* to crashed() */
		return;
	}
	running->slow = true;
	put("# no line for ");
	put_number(SLOW * running->patience);
	put(" seconds, in the suite ");
	put(running->suite);
	put(": a call that has not come back, or many that sleep? What may sleep is for "
	    "offload().\n");
	alarm((STUCK - SLOW) * running->patience);
}

static void watch_over(struct kit *k)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGUSR2};
	struct sigaction sa = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO};
	size_t i;

	running = k;
	for (i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &sa, NULL);
	signal(SIGALRM, late);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static void line(void *arg, const char *instance, enum meta1_level level, const char *text)
{
	static const char *const levels[] = {"error", "warning", "info", "debug"};

	kit_note(arg, "log: %s %s: %s", levels[level & 3], instance, text);
}

/* Below TMPDIR, as long as paths of sockets in it are not too long. */
static char *folder(char *dir, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	if (!tmp || tmp[0] != '/' || strlen(tmp) > TMPDIR_MAX)
		tmp = "/tmp";
	snprintf(dir, size, "%s/meta1-modtest.XXXXXX", tmp);
	return mkdtemp(dir);
}

int main(int argc, char **argv)
{
	struct kit k = {.suite = "start", .patience = 10};
	struct kit_pair *pairs;
	char *filled;

	if (options(&k, argc, argv) < 0) {
		usage(stderr);
		return 64;
	}
	pairs = k.pair;
	if (!folder(k.dir, sizeof(k.dir))) {
		perror(k.dir);
		return EXIT_OS;
	}
	snprintf(k.peer, sizeof(k.peer), "%s/peer", k.dir);
	k.options = filled = fill(&k);
	kit_host_start(&k.host, k.dir);
	watch_over(&k);
	k.host.line = k.lines ? line : NULL;
	k.host.line_arg = &k;
	if (load(&k, argv[optind]) == 0) {
		run(&k);
		kit_sites_tell(&k);
	}
	kit_others_close(&k);
	kit_turn(&k);
	kit_host_end(&k.host);
	free(pairs);
	free(filled);
	return summary(&k);
}
