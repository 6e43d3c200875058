/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover.c -- power loss by replay: a record (recorder.c) is cut after chosen calls, images
 * that the sync contract allows are made of each cut, the store starts on each, and what
 * it brings back is judged: all that was acknowledged, nothing half, nothing done again but what
 * was done within the last sync of the journal, no damage, numbers that are new.
 *
 *	recover -m MODULE.so [-o OPTIONS] -r RECORD -d FOLDER [-c CUTS] [-i IMAGES] [-s SEED]
 *	        [-j JOURNAL] [-l LIE]...
 *	recover -r RECORD -d FOLDER -x STAMP:SEED     makes one image, says what is to be expected
 *
 * A lie is a prefix of paths whose syncs are taken for nothing ("state/journal"; "in/0/", with a
 * slash, for the folder itself and those in it; "=in/0/" for it alone): the oracle must then find
 *something, or it is blind. On failure: each bad image is named so that -x makes it again; exit
 *status 1.
 */
#include "trial.h"

#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct replay {
	const char *record, *dir, *module, *options, *journal, *only;
	unsigned long cuts, images, seed;
	struct lie *lies;
	/* while it runs */
	const struct record *r;
	struct model m;
	struct ledger l;
	struct kit k;
	uint64_t at, nslot; /* stamp of the newest record fed */
	uint64_t luck;	    /* which contents are read */
	unsigned long tried, bad, most;
};
static char now_at[200]; /* for a crash of the store */

