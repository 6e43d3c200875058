/* SPDX-License-Identifier: BSD-2-Clause */
/* users.c -- who exists and whom an address stands for: ours.c, alias.c, targets.c, include.c. */
#include "smar/users.h"
#include "../until.h"
#include "maps.h"

#include <sys/stat.h>
#include <unistd.h>

static const struct table_row mailertable[] = {
    {"lmtp.test", "lmtp:"},
    {"broken.test", NULL},
    {NULL, NULL},
};
static const struct table_row virtual_rows[] = {
    {"info@virt.test", "bob, carol@far.test"},
    {"sales@virt.test", "info@virt.test"},
    {"ring@virt.test", "ring2@virt.test"},
    {"ring2@virt.test", "ring@virt.test"},
    {"half@virt.test", "info@virt.test nobody@virt.test"},
    {"none@virt.test", "nobody@virt.test"},
    {"list@virt.test", "a@far.test b@far.test"},
    {"owner-list@virt.test", "boss@far.test"},
    {"old@virt.test", "error:550 5.1.6 moved to new@far.test"},
    {"all.test", "catch@far.test"},
    {"sole@all.test", "one@far.test"},
    {"no@all.test", "error:450 4.2.1 not now"},
    {"moved@own.test", "moved@far.test"},
    {"down@virt.test", NULL},
    {NULL, NULL},
};
static const struct table_row alias_rows[] = {
    {"team", "alice <dave@far.test>, bob"},
    {"nest", "team eve"},
    {"self", "self self@backup.test"},
    {"only", "only"},
    {"loop1", "loop2"},
    {"loop2", "loop1"},
    {"out", "loop1 bob"},
    {"box1", "box2"},
    {"box2", "box1"},
    {"twice", "bob bob@gw.test <bob>, bob"},
    {"final", "\\team"},
    {"list", "a@far.test inner"},
    {"owner-list", "boss@far.test"},
    {"owner-*", "any@far.test"},
    {"inner", "c@far.test d"},
    {"owner-inner", "chief"},
    {"list-request", "boss@far.test"},
    {"owner-list-request", "x@far.test"},
    {"empty", ""},
    {"blank", " , "},
    {"prog", "|/bin/vacation"},
    {"file", "/var/mail/x"},
    {"qprog", "\"|/bin/sh -c x\""},
    {"bad", "a@b@c"},
    {"open", "<bob"},
    {"quoted", "\"a b, c\"@far.test"},
    {"inc", ":include:/etc/passwd"},
    {"temp", NULL},
    {"totemp", "bob temp"},
    {"postmaster", "bob"},
    {"case", "Bob.Smith@Far.Test"},
    {"refuse", "error:550 5.7.1 closed"},
    {"torefuse", "refuse bob"},
    {"plus+x", "plusser"},
    {"dup", "dup DUP dup@gw.test <Dup> self"},
    {"copy", "\\copy, bob"},
    {"both", "bobs \\bobs"},
    {"rev", "\\bobs bobs"},
    {"bobs", "bob alice"},
    {"mix1", "mix2 mix1"},
    {"mix2", "mix1 MIX2"},
    {"rows", "alice\037\037bob, \"a b\037<dave@far.test>\037BOB"},
    {"rows2", "alice\037bob\037\037dave@far.test"},
    {"err2", "bob\037Error:550 5.7.1 a"},
    {"err4", "error:550 5.1.6 a\037"},
    {"list2", "a@far.test\037b@far.test"},
    {"owner-list2", "boss@far.test\037x@far.test"},
    {"star+*", "starred"},
    {NULL, NULL},
};
static const struct table_row users[] = {{"alice", ""}, {"bob", "x"}, {"self", ""}, {"box1", ""},
    {"dup", ""}, {"mix1", ""}, {"mix2", ""}, {"utemp", NULL}, {"ustop", "NOMORE"}, {NULL, NULL}};

struct world {
	struct loop *loop;
	struct smar_policy policy;
	struct table_map mt, virt, alias, user;
	char *virtual[1], *include[1];
	char folder[64];
};
struct got {
	unsigned told;
	uint32_t n, ttl;
	char text[4096];
};

