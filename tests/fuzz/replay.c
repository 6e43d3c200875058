/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c -- main() of a fuzz target without an engine: runs each file once.
 *	NAME             the target's own corpus
 *	NAME FILE…       these files, or all files of these folders
 *	NAME -           standard input
 * Comes from "make check" with any compiler; goes to the target's one function.
 * On failure: the file named last on standard error is the one.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (16u << 20)

static unsigned files;

static int run_fd(int fd, const char *name)
{
	uint8_t *all = malloc(INPUT_MAX), *exact;
	size_t n = 0;
	ssize_t got = 0;

	fprintf(stderr, "%s\n", name);
	while (all && n < INPUT_MAX && (got = read(fd, all + n, INPUT_MAX - n)) > 0)
		n += (size_t)got;
	if (!all || got < 0) {
		fprintf(stderr, "cannot read %s: %s\n", name, strerror(errno));
		free(all);
		return 1;
	}
	/* No byte more: a sanitizer then sees each read beyond the end. */
	exact = malloc(n);
	if (n > 0)
		memcpy(exact, all, n);
	free(all);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	files++;
	return 0;
}

static int run_file(const char *path)
{
	FILE *f = fopen(path, "r");
	int rc;

	if (!f) {
		fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
		return 1;
	}
	rc = run_fd(fileno(f), path);
	fclose(f);
	return rc;
}

static int run_folder(const char *path)
{
	struct dirent **e;
	int n = scandir(path, &e, NULL, alphasort), rc = 0;

	if (n < 0) {
		fprintf(stderr, "cannot list %s: %s\n", path, strerror(errno));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char name[PATH_MAX];
		int len = snprintf(name, sizeof(name), "%s/%s", path, e[i]->d_name);

		if (e[i]->d_name[0] != '.' && len < (int)sizeof(name))
			rc |= run_file(name);
		free(e[i]);
	}
	free(e);
	return rc;
}

static int run_path(const char *path)
{
	struct stat st;

	if (strcmp(path, "-") == 0)
		return run_fd(STDIN_FILENO, "standard input");
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? run_folder(path) : run_file(path);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	char own[PATH_MAX];
	int rc = 0;

	snprintf(own, sizeof(own), "%s/%s", FUZZ_CORPUS, slash ? slash + 1 : argv[0]);
	if (argc == 1)
		rc = run_path(own);
	for (int i = 1; i < argc; i++)
		rc |= run_path(argv[i]);
	fprintf(stderr, "%u inputs\n", files);
	return rc != 0 || files == 0;
}
