/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * setup.c -- main() of meta1-setup and meta1-check, and what becomes of a fault.
 *
 * Comes from: the command line, the rules. Goes to: accounts.c, places.c, keys.c, secrets.c,
 * certs.c; the commands that mend (useradd, chown, …) are run without a shell, each is printed
 * before. Owns: the settings. On failure: what could not be mended is printed as meta1-check would,
 * and the exit status is 1; 78 when the configuration cannot be read.
 */
#include "setup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 32

struct said {
	struct said *next;
	char *text;
	size_t len;
};

/* ---- a command ---- */

static void print_word(const char *w, FILE *f)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_./:=+,@&";

	if (*w && strspn(w, plain) == strlen(w)) {
		fputs(w, f);
		return;
	}
	fputc('\'', f);
	for (; *w; w++) {
		if (*w == '\'')
			fputs("'\\''", f);
		else
			fputc(*w, f);
	}
	fputc('\'', f);
}

static void print_command(char *const *word, FILE *f)
{
	for (size_t i = 0; word[i]; i++) {
		if (i)
			fputc(' ', f);
		print_word(word[i], f);
	}
	fputc('\n', f);
}

/* Two roles may meet the same fault. True: it was told, with the same command. */
static bool again(struct setup *s, const char *what, char *const *word)
{
	struct said *x = base_alloc(sizeof(*x));
	FILE *f = open_memstream(&x->text, &x->len);

	if (!f)
		abort();
	fprintf(f, "%s\n", what);
	print_command(word, f);
	fclose(f);
	for (const struct said *o = s->said; o; o = o->next) {
		if (strcmp(o->text, x->text) == 0) {
			free(x->text);
			free(x);
			return true;
		}
	}
	x->next = s->said;
	s->said = x;
	return false;
}

static int run_one(char *const *argv)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* The parts between "&&", as long as they succeed. */
static int run_all(char **word)
{
	size_t from = 0;

	for (size_t i = 0;; i++) {
		char *w = word[i];

		if (w && strcmp(w, "&&") != 0)
			continue;
		word[i] = NULL;
		if (run_one(word + from) < 0)
			return -1;
		if (!w)
			return 0;
		from = i + 1;
	}
}

/* ---- a fault ---- */

static void print_fault(
    const char *what, const char *found, const char *expected, char *const *word, const char *mend)
{
	printf("%s\n    found     %s\n    expected  %s\n", what, found, expected);
	if (word[0]) {
		printf("    %-8s  ", mend);
		print_command(word, stdout);
	}
}

bool setup_fault(struct setup *s, enum setup_whose whose, const char *what, const char *found,
    const char *expected, ...)
{
	char *word[WORDS_MAX] = {NULL};
	size_t n = 0;
	va_list ap;

	va_start(ap, expected);
	while (n + 1 < WORDS_MAX && (word[n] = va_arg(ap, char *)) != NULL)
		n++;
	va_end(ap);
	if (again(s, what, word))
		return false;
	s->faults++;
	if (!s->mend || whose == SETUP_ADMINS || n == 0) {
		print_fault(what, found, expected, word, s->mend ? "yours" : "mend");
		s->left++;
		return false;
	}
	printf("+ ");
	print_command(word, stdout);
	if (s->dry)
		return false;
	if (run_all(word) < 0) {
		printf("%s: found %s, expected %s: the command failed\n", what, found, expected);
		s->left++;
		return false;
	}
	s->done++;
	return true;
}

void setup_did(struct setup *s, const char *fmt, ...)
{
	va_list ap;

	printf("+ ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	s->done += !s->dry;
}

void setup_failed(struct setup *s, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	s->left++;
}

/* ---- the run ---- */

static int load(struct setup *s)
{
	settings_free(&s->set);
	s->set = settings_load(s->file, OPT_CHECK);
	if (!conf_errors(s->set->conf))
		return 0;
	conf_report(s->set->conf, stderr);
	return -1;
}

static int end(struct setup *s)
{
	struct said *x;

	if (s->dry)
		printf("%u to be mended; %u for you to decide\n", s->faults - s->left, s->left);
	else if (s->mend && s->left)
		printf("%u done, %u left: see above\n", s->done, s->left);
	else if (s->mend)
		printf(s->done ? "%u done, nothing left\n" : "nothing to do\n", s->done);
	else if (s->faults)
		printf("%u faults; meta1-setup mends what is not for you to decide\n", s->faults);
	else
		printf("%s: accounts, folders and rights are good\n", s->file);
	settings_free(&s->set);
	while ((x = s->said)) {
		s->said = x->next;
		free(x->text);
		free(x);
	}
	return s->left || (s->faults && (s->dry || !s->mend)) ? 1 : 0;
}

/* mcp -C, which lies beside us. */
static int check_the_rest(const struct setup *s)
{
	char path[1024];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/mcp"));
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash ? slash : path, "/mcp");
	fflush(stdout);
	execl(path, "mcp", "-f", s->file, "-C", (char *)NULL);
	perror(path);
	return EXIT_OS;
}

static int usage(bool mend)
{
	fputs(mend ? "usage: meta1-setup [-f FILE] [-n] [-c] [-a NAME]… [-i CLIENT]… [-o FOLDER]\n"
		     "  -n only say what would be done\n"
		     "  -c make the keys and certificates that FILE names and that are not there\n"
		     "  -a another name of this host, for its certificate\n"
		     "  -i make a certificate for a client, and its key, in FOLDER (.)\n"
		   : "usage: meta1-check [-f FILE] [-p]\n"
		     "  -p accounts, folders and rights only; else \"mcp -C\" checks the rest\n",
	    stderr);
	return 64;
}

static bool take(struct setup_certs *c, int opt)
{
	switch (opt) {
	case 'c':
		c->make = true;
		return true;
	case 'o':
		c->out = optarg;
		return true;
	case 'a':
		if (c->nname == ARRAY_LEN(c->name))
			return false;
		c->name[c->nname++] = optarg;
		return true;
	case 'i':
		if (c->nclient == ARRAY_LEN(c->client))
			return false;
		c->client[c->nclient++] = optarg;
		return true;
	default:
		return false;
	}
}

static int all_rules(struct setup *s, const struct setup_certs *certs)
{
	setup_accounts(s);
	if (load(s) < 0) /* groups that are new have ids now */
		return EXIT_CONFIG;
	if (s->mend && setup_certs(s, certs) < 0)
		s->left++;
	setup_places(s);
	setup_keys(s);
	setup_secrets(s);
	return 0;
}

int main(int argc, char **argv)
{
	struct setup s = {.file = SYSCONFDIR "/meta1/meta1.conf"};
	struct setup_certs certs = {.out = "."};
	bool only = false;
	int c, status;

	s.mend = strcmp(program_invocation_short_name, "meta1-setup") == 0;
	while ((c = getopt(argc, argv, s.mend ? "f:nca:i:o:" : "f:p")) != -1) {
		if (c == 'f')
			s.file = optarg;
		else if (c == 'n')
			s.dry = true;
		else if (c == 'p')
			only = true;
		else if (!take(&certs, c))
			return usage(s.mend);
	}
	if (optind < argc)
		return usage(s.mend);
	if (s.mend && !s.dry && geteuid() != 0) {
		fputs(
		    "meta1-setup: makes accounts and changes owners: start it as root, or say -n\n",
		    stderr);
		return 77;
	}
	s.certs = certs.make;
	umask(022);
	if (load(&s) < 0)
		return EXIT_CONFIG;
	status = all_rules(&s, &certs);
	if (status)
		return status;
	status = end(&s);
	return s.mend || only || status ? status : check_the_rest(&s);
}
