/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_crash.c -- accidents: power loss at 512 bytes, damaged blocks, a full disk.
 *
 * The folder is copied while the store runs: before a commit (image 1) and after it (2).
 * Every block in which they differ is taken back alone, and together with all behind it: what
 * image 1 had acknowledged must be there, what came with 2 whole or not at all. Then bytes of
 * image 2 are turned over: the start must go on, and no wrong content may come out.
 * Comes from: queue.c. Goes to: queue_store.c. On failure: a line "not ok".
 */
#include "queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK	512
#define MAXDIFF 160

static struct {
	char path[304]; /* below the image */
	off_t off;
	unsigned char old[BLOCK];
} diff[MAXDIFF];
static unsigned ndiff;

struct image {
	char one[128], two[128], try[128];
};

static void diff_file(const struct image *im, const char *path)
{
	char a[600], b[600];
	unsigned char x[BLOCK], y[BLOCK];
	struct stat st;
	int fa, fb;

	snprintf(a, sizeof(a), "%s/%s", im->one, path);
	snprintf(b, sizeof(b), "%s/%s", im->two, path);
	fa = open(a, O_RDONLY);
	fb = open(b, O_RDONLY);
	if (fb < 0 || fstat(fb, &st))
		goto out;
	for (off_t at = 0; at < st.st_size && ndiff < MAXDIFF; at += BLOCK) {
		memset(x, 0, BLOCK);
		memset(y, 0, BLOCK);
		if ((fa >= 0 && pread(fa, x, BLOCK, at) < 0) || pread(fb, y, BLOCK, at) < 0)
			break;
		if (!memcmp(x, y, BLOCK))
			continue;
		snprintf(diff[ndiff].path, sizeof(diff[0].path), "%s", path);
		diff[ndiff].off = at;
		memcpy(diff[ndiff++].old, x, BLOCK);
	}
out:
	if (fa >= 0)
		close(fa);
	if (fb >= 0)
		close(fb);
}

static void diff_dir(const struct image *im, const char *path)
{
	char full[300], sub[300];
	DIR *d;
	struct dirent *e;

	snprintf(full, sizeof(full), "%s/%s", im->two, path);
	d = opendir(full);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "/" : "", e->d_name);
		if (e->d_type == DT_DIR)
			diff_dir(im, sub);
		else
			diff_file(im, sub);
	}
	if (d)
		closedir(d);
}

/* The file of a difference, in the image that is tried. */
static int open_try(const struct image *im, unsigned i, int flags)
{
	char *p;
	int fd;

	if (asprintf(&p, "%s/%s", im->try, diff[i].path) < 0)
		abort();
	fd = open(p, flags);
	free(p);
	return fd;
}

static void take_back(const struct image *im, unsigned i)
{
	int fd = open_try(im, i, O_WRONLY);

	if (fd < 0 || pwrite(fd, diff[i].old, BLOCK, diff[i].off) != BLOCK)
		abort();
	close(fd);
}

/* Starts on the image. sure: messages 1 to sure must be there. Messages up to all are whole
 * or not there; 1000 as an answer would be a torn one. */
static bool starts(struct kit *k, const struct image *im, unsigned sure, unsigned all, size_t len,
    const char *which)
{
	static struct q q;
	bool ok = q_open(&q, k, im->try, which) == 0 && q_manage(&q);

	if (ok && *which == 'w') { /* as smtps does at connect */
		q_tail(&q);
		ok = q_until(&q, sure);
		for (unsigned i = 0; i < 8; i++)
			q_turn(&q);
	}
	for (unsigned i = 1; ok && i <= all; i++) {
		const struct q_entry *e = q_find(&q, i);
		enum meta1_status st = e ? q_check(&q, e, i, len) : META1_OK;

		if ((!e && i <= sure) || (e && sure > 0 && st != META1_OK) ||
		    st == META1_NOTFOUND) {
			kit_note(k, "message %u: %s", i, e ? "wrong content" : "missing");
			ok = false;
		}
	}
	ok = ok && q.twice == 0;
	q_close(&q);
	q_remove(im->try);
	return ok;
}

/* Two in one sync: neither was acknowledged before the other was written. */
static bool pair(struct q *q, unsigned i)
{
	struct kit_answer a[2] = {{0}};
	struct meta1_qmsg *msg[2];
	uint8_t b[3000];
	bool ok = true;

	for (unsigned k = 0; k < 2; k++) {
		msg[k] = q_begin(q, i + k);
		q_fill(i + k, b, sizeof(b));
		if (!msg[k] || q->ops->write(msg[k], b, sizeof(b)) != META1_OK)
			return false;
	}
	for (unsigned k = 0; k < 2; k++)
		q_commit(q, &msg[k], i + k, sizeof(b), &a[k]);
	for (unsigned k = 0; k < 2; k++) {
		ok = q_wait(q, &a[k]) && a[k].st == META1_OK && ok;
		kit_answer_free(&a[k]);
	}
	return ok;
}

