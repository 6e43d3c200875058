/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.c -- tries core/lib/settings.h: the four samples, every record at its default and
 * at both ends of its range, the effective listing, modules. Rules over several options are in
 * rules.c.
 */
#include "conf_unit.h"

#include <ctype.h>
#include <unistd.h>

static char *print_of(struct settings *s, const char *role)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	settings_print(s, role, f);
	fclose(f);
	return text;
}

/* Without comments; with blanks for line breaks where asked. */
static void strip(char *text, bool one_line)
{
	char *o = text;
	bool quoted = false;
	for (char *p = text; *p; p++) {
		quoted = *p == '"' ? !quoted : quoted;
		if (*p == '#' && !quoted)
			p += strcspn(p, "\n");
		if (!*p)
			break;
		*o++ = *p == '\n' && one_line ? ' ' : *p;
	}
	*o = 0;
}

static const char *const samples[] = {
    "filter-meta1.conf", "manpage-meta1.conf", "maps-meta1.conf", "tutorial-meta1.conf"};

static char *slurp(const char *name)
{
	char path[512], *text = NULL;
	size_t len = 0;
	snprintf(path, sizeof(path), "%s/%s", SAMPLES, name);
	FILE *in = fopen(path, "r"), *out = open_memstream(&text, &len);
	assert_non_null(in);
	for (int ch; (ch = getc(in)) != EOF;)
		putc(ch, out);
	fclose(in);
	fclose(out);
	return text;
}

static void samples_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", SAMPLES, samples[i]);
		struct settings *s = settings_load(path, OPT_CHECK);
		expect_report(s->conf, 0, NULL, samples[i]);
		/* names are canonical: the build may say SAMPLES by way of ".." */
		char *canonical = realpath(path, NULL);
		assert_string_equal(s->file, canonical);
		free(canonical);
		settings_free(&s);
	}
}

/* The installed file, alone and with each snippet and with all that go together. */
static void shipped(void **state)
{
	static const char *const extra[] = {"", "transport_lmtp map_text queue_log syslog",
	    "map_gdbm", "map_sqlite", "map_lmdb", "map_redis", "map_pgsql", "map_ldap", "map_dns",
	    "queue_dir"};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(extra); i++) {
		char text[4096], names[128], *save = NULL;
		int n = snprintf(text, sizeof(text), "include \"%s/meta1.conf\";", CONFD);
		str_copy(names, sizeof(names), extra[i]);
		for (char *w = strtok_r(names, " ", &save); w; w = strtok_r(NULL, " ", &save))
			n += snprintf(text + n, sizeof(text) - (size_t)n, "include \"%s/%s.conf\";",
			    CONFD, w);
		struct settings *s = settings_load_text("t", text, OPT_CHECK);
		expect_report(s->conf, 0, NULL, text);
		assert_int_equal(s->nrole, 4);
		assert_string_equal(s->role[0]->keyword, "smtps");
		assert_string_equal(s->role[1]->keyword, "smtpc");
		assert_string_equal(s->role[2]->keyword, "qmgr");
		assert_string_equal(s->role[3]->keyword, "smar");
		settings_free(&s);
	}
}

/* Layout means nothing, and what is printed reads back as the same. */
static void round_trips(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		char *text = slurp(samples[i]);
		struct settings *s = settings_load_text("t", text, OPT_CHECK);
		char *first = print_of(s, NULL), *again = strdup(first);
		strip(first, false);
		strip(text, true);
		settings_free(&s);

		s = settings_load_text("t", text, OPT_CHECK);
		char *flat = print_of(s, NULL);
		strip(flat, false);
		expect_report(s->conf, 0, NULL, text);
		assert_string_equal(flat, first);
		settings_free(&s);

		s = settings_load_text("t", again, OPT_CHECK);
		char *second = print_of(s, NULL);
		strip(second, false);
		expect_report(s->conf, 0, NULL, again);
		assert_string_equal(second, first);
		settings_free(&s);
		free(text);
		free(first);
		free(again);
		free(flat);
		free(second);
	}
}

