/* SPDX-License-Identifier: BSD-2-Clause */
#include "fix.h"

#include "../until.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fault(void *arg, const char *instance, const char *text)
{
	struct fix *f = arg;

	f->faults++;
	snprintf(f->fault, sizeof(f->fault), "%s: %s", instance, text);
}

int fix_up(void **state)
{
	struct fix *f = base_alloc(sizeof(*f));

	f->host.loop = loop_new();
	loop_fake_clock(f->host.loop, START_MS, 1700000000);
	f->host.work = work_new(f->host.loop);
	f->host.role = META1_SMAR;
	f->host.hostname = "test.example";
	f->host.qdir = "/";
	f->host.fault = fault;
	f->host.fault_arg = f;
	*state = f;
	return 0;
}

int fix_down(void **state)
{
	struct fix *f = *state;

	work_free(&f->host.work);
	fix_turns(f);
	mod_unload_all(&f->host);
	loop_free(&f->host.loop);
	conf_free(&f->conf);
	free(f);
	return 0;
}

struct mod *fix_load(struct fix *f, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/.libs/%s.so", TEST_MODULES, name);
	f->mod = mod_load_file(&f->host, path, &f->err);
	if (!f->mod)
		fprintf(stderr, "%s\n", f->err.text);
	return f->mod;
}

struct mod_inst *fix_open(struct fix *f, const char *name, const char *options)
{
	if (!f->mod && !fix_load(f, "map_try"))
		return NULL;
	conf_free(&f->conf);
	f->conf = conf_read_text("options", options);
	return mod_open(
	    &f->host, f->mod, name, f->conf, conf_root(f->conf), NULL, OPT_START, &f->err);
}

struct awaited {
	struct fix *f;
	bool done;
};

static void awaited(void *arg, const struct meta1_err *err)
{
	struct awaited *a = arg;

	a->done = true;
	if (err)
		a->f->err = *err;
}

struct mod_inst *fix_await(struct fix *f, struct mod_inst *in)
{
	struct awaited a = {.f = f};

	f->err.text[0] = in ? '\0' : f->err.text[0];
	if (!in || !mod_await(&f->host, awaited, &a))
		return in;
	LOOP_UNTIL(f->host.loop, a.done);
	if (f->err.text[0])
		mod_close(&in);
	return in;
}

void fix_turns(struct fix *f)
{
	int i;

	for (i = 0; i < 4; i++)
		loop_turn(f->host.loop, false);
}

void fix_clock(struct fix *f, int64_t ms)
{
	loop_fake_clock(f->host.loop, loop_now(f->host.loop) + ms, loop_wall(f->host.loop));
	fix_turns(f);
}

void fix_until(struct fix *f, const struct said *s)
{
	LOOP_UNTIL(f->host.loop, s->times);
}

void fix_said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct said *s = arg;

	s->times++;
	s->st = st;
	s->ext = r->ext;
	s->len = 0;
	if (r->nval) {
		s->len = r->val[0].len;
		snprintf(s->val, sizeof(s->val), "%.*s", (int)(s->len < 31 ? s->len : 31),
		    (const char *)r->val[0].data);
	}
	snprintf(s->text, sizeof(s->text), "%s", r->text ? r->text : "");
}

struct meta1_req *fix_ask(struct fix *f, struct mod_inst *in, const char *key, struct said *s)
{
	*s = (struct said){.times = 0};
	return mod_map_lookup(in, buf_str(key), loop_now(f->host.loop) + 1000, fix_said, s);
}
