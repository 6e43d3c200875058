/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * others.c -- whom a module may ask in the kit: other maps (-m), and a resolver with TXT records
 * (-d) that says of everything else that there is none.
 * Comes from modtest.c; goes to the host. Owns the maps and the records.
 * On failure: of a map to open: "not ok".
 */
#include "kit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define TXT 16

struct kit_other {
	struct kit_other *next;
	bool record;
	char *name, *text; /* of a map: its file */
	char *options;
	struct conf *conf;
	struct kit_inst *inst;
};

int kit_other(struct kit *k, int option, const char *text)
{
	const char *eq = strchr(text, '='), *colon = eq ? strchr(eq, ':') : NULL;
	struct kit_other *o, **end;

	if (!eq || (option == 'm' && !colon))
		return -1;
	o = base_alloc(sizeof(*o));
	o->record = option == 'd';
	o->name = base_strndup(text, (size_t)(eq - text));
	o->text = o->record ? base_strdup(eq + 1) : base_strndup(eq + 1, (size_t)(colon - eq - 1));
	o->options = base_strdup(o->record ? "" : colon + 1);
	for (end = &k->others; *end; end = &(*end)->next)
		; /* in the order of the command line */
	*end = o;
	return 0;
}

static void resolver(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg)
{
	struct kit *k = arg;
	struct meta1_reply r = {.size = sizeof(r), .ttl = 60};
	struct meta1_buf val;
	char rdata[256];

	(void)deadline;
	for (struct kit_other *o = k->others; o && !r.nval; o = o->next) {
		size_t n = strlen(o->text);

		if (!o->record || type != TXT || n > 255 || strcmp(o->name, name) != 0)
			continue;
		rdata[0] = (char)n;
		memcpy(rdata + 1, o->text, n);
		val = buf_of(rdata, n + 1);
		r.nval = 1;
		r.val = &val;
	}
	cb(cbarg, r.nval ? META1_OK : META1_NOTFOUND, &r);
}

int kit_others_open(struct kit *k)
{
	char path[PATH_MAX];

	k->host.dns = resolver;
	k->host.dns_arg = k;
	for (struct kit_other *o = k->others; o; o = o->next) {
		struct meta1_err err = {"no such file"};
		struct kit_module *mod;

		if (o->record)
			continue;
		mod = realpath(o->text, path) ? kit_load(&k->host, path, &err) : NULL;
		o->conf = conf_read_text("options", o->options);
		if (mod && !kit_judge(mod, NULL, NULL))
			err_set(&err, "%s: its descriptor is bad", path);
		else if (mod)
			o->inst = kit_inst_open(&k->host, mod, o->name, o->conf, &err);
		if (!kit_ok(k, o->inst != NULL, "map \"%s\" opens%s%s", o->name,
			o->inst ? "" : ": ", o->inst ? "" : err.text))
			return -1;
	}
	return 0;
}

void kit_others_close(struct kit *k)
{
	struct kit_other *o;

	while ((o = k->others)) {
		k->others = o->next;
		kit_turn(k);
		kit_inst_close(&o->inst);
		kit_turn(k);
		conf_free(&o->conf);
		free(o->name);
		free(o->text);
		free(o->options);
		free(o);
	}
}