static void values(void **state)
{
	(void)state;
	char *text = slurp("manpage-meta1.conf");
	struct settings *s = settings_load_text("t", text, OPT_CHECK);
	assert_int_equal(s->nrole, 4);
	assert_string_equal(s->role[0]->keyword, "qmgr");
	assert_string_equal(s->role[3]->keyword, "smar");
	assert_ptr_equal(s->role[1], &s->smtps[0].role);
	assert_int_equal(s->smtps[0].IO_timeout, 303000);
	assert_int_equal(s->smtpc.IO_timeout, 360000);
	assert_int_equal(s->smtps[0].CDB_gid, 261);
	assert_int_equal(s->smtps[0].role.start_action, START_PASS);
	assert_string_equal(s->smtps[0].role.pass_fd_socket, "/var/spool/meta1/smtps/smtpsfd");
	assert_int_equal(s->smtps[0].role.nlisten, 1);
	assert_int_equal(s->smtps[0].role.listen[0].port, 25);
	assert_int_equal(s->qmgr.initial_connections, 19);
	assert_int_equal(s->qmgr.max_connections, 101);
	assert_int_equal(s->qmgr.AQ_max_entries, 8192);
	assert_int_equal(s->qmgr.role.wait_for_client, 4000);
	assert_string_equal(s->qmgr.queue_type, "log");
	assert_string_equal(s->smar.nameserver[1], "127.0.0.1");
	assert_int_equal(s->smar.DNS_timeout, 6000);
	settings_free(&s);
	free(text);

	s = settings_load_text("t",
	    "log_level = 20; queue_directory = /q; smtps a { }"
	    "smtps b { log_level = 4; pass_fd_socket = x; }",
	    OPT_CHECK);
	assert_int_equal(s->nsmtps, 2);
	assert_int_equal(s->smtps[0].role.log_level, 20);
	assert_int_equal(s->smtps[1].role.log_level, 4);
	assert_string_equal(s->smtps[1].role.pass_fd_socket, "/q/x");
	assert_int_equal(s->smtps[0].max_message_size, 67108864);
	assert_int_equal(s->smtps[0].flags, SMTPS_F_8BITMIME | SMTPS_F_SMTPUTF8 | SMTPS_F_DELAY);
	assert_non_null(strstr(s->smtps[1].role.arguments, "smtps -s b -f /"));
	assert_int_equal(s->smtpc.remote_port, 25); /* default of a section that is not there */
	settings_free(&s);
}

/* What a filter is told when it fails, in both spellings. */
static void failures(void **state)
{
	static const struct {
		const char *line;
		int fails;
	} t[] = {{"", FAILURE_TEMPFAIL}, {"flags = { abort };", FAILURE_ABORT},
	    {"flags = accept;", FAILURE_ACCEPT},
	    {"flags = { accept_but_reconnect };", FAILURE_ACCEPT_BUT_RECONNECT},
	    {"flags = tempfail;", FAILURE_TEMPFAIL}, {"flags = reject;", FAILURE_REJECT},
	    {"flags = quarantine;", FAILURE_QUARANTINE}, {"flags = dont_abort;", FAILURE_TEMPFAIL},
	    {"failure = accept;", FAILURE_ACCEPT_BUT_RECONNECT},
	    {"failure = Tempfail;", FAILURE_TEMPFAIL}, {"failure = reject;", FAILURE_REJECT},
	    {"failure = quarantine;", FAILURE_QUARANTINE}, {"failure = abort;", FAILURE_ABORT}};
	char text[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		snprintf(text, sizeof(text),
		    "smtps { policy_milter { module = mux; filter f { %s shadow = yes; } filter g "
		    "{ phase = sign; } } }",
		    t[i].line);
		struct settings *s = settings_load_text("t", text, OPT_CHECK);
		expect_report(s->conf, 0, NULL, text);
		assert_true(s->smtps[0].mux);
		assert_int_equal(s->smtps[0].nfilter, 2);
		assert_int_equal(s->smtps[0].filter[0].fails, t[i].fails);
		assert_int_equal(s->smtps[0].filter[0].shadow, 1);
		assert_string_equal(s->smtps[0].filter[0].module, "pmilter");
		assert_string_equal(s->smtps[0].filter[1].name, "g");
		assert_int_equal(s->smtps[0].filter[1].phase, FILTER_SIGN);
		assert_int_equal(s->smtps[0].filter[1].timeout, 120000);
		assert_int_equal(s->smtps[0].filter[1].end_timeout, 300000);
		char *out = print_of(s, NULL), *again;
		settings_free(&s);
		s = settings_load_text("t", out, OPT_CHECK);
		expect_report(s->conf, 0, NULL, out);
		assert_int_equal(s->smtps[0].filter[0].fails, t[i].fails);
		again = print_of(s, NULL);
		strip(out, false);
		strip(again, false);
		assert_string_equal(again, out);
		settings_free(&s);
		free(out);
		free(again);
	}
}

/* ---- the records ---- */

