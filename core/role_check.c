/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_check.c -- versions, and the check of a configuration without a start.
 *
 * Comes from: core/role.c (options -V … -VVVV, -C); mcp runs "ROLE -f FILE -C" as the role's
 * user before every start and reload (core/mcp/check.c), because mcp opens no module.
 * Reads the configuration and the descriptors of the modules that this role would load,
 * binds the modules' options and runs their check(); opens no instance.
 * On failure: all errors of all files on stderr, status 78.
 */
#include "role_run.h"

#include "lib/snippet.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <idn2.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

void role_version(const char *program, int level, const char *libraries)
{
	printf("%s (meta1) %s\n", program, PACKAGE_VERSION);
	if (level < 2)
		return;
	printf("module interface %u.%u\n", META1_ABI_MAJOR, META1_ABI_MINOR);
	printf("libevent %s\n", event_get_version());
	printf("jansson %s\n", JANSSON_VERSION);
	printf("libidn2 %s\n", idn2_check_version(NULL));
	if (libraries)
		printf("%s\n", libraries);
}

/* The module's options with their values, as settings_print() shows the core's. */
static void print_module(
    struct settings *set, const struct settings_module *use, const struct meta1_module *d)
{
	struct meta1_opt *opt = base_alloc(sizeof(*opt) * (d->nopt + 1));
	size_t each = d->sizeof_opt < sizeof(*opt) ? d->sizeof_opt : sizeof(*opt);
	void *conf = base_alloc(d->sizeof_conf + 1);
	struct meta1_err err;
	char text[1024];

	for (uint32_t i = 0; i < d->nopt; i++)
		memcpy(&opt[i], (const char *)d->opt + (size_t)i * d->sizeof_opt, each);
	if (use->section)
		opt_bind(set->conf, use->section, opt, d->nopt, conf, d->name, OPT_CHECK,
		    set->queue_directory);
	else if (opt_defaults(opt, d->nopt, conf, &err) < 0)
		conf_error(set->conf, NULL, "%s: %s", d->name, err.text);
	printf("\n# module %s %s for %s\n", d->name, d->version ? d->version : "", use->use);
	for (uint32_t i = 0; i < d->nopt; i++) {
		opt_print(&opt[i], (char *)conf + opt[i].off, text, sizeof(text));
		printf("#\t%s = %s;\n", opt[i].name, text);
	}
	free(conf);
	free(opt);
}

/* Loads what the role would load. A module that is not there stops a start, not a check. */
static void check_modules(struct role_run *r, bool strict)
{
	struct settings *set = r->role->set;
	struct settings_module *use = NULL;
	unsigned n = settings_modules(set, r->role->bit, &use);

	for (unsigned i = 0; i < n; i++) {
		const struct conf_pos *pos = use[i].pos.file ? &use[i].pos : NULL;
		struct meta1_err err = {""};
		struct mod *mod = mod_load(&r->role->host, use[i].module, &err);

		const char *more =
		    mod ? "" : snippet_about(set->conf, pos ? pos->file : "", use[i].module);

		if (!mod && strict)
			conf_error(set->conf, pos, "%s%s", err.text, more);
		else if (!mod)
			conf_warn(set->conf, pos, "%s%s", err.text, more);
		if (!mod)
			continue;
		mod_check(&r->role->host, mod, use[i].instance, set->conf, use[i].section,
		    settings_core_names(use[i].kind), strict ? OPT_START : OPT_CHECK);
		role_check_readable(set, &use[i], mod_descriptor(mod));
	}
	free(use);
}

/* After the core's part, which shows only what the file says of a module. */
static void print_modules(struct role_run *r)
{
	struct settings *set = r->role->set;
	struct settings_module *use = NULL;
	unsigned n = settings_modules(set, r->role->bit, &use);

	for (unsigned i = 0; i < n; i++) {
		struct meta1_err err;
		struct mod *mod = mod_load(&r->role->host, use[i].module, &err);

		if (mod)
			print_module(set, &use[i], mod_descriptor(mod));
	}
	free(use);
}

/* "tls: …" is about the section tls of the role, where it has one. */
static const struct conf_pos *place(const struct set_role *s, const char *text)
{
	size_t n = strcspn(text, ":");

	if (!s->section)
		return NULL;
	for (const struct conf_section *t = s->section->sections; t; t = t->next)
		if (strlen(t->keyword) == n && strncasecmp(t->keyword, text, n) == 0)
			return &t->pos;
	return &s->section->pos;
}

/* Could the log be opened? Makes nothing. */
static int check_log(const char *file, struct meta1_err *err)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK), why = errno;
	char folder[1024];

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (why == ENOENT && str_copy(folder, sizeof(folder), file) < sizeof(folder)) {
		*(strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder) = '\0';
		if (access(folder, W_OK | X_OK) == 0)
			return 0;
		why = errno;
	}
	return err_set(err, "log file %s: %s%s", file, strerror(why),
	    why == EACCES ? "; this role's account must be able to write it" : "");
}

/* What a start opens, and what the role itself looks at. */
static void check_section(struct role *role)
{
	const struct set_role *s = role->section;
	struct meta1_err err = {""};

	if (s->log.file && check_log(s->log.file, &err) < 0)
		conf_error(role->set->conf, place(s, "log:"), "%s", err.text);
	if (role->check && role->check(role, &err) < 0)
		conf_error(role->set->conf, place(s, err.text), "%s", err.text);
}

int role_check(struct role_run *r, int level, bool strict)
{
	struct role *role = r->role;
	struct settings *set;
	unsigned errors;

	if (level > 0 && level < 3) {
		role_version(role->name, level, role->libraries ? role->libraries() : NULL);
		return 0;
	}
	set = role_settings(r, strict ? OPT_START : OPT_CHECK);
	role->set = set;
	role->section = role_section(set, role->name, r->section);
	if (conf_errors(set->conf) == 0) {
		role->loop = loop_new();
		role->work = work_new(role->loop);
		role_host_fill(role, set);
		check_modules(r, strict);
		if (strict && role->section)
			check_section(role);
	}
	if (conf_errors(set->conf) == 0 && level >= 4) {
		settings_print(set, role->name, stdout);
		print_modules(r);
	}
	errors = conf_errors(set->conf);
	if (errors || conf_warnings(set->conf))
		conf_report(set->conf, stderr);
	if (errors == 0 && level == 3)
		printf("%s: the configuration is good\n", r->file);
	work_free(&role->work);
	loop_free(&role->loop);
	settings_free(&role->set);
	return errors ? EXIT_CONFIG : 0;
}