static void told(void *arg, const struct smar_expanded *e)
{
	struct got *g = arg;
	size_t n = 0, size = sizeof(g->text);

	g->told++;
	g->n = e->n;
	g->ttl = e->ttl;
	if (e->status != META1_OK) {
		snprintf(g->text, size, "%d %s", e->smtp, e->dsn);
		return;
	}
	if (e->n == 0)
		str_copy(g->text, size, "itself");
	for (uint32_t i = 0; i < e->n && n + 400 < size; i++)
		n += (size_t)snprintf(g->text + n, size - n, "%s%.*s%s%.*s", i ? " " : "",
		    (int)e->target[i].len, (const char *)e->target[i].data, e->owner[i] ? "/" : "",
		    e->owner[i] ? (int)e->owners[e->owner[i] - 1].len : 0,
		    e->owner[i] ? (const char *)e->owners[e->owner[i] - 1].data : "");
}

static struct got expand(struct world *w, const char *rcpt, bool owners)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	struct got g = {.told = 0};

	assert_int_equal(smar_keys_split(buf_str(rcpt), "gw.test", local, domain), 0);
	smar_alias_expand(
	    &w->policy, local, domain, OURS_ASK, owners, loop_now(w->loop) + 10000, told, &g);
	LOOP_UNTIL(w->loop, g.told);
	assert_int_equal(g.told, 1);
	assert_int_equal(w->policy.refs, 1);
	return g;
}

static void start(struct world *w)
{
	static char virt[] = "virt.test";

	memset(w, 0, sizeof(*w));
	w->loop = loop_new();
	test_policy(&w->policy, w->loop);
	w->policy.delimiters[0] = '+';
	w->policy.mailertable = table_map(&w->mt, w->loop, "mt", mailertable);
	w->policy.virtual_aliases = table_map(&w->virt, w->loop, "virt", virtual_rows);
	w->policy.virtual_aliases.flags = USE_F_DETAIL;
	w->policy.aliases = table_map(&w->alias, w->loop, "aliases", alias_rows);
	w->policy.aliases.flags = USE_F_LOCALPART | USE_F_LOCAL_DOMAINS | USE_F_DETAIL;
	w->policy.aliases.delimiters = w->policy.local_users.delimiters =
	    w->policy.virtual_aliases.delimiters = "+";
	w->policy.local_users = table_map(&w->user, w->loop, "users", users);
	w->policy.local_users.flags = USE_F_LOCALPART | USE_F_LOCAL_DOMAINS | USE_F_DETAIL;
	w->virtual[0] = virt;
	w->policy.virtual_domains = w->virtual;
	w->policy.nvirtual = 1;
	work_owner_init(&w->policy.include_work, 2);
	w->policy.work = work_new(w->loop);
}

static void end(struct world *w)
{
	work_free(&w->policy.work);
	loop_free(&w->loop);
}

struct row {
	const char *rcpt, *want;
};

static void run(struct world *w, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct got g = expand(w, rows[i].rcpt, true);

		if (strcmp(g.text, rows[i].want) != 0)
			fail_msg(
			    "%s: got \"%s\", expected \"%s\"", rows[i].rcpt, g.text, rows[i].want);
	}
}