static void in_section(char *out, size_t size, const char *path, const char *line, const char *more)
{
	char role[32];
	const char *dot = strchr(path, '.'), *sub = dot ? dot + 1 : NULL;
	snprintf(role, sizeof(role), "%.*s", (int)strcspn(path, "."), path);
	if (strcmp(role, "ROLE") == 0)
		strcpy(role, "smtps");
	if (!*role)
		snprintf(out, size, "%s", line);
	else if (sub && strcmp(sub, "map") == 0)
		snprintf(out, size, "smar { map m { %s %s %s } }",
		    strncmp(line, "type ", 5) == 0 ? "" : "type = text;", line, more);
	else if (sub && strcmp(sub, "dnsbl") == 0)
		snprintf(out, size, "smar { dnsbl d { %s %s %s } }",
		    strncmp(line, "domain ", 7) == 0 ? "" : "domain = l.test;", line, more);
	else if (sub && strcmp(sub, "recipient_probe") == 0)
		snprintf(
		    out, size, "smar { recipient_probe { routes = lmtp; %s %s } }", line, more);
	else if (strcmp(path, "smtpc.auth") == 0)
		snprintf(out, size, "smtpc { auth { file = \"/c\"; %s %s } }", line, more);
	else if (strcmp(path, "smtpc.transport") == 0)
		snprintf(out, size, "smtpc { transport t { %s %s } }", line, more);
	else if (sub && strchr(sub, '.'))
		snprintf(out, size, "%s { %.*s { %s { %s } } %s }", role, (int)strcspn(sub, "."),
		    sub, strchr(sub, '.') + 1, line, more);
	else if (sub)
		snprintf(out, size, "%s { %s { %s } %s }", role, sub, line, more);
	else
		snprintf(out, size, "%s { %s %s }", role, line, more);
}

static void try_value(
    const struct settings_group *g, const struct meta1_opt *o, const char *value, unsigned errors)
{
	char text[512], line[256];
	/* What another option must allow. */
	const char *more = strcmp(o->name, "start_action") == 0 ? "listen_socket { }" : "";
	snprintf(line, sizeof(line), "%s = %s;%s", o->name, value,
	    strcmp(o->name, "initial_connections") == 0 ? "max_connections = 10000;"
	    : strcmp(o->name, "max_connections") == 0 && strcmp(g->path, "qmgr.smtpc") == 0
		? "initial_connections = 1;"
	    : strcmp(o->name, "min_retry_delay") == 0 ? "max_retry_delay = 1w;"
	    : strcmp(o->name, "max_retry_delay") == 0 ? "min_retry_delay = 100ms;"
	    : strcmp(o->name, "grey_wait") == 0	      ? "grey_expire = 52w;"
	    : strcmp(o->name, "grey_expire") == 0     ? "grey_wait = 1s;"
	    : strcmp(o->name, "positive_ttl") == 0    ? "positive_stale = 365d;"
	    : strcmp(o->name, "positive_stale") == 0  ? "positive_ttl = 0;"
						      : "");
	in_section(text, sizeof(text), g->path, line, more);
	struct settings *s = settings_load_text("t", text, OPT_CHECK);
	expect_report(s->conf, errors, errors ? o->name : NULL, text);
	settings_free(&s);
}

static void beyond(const struct meta1_opt *o, const char *end, int by, char *out, size_t size)
{
	union {
		int64_t i;
		void *p;
	} v;
	struct meta1_opt free_range = *o;
	struct meta1_err err;
	free_range.range = "";
	assert_int_equal(opt_parse(&free_range, &end, 1, &v, &err), 0);
	snprintf(out, size, "%lld%s", (long long)v.i + by, o->type == META1_MSEC ? "ms" : "");
}

static void records(void **state)
{
	(void)state;
	size_t n, tried = 0;
	const struct settings_group *g = settings_groups(&n);
	for (size_t i = 0; i < n; i++) {
		struct meta1_err err = {""};
		if (opt_selfcheck(g[i].opt, g[i].n, sizeof(struct meta1_opt), g[i].size, &err) < 0)
			fail_msg("%s: %s", g[i].path, err.text);
		for (size_t j = 0; j < g[i].n; j++) {
			const struct meta1_opt *o = &g[i].opt[j];
			char low[64], out[64];
			const char *dots = o->range ? strstr(o->range, "..") : NULL;
			if (!dots)
				continue;
			snprintf(low, sizeof(low), "%.*s", (int)(dots - o->range), o->range);
			if (o->def)
				try_value(&g[i], o, o->def, 0);
			try_value(&g[i], o, low, 0);
			try_value(&g[i], o, dots + 2, 0);
			beyond(o, low, -1, out, sizeof(out));
			try_value(&g[i], o, out, 1);
			beyond(o, dots + 2, 1, out, sizeof(out));
			try_value(&g[i], o, out, 1);
			tried++;
		}
	}
	assert_true(tried > 30);
}

