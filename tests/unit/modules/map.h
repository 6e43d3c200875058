/* SPDX-License-Identifier: BSD-2-Clause */
/* map.h -- a map module in a host with a false clock, and a folder for its files. */
#ifndef META1_TEST_MAP_H
#define META1_TEST_MAP_H
#include "mod/mod.h"

#include "../unit.h"
#include <fcntl.h>
#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MS 1000000
#define START_S	 1700000000

struct lab {
	struct mod_host host;
	struct mod *mod;
	struct conf *conf;
	struct mod_inst *inst;
	struct meta1_err err;
	unsigned changed;
	char dir[64], file[96], options[512];
	unsigned touched;
};

static inline void lab_changed(void *arg)
{
	((struct lab *)arg)->changed++;
}

static inline struct lab *lab_new(const char *module)
{
	struct lab *l = base_alloc(sizeof(*l));
	char path[512];

	l->host.loop = loop_new();
	loop_fake_clock(l->host.loop, START_MS, START_S);
	l->host.work = work_new(l->host.loop);
	l->host.role = META1_SMAR;
	l->host.hostname = "gw.test";
	l->host.qdir = "/";
	l->host.strict = true;
	l->host.changed = lab_changed;
	l->host.changed_arg = l;
	snprintf(path, sizeof(path), "%s/%s.so", TEST_MAPS, module);
	l->mod = mod_load_file(&l->host, path, &l->err);
	if (!l->mod)
		fail_msg("%s", l->err.text);
	strcpy(l->dir, "/tmp/m1-map.XXXXXX");
	assert_non_null(mkdtemp(l->dir));
	snprintf(l->file, sizeof(l->file), "%s/map", l->dir);
	snprintf(l->options, sizeof(l->options), "file = \"%s\";", l->file);
	return l;
}

static inline bool lab_open(struct lab *l)
{
	conf_free(&l->conf);
	l->conf = conf_read_text("options", l->options);
	l->inst =
	    mod_open(&l->host, l->mod, "m", l->conf, conf_root(l->conf), NULL, OPT_START, &l->err);
	return l->inst != NULL;
}

static inline void lab_free(struct lab *l)
{
	if (l->inst)
		mod_close(&l->inst);
	work_free(&l->host.work);
	for (int i = 0; i < 4; i++)
		loop_turn(l->host.loop, false);
	mod_unload_all(&l->host);
	loop_free(&l->host.loop);
	conf_free(&l->conf);
	unlink(l->file);
	rmdir(l->dir);
	free(l);
}

/* The file's time is set, a different one for each version and long ago. */
static inline void lab_age(struct lab *l)
{
	struct timespec t[2] = {{START_S - 1000 + (time_t)l->touched++, 0}};

	t[1] = t[0];
	assert_int_equal(utimensat(AT_FDCWD, l->file, t, 0), 0);
}

static inline void lab_write(struct lab *l, const char *text, size_t len)
{
	int fd = open(l->file, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	close(fd);
	lab_age(l);
}

/* A second passes, and the look at the file that it brings is over: the host's threads are ended
 * and begun anew, which waits for their jobs. */
static inline void lab_second(struct lab *l)
{
	loop_fake_clock(l->host.loop, loop_now(l->host.loop) + 1001, loop_wall(l->host.loop) + 1);
	loop_turn(l->host.loop, false);
	work_free(&l->host.work);
	l->host.work = work_new(l->host.loop);
	for (int i = 0; i < 4; i++)
		loop_turn(l->host.loop, false);
}

struct lab_pairs {
	struct meta1_mapsrc src;
	const char *const *text; /* key, value, key, … NULL */
	bool fail;		 /* at the end: the text has a mistake */
};

static inline int lab_next(
    struct meta1_mapsrc *src, struct meta1_buf *key, struct meta1_buf *val, struct meta1_err *err)
{
	struct lab_pairs *p = (struct lab_pairs *)(void *)src;

	if (!p->text[0])
		return p->fail ? err_set(err, "text: line 3") : 0;
	*key = buf_str(p->text[0]);
	*val = buf_str(p->text[1]);
	p->text += 2;
	return 1;
}

/* As createmap does. */
static inline int lab_create(struct lab *l, const char *const *text, bool fail)
{
	const struct meta1_map_ops *ops = mod_descriptor(l->mod)->ops;
	struct lab_pairs p = {
	    .src = {.size = sizeof(p.src), .next = lab_next}, .text = text, .fail = fail};
	struct {
		const char *file;
	} conf = {l->file};

	return ops->create(&conf, &p.src, &l->err);
}

struct lab_answer {
	unsigned told;
	enum meta1_status status;
	char val[300], text[300];
	uint32_t ttl, nval;
};
static inline void lab_said(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct lab_answer *a = arg;

	a->told++;
	a->status = status;
	a->ttl = r->ttl;
	a->nval = r->nval;
	if (r->nval > 0)
		snprintf(a->val, sizeof(a->val), "%.*s", (int)r->val[0].len,
		    (const char *)r->val[0].data);
	str_copy(a->text, sizeof(a->text), r->text ? r->text : "");
}
static inline struct lab_answer lab_ask(struct lab *l, const char *key)
{
	struct lab_answer a = {.told = 0};

	mod_map_lookup(l->inst, buf_str(key), loop_now(l->host.loop) + 1000, lab_said, &a);
	for (int i = 0; i < 4; i++)
		loop_turn(l->host.loop, false);
	while (mod_busy(&l->host)) /* a worker thread has it */
		loop_turn(l->host.loop, false);
	for (int i = 0; i < 2; i++)
		loop_turn(l->host.loop, false);
	assert_int_equal(a.told, 1);
	return a;
}
static inline void lab_expect(struct lab *l, const char *key, const char *value)
{
	struct lab_answer a = lab_ask(l, key);
	struct meta1_reply r;

	assert_int_equal(a.status, value ? META1_OK : META1_NOTFOUND);
	if (value)
		assert_string_equal(a.val, value);
	assert_int_equal(a.ttl, 60);
	if (!mod_map_finds(l->inst))
		return;
	assert_int_equal(mod_map_find(l->inst, buf_str(key), &r), a.status);
	assert_int_equal(r.ttl, 60);
	assert_int_equal(r.nval, value != NULL);
	if (value)
		assert_true(buf_eq(r.val[0], buf_str(value)));
}

#endif
