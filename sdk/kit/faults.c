/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faults.c -- the suite of what goes wrong around a module of any kind: each call of the host, or
 * of malloc() and its like, fails in turn while it opens, and numbers of descriptors above 1024.
 * Comes from modtest.c; goes to the module's open() and close().
 * On failure: "not ok" with the number of the call.
 */
#include "kit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define CALLS_MAX 3000
#define HIGH	  1100 /* above what select() can hold */

static void failing(struct kit *k, const char *role)
{
	unsigned n, refused = 0;
	bool there_was = true;

	for (n = 1; n <= CALLS_MAX; n++) {
		struct meta1_err err = {""};
		struct kit_inst *in;

		kit_host_fail(&k->host, n);
		in = kit_open(k, NULL, &err);
		there_was = k->host.failed > 0;
		kit_host_fail(&k->host, 0);
		if (!in)
			refused++;
		kit_close(k, &in);
		if (!there_was)
			break;
	}
	kit_ok(k, n <= CALLS_MAX,
	    "opens in %s or says why not, when each of %u calls fails in turn (%u times no)", role,
	    n - 1, refused);
}

/* What it opens is another thing in each role. */
static void each_role(struct kit *k)
{
	static const char *const names[] = {"smtps", "smtpc", "smar", "qmgr", "a tool"};
	uint32_t was = k->host.role;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (!(k->m->roles & 1u << i))
			continue;
		k->host.role = 1u << i;
		failing(k, names[i]);
	}
	k->host.role = was;
}

static void high_numbers(struct kit *k)
{
	struct meta1_err err = {""};
	struct kit_inst *in;
	struct rlimit was, lim;
	unsigned n;
	int fd[HIGH];

	getrlimit(RLIMIT_NOFILE, &was);
	lim = was;
	lim.rlim_cur = lim.rlim_max < 4096 ? lim.rlim_max : 4096;
	setrlimit(RLIMIT_NOFILE, &lim);
	fd[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (n = 1; n < HIGH; n++)
		if ((fd[n] = fcntl(fd[0], F_DUPFD_CLOEXEC, 0)) < 0)
			break;
	if (n == HIGH) {
		in = kit_open(k, NULL, &err);
		kit_ok(k, in != NULL, "opens with descriptors above 1024%s%s", in ? "" : ": ",
		    in ? "" : err.text);
		kit_turn(k);
		kit_clock(k, 1000);
		kit_close(k, &in);
		kit_ok(k, true, "and closes them");
	} else {
		kit_skip(k, "descriptors above 1024", "the limit on open files is too low");
	}
	while (n-- > 0)
		close(fd[n]);
	setrlimit(RLIMIT_NOFILE, &was);
}

/* Files and sockets of its own give a part of what was asked for, or nothing just now. */
static void parts(struct kit *k)
{
	struct meta1_err err = {""};
	struct kit_inst *in;

	k->host.parts = true;
	in = kit_open(k, NULL, &err);
	kit_turn(k);
	k->host.parts = false;
	kit_ok(k, in != NULL, "opens when reads and writes do a half, or nothing%s%s",
	    in ? "" : ": ", in ? "" : err.text);
	kit_close(k, &in);
}

int kit_faults(struct kit *k)
{
	each_role(k);
	high_numbers(k);
	parts(k);
	return 0;
}
