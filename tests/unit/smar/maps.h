/* SPDX-License-Identifier: BSD-2-Clause */
/* maps.h -- a policy whose maps are tables in the test; answers come a turn later, as real ones
 * do, or inside the call once map.find is table_find. The key "fail" in a table stands for a map
 * that cannot say at that point. \037 in a value stands between several values. */
#ifndef META1_TEST_MAPS_H
#define META1_TEST_MAPS_H
#include "smar/smar.h"

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>

struct table_row {
	const char *key, *value; /* value NULL: TEMPFAIL; "NOMORE": that */
};
struct table_map {
	struct smar_map map; /* first */
	struct loop *loop;
	const struct table_row *rows;
	unsigned asked;
	uint32_t ttl;
	struct meta1_buf val[8]; /* found last */
};
struct table_answer {
	struct task task;
	struct table_map *map;
	char key[SMAR_KEY_MAX];
	mod_done_fn fn;
	void *arg;
};

static inline enum meta1_status table_row_of(
    struct table_map *t, struct meta1_buf key, struct meta1_reply *r)
{
	*r = (struct meta1_reply){.size = sizeof(*r), .ttl = t->ttl};
	for (const struct table_row *row = t->rows; row->key; row++) {
		if (!buf_eq(key, buf_str(row->key)))
			continue;
		if (!row->value)
			return META1_TEMPFAIL;
		if (strcmp(row->value, "NOMORE") == 0)
			return META1_NOMORE;
		r->val = t->val;
		for (const char *p = row->value; p;
		     p = strchr(p, '\037') ? strchr(p, '\037') + 1 : NULL)
			t->val[r->nval++] = buf_of(p, strcspn(p, "\037"));
		return META1_OK;
	}
	return META1_NOTFOUND;
}

static inline void table_answer(void *arg)
{
	struct table_answer a = *(struct table_answer *)arg;
	struct meta1_reply r;
	enum meta1_status status = table_row_of(a.map, buf_str(a.key), &r);

	free(arg);
	a.fn(a.arg, status, &r);
}

static inline struct meta1_req *table_lookup(
    struct smar_map *m, struct meta1_buf key, int64_t deadline, mod_done_fn fn, void *arg)
{
	struct table_answer *a = base_alloc(sizeof(*a));
	struct table_map *t = (struct table_map *)(void *)m;

	(void)deadline;
	assert_true(key.len < sizeof(a->key));
	t->asked++;
	a->map = t;
	a->fn = fn;
	a->arg = arg;
	memcpy(a->key, key.data, key.len);
	task_init(&a->task, table_answer, a);
	loop_defer(t->loop, &a->task);
	return NULL;
}

/* The same, inside the call. */
static inline enum meta1_status table_find(
    struct smar_map *m, struct meta1_buf key, struct meta1_reply *r)
{
	struct table_map *t = (struct table_map *)(void *)m;

	t->asked++;
	return table_row_of(t, key, r);
}

static inline struct smar_use table_map(
    struct table_map *t, struct loop *l, const char *name, const struct table_row *rows)
{
	static char module[] = "table";

	memset(t, 0, sizeof(*t));
	t->loop = l;
	t->rows = rows;
	t->ttl = 300;
	t->map.name = (char *)(uintptr_t)name;
	t->map.module = module;
	t->map.lookup = table_lookup;
	t->map.loop = l;
	t->map.local = true;
	return (struct smar_use){&t->map, USE_F_DETAIL, "+"};
}

/* gw.test with the local domain own.test, listening on 192.0.2.1 port 25. */
static inline void test_policy(struct smar_policy *p, struct loop *l)
{
	static struct smar_endpoint here = {.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 25};
	static char own[] = "own.test", *list[] = {own};

	memset(p, 0, sizeof(*p));
	p->refs = 1;
	p->loop = l;
	p->local = list;
	p->nlocal = 1;
	p->listen = &here;
	p->nlisten = 1;
	p->remote_port = 25;
	str_copy(p->hostname, sizeof(p->hostname), "gw.test");
	str_copy(p->lmtp_path, sizeof(p->lmtp_path), "/run/lmtp");
}

#endif