static const struct row answers[] = {
    {"alice@own.test", "itself"},
    {"alice@gw.test", "itself"},
    {"ALICE@lmtp.test", "itself"},
    {"alice+x@own.test", "itself"},
    {"nobody@own.test", "550 5.1.1"},
    {"alice@else.test", "itself"},
    {"nobody@else.test", "itself"}, /* relayed */
    {"utemp@own.test", "451 4.3.0"},
    {"ustop@own.test", "550 5.1.1"},
    {"x@broken.test", "451 4.3.0"},
    /* aliases */
    {"team@own.test", "alice@gw.test dave@far.test bob@gw.test"},
    {"team@else.test", "itself"},
    {"team+d@own.test", "alice@gw.test dave@far.test bob@gw.test"},
    {"\"team\"@own.test", "alice@gw.test dave@far.test bob@gw.test"},
    {"nest@own.test", "eve@gw.test alice@gw.test dave@far.test bob@gw.test"},
    {"self@gw.test", "self@gw.test self@backup.test"},
    {"only@gw.test", "550 5.4.6"},
    {"loop1@gw.test", "550 5.4.6"},
    {"out@gw.test", "bob@gw.test"},
    {"box1@gw.test", "itself"},
    {"box2@gw.test", "550 5.4.6"},
    {"twice@own.test", "bob@gw.test"},
    {"final@own.test", "team@gw.test"},
    /* itself, in any case and often: once; with and without a backslash are two */
    {"dup@own.test", "dup@gw.test self@gw.test self@backup.test"},
    {"DUP@gw.test", "dup@gw.test self@gw.test self@backup.test"},
    {"copy@own.test", "copy@gw.test bob@gw.test"},
    {"copy@gw.test", "copy@gw.test bob@gw.test"},
    {"both@own.test", "bobs@gw.test bob@gw.test alice@gw.test"},
    {"rev@own.test", "bobs@gw.test bob@gw.test alice@gw.test"},
    {"mix1@gw.test", "mix1@gw.test MIX2@gw.test"},
    /* several values of one answer; a quote ends with its value */
    {"rows@own.test", "451 4.3.5"},
    {"rows2@own.test", "alice@gw.test bob@gw.test dave@far.test"},
    {"err2@own.test", "451 4.3.5"},
    {"err4@own.test", "550 5.1.6"},
    {"list2@own.test", "a@far.test/owner-list2@own.test b@far.test/owner-list2@own.test"},
    {"owner-list2@own.test", "boss@far.test x@far.test"},
    {"list@own.test", "a@far.test/owner-list@own.test c@far.test/owner-inner@gw.test "
		      "d@gw.test/owner-inner@gw.test"},
    {"list+x@own.test", "a@far.test/owner-list@own.test c@far.test/owner-inner@gw.test "
			"d@gw.test/owner-inner@gw.test"},
    {"owner-list@own.test", "boss@far.test"},
    {"list-request@own.test", "boss@far.test"},
    {"case@own.test", "Bob.Smith@far.test"},
    {"quoted@own.test", "\"a b, c\"@far.test"},
    {"empty@own.test", "451 4.3.5"},
    {"blank@own.test", "451 4.3.5"},
    {"prog@own.test", "451 4.3.5"},
    {"file@own.test", "451 4.3.5"},
    {"qprog@own.test", "451 4.3.5"},
    {"bad@own.test", "451 4.3.5"},
    {"open@own.test", "451 4.3.5"},
    {"inc@own.test", "451 4.3.5"},
    {"temp@own.test", "451 4.3.0"},
    {"totemp@own.test", "451 4.3.0"},
    {"refuse@own.test", "550 5.7.1"},
    {"torefuse@own.test", "bob@gw.test"},
    {"plus+x@own.test", "plusser@gw.test"},
    {"plus@own.test", "550 5.1.1"},
    {"star@own.test", "starred@gw.test"},
    {"star+y@own.test", "starred@gw.test"},
    /* virtual domains */
    {"info@virt.test", "bob@gw.test carol@far.test"},
    {"info+x@virt.test", "bob@gw.test carol@far.test"},
    {"sales@virt.test", "bob@gw.test carol@far.test"},
    {"bob@virt.test", "550 5.1.1"},
    {"team@virt.test", "550 5.1.1"},
    {"ring@virt.test", "550 5.4.6"},
    {"half@virt.test", "bob@gw.test carol@far.test"},
    {"none@virt.test", "550 5.1.1"},
    {"list@virt.test", "a@far.test/owner-list@virt.test b@far.test/owner-list@virt.test"},
    {"old@virt.test", "550 5.1.6"},
    {"x@all.test", "catch@far.test"},
    {"sole@all.test", "one@far.test"}, /* the row of the domain makes no list of it */
    {"no@all.test", "450 4.2.1"},
    {"moved@own.test", "moved@far.test"},
    {"moved@far.test", "itself"},
    {"down@virt.test", "451 4.3.0"},
};

static void table(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	run(&w, answers, ARRAY_LEN(answers));
	assert_string_equal(expand(&w, "list@own.test", false).text,
	    "a@far.test c@far.test d@gw.test"); /* the null sender stays so */
	end(&w);
}

/* Without local_user_map a name of its own is a mailbox, a longer way round is not. */
static void without_users(void **state)
{
	static const struct row rows[] = {{"nobody@own.test", "itself"},
	    {"self@gw.test", "self@gw.test self@backup.test"}, {"only@gw.test", "itself"},
	    {"box1@gw.test", "550 5.4.6"}, {"out@gw.test", "bob@gw.test"}};
	struct world w;

	(void)state;
	start(&w);
	w.policy.local_users.map = NULL;
	run(&w, rows, ARRAY_LEN(rows));
	end(&w);
}