/* The folders of an image, beside that of the store which is called so. */
static void name_images(struct kit *k, struct image *im, const char *name, char live[128])
{
	snprintf(live, 128, "%.60s/%s", k->dir, name);
	snprintf(im->one, sizeof(im->one), "%.60s/%s.1", k->dir, name);
	snprintf(im->two, sizeof(im->two), "%.60s/%s.2", k->dir, name);
	snprintf(im->try, sizeof(im->try), "%.60s/try", k->dir);
	mkdir(live, 0750);
}

static bool make_images(struct kit *k, struct image *im, const char *name)
{
	static struct q q;
	enum meta1_status st;
	char live[128];
	bool ok;

	name_images(k, im, name, live);
	ok = q_open(&q, k, live, "wmr") == 0 && q_manage(&q);
	for (unsigned i = 1; ok && i <= 3; i++)
		ok = q_store(&q, i, 3000, NULL, &st) && st == META1_OK;
	ok = ok && q_copy(live, im->one);
	ok = ok && pair(&q, 4) && q_copy(live, im->two);
	q_close(&q);
	ndiff = 0;
	diff_dir(im, "");
	return kit_ok(k, ok, "images of a running store");
}

static void torn(struct kit *k, const struct image *im)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < ndiff; i++) {
		ok = q_copy(im->two, im->try);
		for (unsigned j = i; j < ndiff; j++)
			take_back(im, j);
		/* With a new owner of the folder, too: it never writes into what is there. */
		ok = ok && starts(k, im, 3, 5, 3000, i % 2 ? "wmr" : "mr");
	}
	kit_ok(
	    k, ok && ndiff > 0, "power loss in the last commits, cut at each of %u blocks", ndiff);
	for (unsigned i = 0; ok && i < ndiff; i++) {
		ok = q_copy(im->two, im->try);
		take_back(im, i);
		ok = ok && starts(k, im, 3, 5, 3000, "mr");
	}
	kit_ok(k, ok, "power loss in the last commits, each block alone missing");
	ok = q_copy(im->two, im->try) && starts(k, im, 5, 5, 3000, "wmr");
	kit_ok(k, ok, "killed after the commits: all is there");
}

/* What was told and can be read. The start goes on, and nothing is told twice or wrong. */
static bool starts_damaged(
    struct kit *k, const struct image *im, const char *which, bool there[6], unsigned *named)
{
	static struct q q;
	bool ok = q_open(&q, k, im->try, which) == 0 && q_manage(&q);

	if (*which == 'w')
		q_tail(&q);
	for (unsigned i = 0; ok && i < 8; i++)
		q_turn(&q);
	for (unsigned i = 1; ok && i <= 5; i++) {
		const struct q_entry *e = q_find(&q, i);
		enum meta1_status st = e ? q_check(&q, e, i, 3000) : META1_OK;

		ok = st != META1_NOTFOUND; /* wrong content */
		there[i] = e && st == META1_OK;
		*named += e && st != META1_OK; /* the reader says so, it stays in the queue */
	}
	*named += q.damage;
	ok = ok && q.twice == 0;
	q_close(&q);
	return ok;
}

/* One record is lost at most, which may be an envelope or, where several share a sync, a table; it
 * is named by check() before and at the start. The newest may be cut for a torn one. */
static bool one_byte(
    struct kit *k, const struct image *im, const char *path, off_t at, const char *which)
{
	struct q_account a = {0};
	bool there[6] = {false}, ok;
	unsigned named = 0, lost = 0, newest;

	ok = q_copy(im->two, im->try) && q_spoil(path, at) && q_account(k, im->try, false, &a) &&
	     starts_damaged(k, im, which, there, &named);
	for (unsigned i = 1; i <= 5; i++)
		lost += !there[i];
	newest = !there[4] + !there[5];
	if (ok && (lost > 2 || (lost == 2 && newest != 2) || (lost > 0 && !a.found) ||
		      (lost > newest && !named))) {
		kit_note(k, "%s at %lld: %u lost, %u found by check(), %u named at the start", path,
		    (long long)at, lost, a.found, named);
		ok = false;
	}
	q_remove(im->try);
	return ok;
}

