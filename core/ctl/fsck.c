/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck.c -- meta1ctl queue fsck: is every message that was accepted accounted for?
 *
 * Opens the queue module as a tool, which reads the files themselves: so it works on a stopped
 * queue, and says nothing that a role could get wrong. While the queue is in use what is found
 * may only be what changed meanwhile; so it is looked at again, and only what is found each
 * time is said.
 * Comes from: meta1ctl.c. Goes to: the module's check(). Owns: the findings.
 * On failure: one line on stderr, exit 2.
 */
#include "ctl/fsck.h"

#include "ctl/client.h"
#include "mod/mod.h"

#include <meta1/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PASSES 4 /* of a queue in use */

struct finding {
	enum meta1_qfinding what;
	char *text;
	unsigned pass; /* the last one that found it */
};
struct look {
	bool json, tell;
	unsigned pass;
	struct finding *v;
	size_t n;
	uint64_t state[META1_R_DELETED + 1];
};

static const char *const states[] = {"waiting", "delivered", "bounced", "failed", "deleted"};
static const char *const kinds[] = {"note", "lost", "damage", "orphan", "quarantine"};

static json_t *text(struct meta1_buf b)
{
	char s[1100];
	json_t *j;

	snprintf(s, sizeof(s), "%.*s", (int)b.len, b.len ? (const char *)b.data : "");
	client_clean(s);
	j = json_string(s);
	return j ? j : json_string("?");
}

static void dump(json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(j);
}

static void fate(void *arg, const struct meta1_qfate *f)
{
	struct look *l = arg;

	if (f->state > META1_R_DELETED || !l->tell)
		return;
	l->state[f->state]++;
	if (l->json)
		dump(json_pack("{s:o s:o s:o s:I s:s s:I s:o s:I}", "id", text(buf_str(f->id)),
		    "recipient", text(f->addr), "sender", text(f->from), "size",
		    (json_int_t)f->bytes, "state", states[f->state], "time", (json_int_t)f->time,
		    "by", text(f->by), "tries", (json_int_t)f->tries));
}

static void found(void *arg, enum meta1_qfinding what, const char *s)
{
	struct look *l = arg;
	size_t i = 0;

	while (i < l->n && (l->v[i].what != what || strcmp(l->v[i].text, s)))
		i++;
	if (i == l->n) {
		if (l->pass > 1)
			return; /* it was not there before */
		l->v = base_realloc(l->v, (l->n + 1) * sizeof(*l->v));
		l->v[l->n++] = (struct finding){.what = what, .text = base_strndup(s, strlen(s))};
	}
	if (l->v[i].pass + 1 == l->pass)
		l->v[i].pass = l->pass;
}

static bool is_fault(enum meta1_qfinding what)
{
	return what == META1_QF_LOST || what == META1_QF_DAMAGE || what == META1_QF_QUARANTINE;
}

static unsigned faults(const struct look *l)
{
	unsigned n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->v[i].pass == l->pass && is_fault(l->v[i].what);
	return n;
}

static void report(const struct look *l, bool used)
{
	json_t *sum = json_object();
	size_t i;

	for (i = 0; i < l->n; i++) {
		if (l->v[i].pass != l->pass)
			continue;
		client_clean(l->v[i].text);
		if (l->json)
			dump(json_pack(
			    "{s:s s:s}", "finding", kinds[l->v[i].what], "text", l->v[i].text));
		else
			printf("%s: %s\n", kinds[l->v[i].what], l->v[i].text);
	}
	for (i = 0; i < ARRAY_LEN(states); i++)
		json_object_set_new(sum, states[i], json_integer((json_int_t)l->state[i]));
	json_object_set_new(sum, "faults", json_integer(faults(l)));
	json_object_set_new(sum, "in_use", json_boolean(used));
	if (l->json)
		dump(json_pack("{s:O}", "summary", sum));
	else
		printf("recipients: %llu waiting, %llu delivered, %llu bounced, %llu failed, %llu "
		       "deleted%s\n%s\n",
		    (unsigned long long)l->state[0], (unsigned long long)l->state[1],
		    (unsigned long long)l->state[2], (unsigned long long)l->state[3],
		    (unsigned long long)l->state[4], used ? " (the queue is in use)" : "",
		    faults(l) ? "not all is well" : "everything is accounted for");
	json_decref(sum);
}

/* The last pass tells the fates: one is enough for a queue that stands still. */
static int look(struct mod_inst *in, bool json)
{
	static const struct meta1_qcheck ev = {.size = sizeof(ev), .fate = fate, .found = found};
	const struct meta1_queue_ops *ops = mod_ops(in);
	struct look l = {.json = json};
	struct meta1_err err = {""};
	int used = 1, rc;

	if (!META1_HAS(ops, check) || !ops->check) {
		fprintf(stderr, "meta1ctl: %s: cannot check its store\n", mod_name(in));
		return 2;
	}
	while (!l.tell && used >= 0) {
		l.pass++;
		used = ops->check(mod_data(in), &ev, &l, &err);
		if (used < 0)
			break;
		if (used == 0 || l.pass + 1 >= PASSES || !faults(&l)) {
			l.tell = true;
			l.pass++;
			used = ops->check(mod_data(in), &ev, &l, &err);
		}
	}
	if (used < 0)
		fprintf(stderr, "meta1ctl: %s\n", err.text);
	else
		report(&l, used > 0);
	rc = used < 0 ? 2 : faults(&l) > 0;
	while (l.n > 0)
		free(l.v[--l.n].text);
	free(l.v);
	return rc;
}

static int check(struct mod_inst *in, void *arg)
{
	return look(in, *(bool *)arg);
}

int ctl_fsck(struct settings *set, bool json)
{
	return ctl_store(set, check, &json);
}

int ctl_store(struct settings *set, int (*use)(struct mod_inst *, void *), void *arg)
{
	struct mod_host host = {.role = META1_TOOL,
	    .module_directory = set->module_directory,
	    .hostname = set->hostname,
	    .qdir = set->queue_directory};
	struct settings_module *m = NULL;
	unsigned i, n = settings_modules(set, META1_QMGR, &m);
	struct meta1_err err = {"no queue module is configured"};
	struct mod_inst *in = NULL;
	struct mod *mod = NULL;
	int rc = 2;

	host.loop = loop_new();
	host.work = work_new(host.loop);
	for (i = 0; i < n; i++)
		if (!strcmp(m[i].kind, "queue") && (mod = mod_load(&host, m[i].module, &err)))
			break;
	if (mod)
		in = mod_open(&host, mod, m[i].instance, set->conf, m[i].section,
		    settings_core_names(m[i].kind), OPT_CHECK, &err);
	if (in)
		rc = use(in, arg);
	else
		fprintf(stderr, "meta1ctl: %s\n", err.text);
	if (in)
		mod_close(&in);
	work_free(&host.work);
	mod_unload_all(&host);
	loop_free(&host.loop);
	free(m);
	return rc;
}