static void flags(void **state)
{
	static const struct row keep[] = {
	    {"team+x@own.test", "alice+x@own.test dave+x@far.test bob+x@own.test"},
	    {"star+y@own.test", "starred+y@own.test"},
	    {"plus+x@own.test", "plusser@own.test"}, /* the row has dealt with this detail */
	    {"self@own.test", "self@own.test self@backup.test"}};
	struct world w;

	(void)state;
	start(&w);
	w.policy.aliases.flags |= USE_F_PRESERVE_DOMAIN | USE_F_KEEP_DETAIL;
	run(&w, keep, ARRAY_LEN(keep));
	w.policy.aliases.flags = USE_F_LOCALPART | USE_F_LOCAL_DOMAINS | USE_F_DETAIL;
	w.policy.aliases.delimiters = "-"; /* owner-* is about no list */
	run(&w, (struct row[]){{"twice@own.test", "bob@gw.test"}}, 1);
	run(&w,
	    (struct row[]){{"inner@own.test", "c@far.test/owner-inner@own.test "
					      "d@gw.test/owner-inner@own.test"}},
	    1);
	w.policy.aliases.delimiters = "+";
	w.policy.aliases.flags = USE_F_LOCALPART; /* for all domains, and no details */
	run(&w, (struct row[]){{"team@else.test", "alice@gw.test dave@far.test bob@gw.test"}}, 1);
	run(&w, (struct row[]){{"team+x@own.test", "550 5.1.1"}}, 1);
	end(&w);
}

/* A list of 10,000 is one; one more is a mistake; so are a chain and a tree without end. */
static void bounds(void **state)
{
	static struct table_row rows[60];
	static char text[60][64], key[60][16];
	char *many = base_alloc(12 * 10002);
	struct world w;
	struct got g;
	size_t n = 0;

	(void)state;
	start(&w);
	for (int i = 0; i < 10001; i++) {
		if (i == 10000)
			assert_int_equal(n, 10000 * 11);
		n += (size_t)sprintf(many + n, "u%05d@f.t,", i % 100000);
	}
	many[10000 * 11] = '\0';
	rows[0] = (struct table_row){"many", many};
	rows[1] = (struct table_row){NULL, NULL};
	w.alias.rows = rows;
	g = expand(&w, "many@own.test", true);
	assert_int_equal(g.n, 10000);
	many[10000 * 11] = 'u';
	assert_string_equal(expand(&w, "many@own.test", true).text, "451 4.3.5");
	free(many);
	for (int i = 0; i < 30; i++) {
		snprintf(key[i], sizeof(key[i]), "c%d", i);
		snprintf(text[i], sizeof(text[i]), "c%d", i + 1);
		rows[i] = (struct table_row){key[i], text[i]};
	}
	rows[30] = (struct table_row){NULL, NULL};
	assert_string_equal(expand(&w, "c0@own.test", true).text, "451 4.3.5");
	assert_string_equal(expand(&w, "c15@own.test", true).text, "c30@gw.test");
	end(&w);
}

/* 10,000 aliases of one address, all asked for by one list; and forty that all name each other. */
static void many_ways(void **state)
{
	static struct table_row rows[42];
	static char key[40][8];
	char *all = base_alloc(10000 * 8 + 1), *graph = base_alloc(40 * 16);
	struct world w;
	struct got g;
	size_t n = 0;

	(void)state;
	start(&w);
	for (int i = 0; i < 10000; i++)
		n += (size_t)sprintf(all + n, "a+%05d\n", i);
	rows[0] = (struct table_row){"all", all};
	rows[1] = (struct table_row){"a+*", "BOB, bob@gw.test"};
	rows[2] = (struct table_row){NULL, NULL};
	w.alias.rows = rows;
	g = expand(&w, "all@own.test", true);
	assert_string_equal(g.text, "BOB@gw.test");
	n = 0;
	for (int i = 0; i < 40; i++) {
		snprintf(key[i], sizeof(key[i]), "k%d", i);
		n += (size_t)sprintf(graph + n, "%s K%d ", key[i], i);
		rows[i] = (struct table_row){key[i], graph};
	}
	rows[40] = (struct table_row){"to", "k0 bob"};
	rows[41] = (struct table_row){NULL, NULL};
	w.alias.asked = 0;
	assert_string_equal(expand(&w, "k0@gw.test", false).text, "550 5.4.6");
	assert_int_equal(w.alias.asked, 40); /* each name once */
	assert_string_equal(expand(&w, "to@gw.test", true).text, "bob@gw.test");
	w.policy.local_users.map = NULL;
	assert_int_equal(expand(&w, "k0@gw.test", true).n, 40);
	for (n = 0; n < 79998; n += 3)
		memcpy(all + n, "k0 ", 3);
	all[n] = '\0';
	rows[0].value = all; /* more often than addresses are allowed on the way */
	assert_string_equal(expand(&w, "k0@gw.test", true).text, "itself");
	free(all);
	free(graph);
	end(&w);
}