static void damaged(struct kit *k, struct image *im)
{
	struct image all = *im;
	struct q_account a;
	bool ok = q_account(k, im->two, false, &a) && a.found == 0 && a.fates == 7;

	kit_ok(k, ok, "check() finds nothing wrong with what a killed store leaves: %s", a.text);
	ndiff = 0;
	snprintf(all.one, sizeof(all.one), "%.60s/none", k->dir);
	diff_dir(&all, "");
	for (unsigned i = 0; ok && i < ndiff; i++) {
		char path[448];

		snprintf(path, sizeof(path), "%s/%.300s", im->try, diff[i].path);
		for (unsigned at = 3; ok && at < BLOCK; at += 251)
			ok = one_byte(k, im, path, diff[i].off + at, i % 2 ? "wmr" : "mr");
	}
	kit_ok(k, ok && ndiff > 0,
	    "bytes turned over in %u blocks: each start goes on, one record is lost and named",
	    ndiff);
}

/* No file may grow: what a full disk looks like, without one. */
void kit_queue_full(struct kit *k)
{
	static struct q q;
	struct rlimit was, none;
	enum meta1_status st[3] = {0};
	char dir[128];
	bool ok;

	snprintf(dir, sizeof(dir), "%.60s/full", k->dir);
	mkdir(dir, 0750);
	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &was) || q_open(&q, k, dir, "wmr") < 0 || !q_manage(&q)) {
		kit_ok(k, false, "full disk: open");
		q_close(&q);
		return;
	}
	none = (struct rlimit){.rlim_cur = 1, .rlim_max = was.rlim_max};
	setrlimit(RLIMIT_FSIZE, &none);
	ok = q_store(&q, 1, 3000, NULL, &st[0]) && q_store(&q, 2, 600000, NULL, &st[1]);
	setrlimit(RLIMIT_FSIZE, &was);
	kit_ok(k, ok && st[0] == META1_TEMPFAIL && st[1] == META1_TEMPFAIL,
	    "nothing can be written: TEMPFAIL for small and large");
	/* A store may look only once a second whether there is room again. */
	kit_clock(k, 1500);
	for (unsigned i = 0; i < 5; i++)
		q_turn(&q);
	ok = q_store(&q, 3, 3000, NULL, &st[2]) && st[2] == META1_OK &&
	     q_store(&q, 4, 600000, NULL, &st[2]) && st[2] == META1_OK;
	kit_ok(k, ok, "room again: mail is taken again");
	q_close(&q);
	ok = q_open(&q, k, dir, "wmr") == 0 && q_manage(&q);
	q_tail(&q);
	ok = ok && q_until(&q, 2);
	kit_ok(k, ok && q.n == 2 && q_find(&q, 3) && q_find(&q, 4) && q.damage == 0,
	    "what was refused is not there, the rest is: %u", q.n);
	q_close(&q);
}

/* The outcome's last sync: done or not done, the message itself always sure. */
static void torn_outcome(struct kit *k)
{
	static struct q q;
	struct image im;
	char live[128];
	enum meta1_status st;
	bool ok;

	name_images(k, &im, "outcome", live);
	ok = q_open(&q, k, live, "wmr") == 0 && q_manage(&q);
	for (unsigned i = 1; ok && i <= 2; i++)
		ok = q_store(&q, i, 3000, NULL, &st) && st == META1_OK;
	q_tail(&q);
	ok = ok && q_until(&q, 2) && q_copy(live, im.one) &&
	     q_outcome(&q, 1, 0, META1_R_DELIVERED) && q_copy(live, im.two);
	q_close(&q);
	ndiff = 0;
	diff_dir(&im, "");
	ok = ok && ndiff > 0;
	for (unsigned i = 0; ok && i < ndiff; i++) {
		ok = q_copy(im.two, im.try);
		for (unsigned j = i; j < ndiff; j++)
			take_back(&im, j);
		ok = ok && starts(k, &im, 2, 2, 3000, "mr");
	}
	kit_ok(k, ok, "power loss while an outcome is recorded: %u cuts, nothing lost", ndiff);
	ok = q_copy(im.two, im.try) && q_open(&q, k, im.try, "mr") == 0 && q_manage(&q) &&
	     q.n == 1 && q_find(&q, 2) && !q_find(&q, 1);
	kit_ok(k, ok, "killed after the outcome: it is done for ever");
	q_close(&q);
	q_remove(im.try);
}

void kit_queue_crash(struct kit *k)
{
	struct image im;

	if (make_images(k, &im, "crash"))
		torn(k, &im);
	torn_outcome(k);
}

void kit_queue_bytes(struct kit *k)
{
	struct image im;

	if (make_images(k, &im, "bytes"))
		damaged(k, &im);
}
