/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * modtest.c -- main() of meta1-modtest: loads one module as a role would and runs the
 * suites on it.
 *	meta1-modtest FILE.so [-c 'options'] [-k key=value]... [-m NAME=FILE.so:options]... [-d
 *name=text]... Comes from module authors and ./check; goes to the suites by the table below. On
 *failure: TAP with "not ok" lines, "N passed, N failed" last, exit status 1.
 */
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

static const struct {
	const char *name;
	uint32_t kind; /* 0: every */
	int (*run)(struct kit *);
} suites[] = {
    {"descriptor", 0, kit_descriptor},
    {"life", 0, kit_life},
    {"requests", 0, kit_requests},
    {"map", META1_MAP, kit_map},
    {"transport", META1_TRANSPORT, kit_transport},
    {"queue", META1_QUEUE, kit_queue},
    {"auth", META1_AUTH, kit_auth},
};

static void usage(FILE *out)
{
	fputs("meta1-modtest FILE.so [-c 'name = value; ...'] [-k key=value]... [-m map]... [-d "
	      "record]...\n"
	      "Tries a module as the server would use it. Output is TAP; the last line counts.\n"
	      "  -c   its options, as in the braces of its section\n"
	      "  -k   map: a key that it holds, and its value; auth: a user and his secret; may be "
	      "repeated\n"
	      "  -x   auth: a file with the certificate of the client, in DER; -k says for whom\n"
	      "  -m   NAME=FILE.so:options, another map that it may ask by this name\n"
	      "  -d   name=text, a TXT record that it may ask for; there is no other\n",
	    out);
}

static void fault(void *arg, const char *instance, const char *text)
{
	struct kit *k = arg;
	size_t n = strlen(k->fault);

	snprintf(k->fault + n, sizeof(k->fault) - n, "%s%s: %s", n ? "; " : "", instance, text);
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

static int options(struct kit *k, int argc, char **argv)
{
	char *eq;
	int c;

	k->options = "";
	k->pair = base_alloc((size_t)argc * sizeof(*k->pair));
	while ((c = getopt(argc, argv, "c:k:m:d:x:h")) != -1) {
		if (c == 'c') {
			k->options = optarg;
		} else if (c == 'k' && (eq = strchr(optarg, '='))) {
			*eq = '\0';
			k->pair[k->npair++] = (struct kit_pair){buf_str(optarg), buf_str(eq + 1)};
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

static int gone(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int load(struct kit *k, const char *file)
{
	static char path[PATH_MAX];
	struct meta1_err err = {""};
	uint32_t bit;

	if (!realpath(file, path)) {
		kit_ok(k, false, "loads: %s: %s", file, strerror(errno));
		return -1;
	}
	k->file = path;
	k->host.role = UINT32_MAX; /* any of its roles */
	k->mod = mod_load_file(&k->host, k->file, &err);
	if (!kit_ok(k, k->mod != NULL, "loads%s%s", k->mod ? "" : ": ", err.text))
		return -1;
	k->m = mod_descriptor(k->mod);
	for (bit = 1; !(k->m->roles & bit); bit <<= 1)
		;
	k->host.role = bit;
	return kit_others_open(k) < 0 ? -1 : kit_map_sample(k);
}

static void run(struct kit *k)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(suites); i++) {
		if (suites[i].kind && suites[i].kind != k->m->kind)
			continue;
		kit_note(k, "suite: %s", suites[i].name);
		if (suites[i].run(k) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	struct kit k = {.dir = "/tmp/meta1-modtest.XXXXXX"};
	struct kit_pair *pairs;

	if (options(&k, argc, argv) < 0) {
		usage(stderr);
		return 64;
	}
	pairs = k.pair;
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(k.dir)) {
		perror(k.dir);
		return EXIT_OS;
	}
	k.host = (struct mod_host){.loop = loop_new(),
	    .hostname = "kit.example",
	    .qdir = k.dir,
	    .strict = true,
	    .fault = fault,
	    .fault_arg = &k};
	loop_fake_clock(k.host.loop, 1000000, time(NULL));
	k.host.work = work_new(k.host.loop);
	if (load(&k, argv[optind]) == 0)
		run(&k);
	kit_others_close(&k);
	work_free(&k.host.work);
	kit_turn(&k);
	mod_unload_all(&k.host);
	loop_free(&k.host.loop);
	nftw(k.dir, gone, 16, FTW_DEPTH | FTW_PHYS);
	free(pairs);
	printf("1..%u\n%u passed, %u failed\n", k.number, k.passed, k.failed);
	return k.failed ? 1 : 0;
}