static void crashed(int sig)
{
	if (write(2, now_at, strlen(now_at)) < 0)
		_exit(71);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int gone(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static bool open_record(struct replay *p)
{
	int fd = open(p->record, O_RDONLY | O_CLOEXEC);
	void *b = fd >= 0 ? mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	p->r = b;
	if (b == MAP_FAILED || p->r->magic != RECORD_MAGIC || p->r->slots >= RECORD_SLOTS ||
	    p->r->bytes >= RECORD_SIZE - sizeof(*p->r)) {
		fprintf(stderr, "%s: no record, or it is full\n", p->record);
		return false;
	}
	p->nslot = p->r->slots;
	return true;
}

static void outcome_calls(
    struct replay *p, uint64_t stamp, const struct rec *r, const struct obj *o, bool end)
{
	size_t n = strlen(p->journal);

	if (o == NULL || strncmp(model_path(&p->m, o), p->journal, n) != 0)
		return;
	if (!end && r->type == R_WRITE)
		ledger_wrote(&p->l, r->pid);
	else if (end)
		ledger_synced(&p->l, stamp, r->pid);
}

/* One record; false: there is no more. */
static bool feed(struct replay *p)
{
	const struct rec *r, *began = NULL;
	uint64_t off;

	if (p->at == p->nslot)
		return false;
	off = p->r->slot[p->at++];
	if (off == 0)
		return true;
	r = (const void *)(p->r->b + off - 1);
	p->l.time = r->time;
	if (r->type == R_NOTE) {
		ledger_note(&p->l, p->at, r);
	} else if (r->type == R_SAYS) {
		ledger_says(&p->l, p->at, r);
	} else {
		if (r->type == R_END)
			began = (const void *)(p->r->b + p->r->slot[r->begin - 1] - 1);
		model_feed(&p->m, p->at, r);
		if (r->type == R_WRITE)
			outcome_calls(p, p->at, r, model_obj(&p->m, r->ino), false);
		else if (began != NULL && began->type == R_SYNC && r->ret == 0)
			outcome_calls(p, p->at, began, model_obj(&p->m, began->ino), true);
	}
	return true;
}

/* Cuts fall behind calls on the disk and behind promises. */
static bool may_cut(const struct replay *p)
{
	return p->at > 0 && p->r->slot[p->at - 1] != 0;
}

static bool number_is_new(struct replay *p, uint64_t number, char *why, size_t size)
{
	char hex[20];

	snprintf(hex, sizeof(hex), "S%016llX", (unsigned long long)number);
	for (unsigned b = 0; b < 1024; b++)
		for (const struct mail *m = p->l.bucket[b]; m != NULL; m = m->next)
			if (strncmp(m->id, hex, 17) == 0) {
				snprintf(
				    why, size, "%s: its number %s is given again", m->key, hex);
				return false;
			}
	return true;
}

static bool judge(struct replay *p, struct trial *t, char *why, size_t size)
{
	char fault[512];

	kit_fault_take(&p->k.host, fault, sizeof(fault));
	if (t->damage > 0 || fault[0] != '\0') {
		snprintf(why, size, "%s%s", t->text, fault);
		return false;
	}
	trial_read(t, &p->luck);
	if (t->n > p->most)
		p->most = t->n;
	return ledger_judge(&p->l, t->found, t->n, why, size);
}

static bool try_image(struct replay *p, uint64_t seed, char *why, size_t size)
{
	static struct trial t;
	bool writer = seed % 2 == 0, again = seed % 8 < 2;
	uint64_t number = 0;
	bool ok;

	ok = trial_start(&t, &p->k, p->dir, writer);
	if (!ok)
		snprintf(why, size, "%s", t.text);
	ok = ok && judge(p, &t, why, size);
	if (ok && again && writer && !trial_new(&t, &number)) {
		snprintf(why, size, "the store takes no new mail");
		ok = false;
	}
	ok = ok && (number == 0 || number_is_new(p, number, why, size));
	trial_end(&t);
	if (!ok || !again)
		return ok;
	/* Killed after that start: the next one finds the same, and the new one. */
	ok = trial_start(&t, &p->k, p->dir, true);
	if (!ok)
		snprintf(why, size, "second start: %.200s", t.text);
	for (size_t i = 0; i < t.n; i++)
		if (number != 0 && strcmp(t.found[i].addr[0], "new@far.test") == 0) {
			number = 0;
			t.found[i] = t.found[--t.n];
			t.ref[i] = t.ref[t.n];
		}
	ok = ok && judge(p, &t, why, size);
	if (ok && number != 0) {
		snprintf(why, size, "the mail that the first start took is gone at the second");
		ok = false;
	}
	trial_end(&t);
	return ok;
}

static void cut(struct replay *p)
{
	for (unsigned long i = 0; i < p->images; i++) {
		uint64_t seed = p->at * 1000003u + p->seed + i;
		enum image_mode mode = i == 0 ? IMAGE_NONE : i == 1 ? IMAGE_ALL : IMAGE_RANDOM;
		char why[800] = "";

		snprintf(now_at, sizeof(now_at), "cut %llu image %d seed %llu: the store crashed\n",
		    (unsigned long long)p->at, (int)mode, (unsigned long long)seed);
		image_make(&p->m, mode, seed, p->dir);
		p->tried++;
		if (!try_image(p, seed, why, sizeof(why)) && p->bad++ < 20)
			printf("FAILED -x %llu:%llu:%d %s\n", (unsigned long long)p->at,
			    (unsigned long long)seed, (int)mode, why);
		nftw(p->dir, gone, 16, FTW_DEPTH | FTW_PHYS);
	}
}

/* Cuts are spread over the record, one anywhere in each piece of it. */
static void run(struct replay *p)
{
	uint64_t rng = p->seed, next = 0;
	unsigned long done = 0;
	size_t cut_short;

	while (feed(p)) {
		if (p->at <= next || !may_cut(p))
			continue;
		cut(p);
		if (++done >= p->cuts)
			break;
		next = p->nslot * done / p->cuts;
		if (p->nslot > p->cuts)
			next += image_random(&rng) % (p->nslot / p->cuts);
	}
	while (feed(p))
		;
	cut_short = model_cut_short(&p->m);
	if (cut_short > 0)
		printf(
		    "FAILED the record: %zu calls without an end: did they happen?\n", cut_short);
	p->bad += cut_short > 0;
	printf("%lu cuts, %lu images, %lu failed; %u mails, %u acknowledged, %u surely done, "
	       "at most %lu in an image, %llu records\n",
	    done, p->tried, p->bad, p->l.mails, p->l.acked, p->l.done, p->most,
	    (unsigned long long)p->nslot);
}

static int one_image(struct replay *p)
{
	unsigned long long stamp, seed;
	int mode = IMAGE_RANDOM;

	if (sscanf(p->only, "%llu:%llu:%d", &stamp, &seed, &mode) < 2)
		return 64;
	stamp = stamp < p->nslot ? stamp : p->nslot;
	while (p->at < stamp && feed(p))
		;
	image_make(&p->m, (enum image_mode)mode, seed, p->dir);
	ledger_expect(&p->l);
	return 0;
}

static int options(struct replay *p, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "m:o:r:d:c:i:s:j:l:x:")) != -1) {
		switch (c) {
		case 'm':
			p->module = optarg;
			break;
		case 'o':
			p->options = optarg;
			break;
		case 'r':
			p->record = optarg;
			break;
		case 'd':
			p->dir = optarg;
			break;
		case 'c':
			p->cuts = strtoul(optarg, NULL, 10);
			break;
		case 'i':
			p->images = strtoul(optarg, NULL, 10);
			break;
		case 's':
			p->seed = strtoul(optarg, NULL, 10);
			break;
		case 'j':
			p->journal = optarg;
			break;
		case 'x':
			p->only = optarg;
			break;
		case 'l': {
			struct lie *l = base_alloc(sizeof(*l));

			*l = (struct lie){optarg, p->lies};
			p->lies = l;
			break;
		}
		default:
			return -1;
		}
	}
	return p->record != NULL && p->dir != NULL && (p->only != NULL || p->module != NULL) ? 0
											     : -1;
}

int main(int argc, char **argv)
{
	static struct replay p = {
	    .cuts = 100, .images = 3, .seed = 1, .journal = "state/journal", .options = ""};
	int rc;

	if (options(&p, argc, argv) < 0 || p.cuts == 0) {
		fputs("usage: see the head of tests/crash/recover.c\n", stderr);
		return 64;
	}
	if (!open_record(&p))
		return 66;
	p.m.lies = p.lies;
	p.l.lag = 2000000000;
	if (p.only != NULL)
		return one_image(&p);
	if (trial_kit(&p.k, p.module, p.options) < 0)
		return 69;
	signal(SIGSEGV, crashed);
	signal(SIGABRT, crashed);
	run(&p);
	rc = p.bad > 0;
	kit_turn(&p.k);
	kit_host_end(&p.k.host);
	model_free(&p.m);
	ledger_free(&p.l);
	while (p.lies != NULL) {
		struct lie *l = p.lies;

		p.lies = l->next;
		free(l);
	}
	return rc;
}