static void secrets(void **state)
{
	(void)state;
	struct settings *s = settings_load_text(
	    "t", "smar { map m { type = sql; password = \"hunter2\"; user = me; } }", OPT_CHECK);
	char *got = print_of(s, NULL);
	assert_null(strstr(got, "hunter2"));
	assert_non_null(strstr(got, "password = ***;\t# t:1"));
	assert_non_null(strstr(got, "\tuser = me;"));
	free(got);
	struct conf_option *o = conf_find(s->smar.map[0].section, "user");
	o->bound = o->secret = true; /* as a module's record would say */
	got = print_of(s, "smar");
	assert_null(strstr(got, "= me;"));
	assert_non_null(strstr(got, "DNS_tries = 3;\t# default"));
	free(got);
	got = print_of(s, "smtps"); /* not in the file: its defaults */
	assert_non_null(strstr(got, "smtps {"));
	assert_null(strstr(got, "smar {"));
	free(got);
	settings_free(&s);
}

static void modules(void **state)
{
	static const struct {
		const char *text;
		enum meta1_role role;
		const char *want;
	} t[] = {
	    {"", META1_SMTPS, "queue_log/queue "},
	    {"qmgr { queue { type = memory; } }", META1_SMTPS, "queue_memory/queue+ "},
	    {"", META1_SMTPC, "queue_log/queue transport_smtp/smtp "},
	    {"smtpc { LMTP_socket = x; }", META1_SMTPC,
		"queue_log/queue transport_smtp/smtp transport_lmtp/lmtp "},
	    {"smar { map m { type = text; } mailertable { name = m; } }", META1_SMTPC,
		"queue_log/queue transport_smtp/smtp transport_lmtp/lmtp "},
	    {"smtpc { module transport_smtp { x = 1; } module transport_uucp { } }", META1_SMTPC,
		"queue_log/queue transport_smtp/smtp+ transport_uucp/uucp+ "},
	    {"smar { map a { type = Hash; } map b { type = text; } }", META1_SMAR,
		"map_gdbm/a+ map_text/b+ "},
	    {"smtps { policy_milter { } }", META1_SMTPS,
		"queue_log/queue pmilter_pmilter/policy_milter+ "},
	    {"smtps { policy_milter f { module = milter; } }", META1_SMTPS,
		"queue_log/queue pmilter_milter/f+ "},
	    {"smtps { policy_milter { module = mux; filter a { module = milter; } filter b { } } }",
		META1_SMTPS, "queue_log/queue pmilter_milter/a+ pmilter_pmilter/b+ "},
	    {"", META1_QMGR, "queue_log/queue "},
	    {"", META1_SMAR, ""},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct settings *s = settings_load_text("t", t[i].text, OPT_CHECK);
		struct settings_module *m = NULL;
		char got[512] = "";
		unsigned n = settings_modules(s, t[i].role, &m);
		for (unsigned j = 0; j < n; j++)
			sprintf(got + strlen(got), "%s/%s%s ", m[j].module, m[j].instance,
			    m[j].section ? "+" : "");
		assert_string_equal(got, t[i].want);
		free(m);
		settings_free(&s);
	}
}

/* A sample with some bytes changed: messages perhaps, never a crash. */
static void noise(void **state)
{
	(void)state;
	srand(815);
	for (int round = 0; round < 400; round++) {
		char *text = slurp(samples[round & 3]);
		size_t len = strlen(text);
		for (int i = 0; i < 8; i++)
			text[(size_t)rand() % len] =
			    (char)(rand() % 4 ? "{}=;,\"a1"[rand() % 8] : 1 + rand() % 255);
		struct settings *s = settings_load_text("t", text, OPT_CHECK);
		free(report_of(s->conf));
		free(print_of(s, NULL));
		settings_free(&s);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(samples_accepted),
	    cmocka_unit_test(shipped),
	    cmocka_unit_test(round_trips),
	    cmocka_unit_test(values),
	    cmocka_unit_test(failures),
	    cmocka_unit_test(records),
	    cmocka_unit_test(secrets),
	    cmocka_unit_test(modules),
	    cmocka_unit_test(noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