/* More lists at a time than all walks may have addresses: some are put off, others come later. */
static void bound_of_all(void **state)
{
	static struct table_row rows[2] = {{"many", NULL}, {NULL, NULL}};
	char *many = base_alloc(12 * 10001);
	size_t n = (size_t)sprintf(many, "x@f.t,");
	unsigned whole = 0, later = 0;
	static struct got g[25];
	struct world w;

	(void)state;
	start(&w);
	for (int i = 1; i < 10000; i++)
		n += (size_t)sprintf(many + n, "\\u%05d@f.t,", i);
	rows[0].value = many;
	w.alias.rows = rows;
	for (size_t i = 0; i < ARRAY_LEN(g); i++)
		smar_alias_expand(&w.policy, "many", "own.test", OURS_LOCAL, false,
		    loop_now(w.loop) + 10000, told, &g[i]);
	for (int i = 0; i < 100; i++)
		loop_turn(w.loop, false);
	for (size_t i = 0; i < ARRAY_LEN(g); i++) {
		assert_int_equal(g[i].told, 1);
		whole += g[i].n == 10000;
		later += strcmp(g[i].text, "451 4.3.2") == 0;
	}
	assert_int_equal(whole, 19);
	assert_int_equal(later, 6);
	assert_int_equal(expand(&w, "many@own.test", false).n, 10000);
	free(many);
	end(&w);
}

static void write_file(struct world *w, const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", w->folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static void include(void **state)
{
	static struct table_row rows[8];
	static char text[8][160];
	struct world w;
	struct row want[] = {{"good@own.test", "alice@gw.test b@far.test c@far.test"},
	    {"open@own.test", "451 4.3.5"}, {"gone@own.test", "451 4.3.5"},
	    {"link@own.test", "451 4.3.5"}, {"again@own.test", "451 4.3.5"},
	    {"outside@own.test", "451 4.3.5"},
	    {"both@own.test", "x@far.test alice@gw.test b@far.test c@far.test y@far.test"}};
	static const char *const name[] = {"good", "open", "gone", "link", "again"};
	char path[128];

	(void)state;
	start(&w);
	snprintf(w.folder, sizeof(w.folder), "%s", "/tmp/m1users.XXXXXX");
	assert_non_null(mkdtemp(w.folder));
	w.include[0] = w.folder;
	w.policy.include = w.include;
	w.policy.ninclude = 1;
	write_file(&w, "good", "# who\nalice\n  # not@far.test\nb@far.test, c@far.test\n", 0644);
	write_file(&w, "open", "alice\n", 0666);
	write_file(&w, "again", ":include:/etc/passwd\n", 0600);
	snprintf(path, sizeof(path), "%s/link", w.folder);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	for (int i = 0; i < 5; i++) {
		snprintf(text[i], sizeof(text[i]), ":include:%s/%s", w.folder, name[i]);
		rows[i] = (struct table_row){name[i], text[i]};
	}
	rows[5] = (struct table_row){"outside", ":include:/etc/passwd"};
	snprintf(text[6], sizeof(text[6]), "x@far.test :include:%s/good y@far.test", w.folder);
	rows[6] = (struct table_row){"both", text[6]};
	w.alias.rows = rows;
	run(&w, want, ARRAY_LEN(want));
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%s", w.folder, name[i]);
		unlink(path);
	}
	rmdir(w.folder);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table),
	    cmocka_unit_test(without_users),
	    cmocka_unit_test(flags),
	    cmocka_unit_test(bounds),
	    cmocka_unit_test(many_ways),
	    cmocka_unit_test(bound_of_all),
	    cmocka_unit_test(include),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
