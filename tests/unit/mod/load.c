/* SPDX-License-Identifier: BSD-2-Clause */
/* What load.c takes and what it refuses, with the words an admin sees. */
#include "../unit.h"

#include "fix.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void copy(const char *name, const char *as)
{
	char from[512], to[512], buf[65536];
	FILE *in, *out;
	size_t n;

	snprintf(from, sizeof(from), "%s/.libs/%s.so", TEST_MODULES, name);
	snprintf(to, sizeof(to), "%s/maps/%s.so", root, as);
	in = fopen(from, "r");
	out = fopen(to, "w");
	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(buf, 1, sizeof(buf), in)))
		fwrite(buf, 1, n, out);
	fclose(in);
	fclose(out);
	chmod(to, 0755);
}

static int up(void **state)
{
	char dir[80];
	struct fix *f;

	fix_up(state);
	f = *state;
	snprintf(root, sizeof(root), "/tmp/meta1-load.XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(dir, sizeof(dir), "%s/maps", root);
	mkdir(dir, 0755);
	chmod(dir, 0755);
	f->host.module_directory = root;
	return 0;
}

static int down(void **state)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	(void)!system(cmd);
	return fix_down(state);
}

static void refused(struct fix *f, const char *name, const char *part)
{
	assert_null(mod_load(&f->host, name, &f->err));
	if (!strstr(f->err.text, part) || strchr(f->err.text, '\n'))
		fail_msg("%s: \"%s\" is not in: %s", name, part, f->err.text);
}

static void takes_a_good_one(void **state)
{
	struct fix *f = *state;
	struct mod *m;
	char path[128];

	copy("map_try", "map_try");
	m = mod_load(&f->host, "map_try", &f->err);
	assert_non_null(m);
	snprintf(path, sizeof(path), "%s/maps/map_try.so", root);
	assert_string_equal(mod_file(m), path);
	assert_string_equal(mod_descriptor(m)->name, "map_try");
	assert_ptr_equal(mod_load(&f->host, "map_try", &f->err), m);
}

static void refuses_wrong_descriptors(void **state)
{
	char major[160], minor[160];
	const struct {
		const char *name, *part;
	} bad[] = {
	    {"map_major", major},
	    {"map_minor", minor},
	    {"map_magic", "magic is 0x12345678, expected 0x314d544d"},
	    {"map_unresolved", "undefined symbol: nowhere_to_be_found"},
	    {"map_needs", "libmeta1gone.so: cannot open shared object file"},
	};
	size_t i;

	snprintf(major, sizeof(major),
	    "module ABI is 99.%u, expected %u.x: it is newer, update the server", META1_ABI_MINOR,
	    META1_ABI_MAJOR);
	snprintf(minor, sizeof(minor),
	    "module ABI is %u.99 and needs %u.99, newer than this server's %u.%u: update the "
	    "server",
	    META1_ABI_MAJOR, META1_ABI_MAJOR, META1_ABI_MAJOR, META1_ABI_MINOR);
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		copy(bad[i].name, bad[i].name);
		refused(*state, bad[i].name, bad[i].part);
		refused(*state, bad[i].name, root);
	}
}

static void refuses_a_renamed_file(void **state)
{
	copy("map_try", "map_other");
	refused(*state, "map_other",
	    "symbol map_other_LTX_meta1_module is missing: no module of this server, or the file "
	    "was renamed");
}

static void refuses_what_others_can_write(void **state)
{
	char path[128];

	copy("map_try", "map_try");
	snprintf(path, sizeof(path), "%s/maps/map_try.so", root);
	chmod(path, 0757);
	refused(*state, "map_try", "mode is 0757, expected it to be writable by its owner only");
	chmod(path, 0775);
	refused(*state, "map_try", "chmod go-w");
	chmod(path, 0755);
	snprintf(path, sizeof(path), "%s/maps", root);
	chmod(path, 0777);
	refused(*state, "map_try", "/maps: mode is 0777");
	chmod(path, 0755);
	chmod(root, 0777);
	refused(*state, "map_try", "mode is 0777");
	chmod(root, 0755);
	assert_non_null(mod_load(&((struct fix *)*state)->host, "map_try", NULL));
}

static void refuses_a_strangers_file(void **state)
{
	char path[128];

	if (geteuid() != 0)
		skip();
	copy("map_try", "map_try");
	snprintf(path, sizeof(path), "%s/maps/map_try.so", root);
	assert_int_equal(chown(path, 12345, 0), 0);
	refused(*state, "map_try", "owner is uid 12345, expected root: chown root it");
}

static void refuses_names_and_paths(void **state)
{
	char from[128], to[128];

	refused(*state, "map_none", "/maps/map_none.so: no such file: install the package");
	refused(*state, "map_none", "(of Debian meta1, or meta1-map-none if there is one)");
	copy("map_try", "map_try");
	refused(*state, "map_tri", "there is map_try");
	refused(*state, "map_somewhere", "; there are: try");
	refused(*state, "sieve_x", "expected a name that begins with map_");
	refused(*state, "map_../../x", "of a to z, 0 to 9 and _");
	copy("map_try", "map_try");
	snprintf(from, sizeof(from), "%s/maps/map_try.so", root);
	snprintf(to, sizeof(to), "%s/maps/map_link.so", root);
	assert_int_equal(symlink(from, to), 0);
	refused(*state, "map_link", "is a link to");
	snprintf(to, sizeof(to), "%s/maps/map_dir.so", root);
	mkdir(to, 0755);
	refused(*state, "map_dir", "expected a regular file");
}

/* Bytes of a copy of a good one at a place. */
static void patch(const char *name, long at, const void *bytes, size_t n)
{
	char path[128];
	FILE *f;

	copy("map_try", "map_try");
	snprintf(path, sizeof(path), "%s/maps/%s.so", root, name);
	f = fopen(path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static void refuses_files_of_another_kind(void **state)
{
	static const unsigned char machine[] = {0xb7, 0}, class[] = {1}; /* AArch64; 32 bits */
	char path[128];

	patch("map_try", 18, machine, sizeof(machine));
	refused(*state, "map_try", "for machine 183, expected class ");
	refused(*state, "map_try", ": install the one for this machine");
	patch("map_try", 4, class, sizeof(class));
	refused(*state, "map_try", "found a file of ELF class 1 for machine ");
	copy("map_try", "map_try");
	snprintf(path, sizeof(path), "%s/maps/map_try.so", root);
	assert_int_equal(truncate(path, 3000), 0);
	refused(*state, "map_try", "it is cut off: found 3000 bytes, its headers tell of ");
	assert_int_equal(truncate(path, 100), 0);
	refused(*state, "map_try", "it is cut off: install it anew");
	assert_int_equal(truncate(path, 20), 0);
	refused(*state, "map_try", "cannot be loaded: file too short");
	assert_int_equal(truncate(path, (off_t)257 << 20), 0);
	refused(*state, "map_try", "found 269484032 bytes, expected a module of at most 256 MiB");
}

static void refuses_paths(void **state)
{
	static const struct {
		const char *path, *part;
	} rows[] = {
	    {"maps/map_try.so", "maps/map_try.so: expected an absolute path"},
	    {"/nonexistent/map_try.so", "/nonexistent/map_try.so: No such file or directory"},
	    {"map_try.txt", "map_try.txt: expected a name that ends in .so"},
	    {"map_Try.so", "map_Try.so: expected a name of a to z, 0 to 9 and _ before .so"},
	};
	struct fix *f = *state;
	char from[128], path[160];

	copy("map_try", "map_try");
	snprintf(from, sizeof(from), "%s/maps/map_try.so", root);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(path, sizeof(path), "%s/maps/%s", root, rows[i].path);
		if (i > 1)
			assert_int_equal(rename(from, path), 0);
		assert_null(mod_load_file(&f->host, i > 1 ? path : rows[i].path, &f->err));
		if (!strstr(f->err.text, rows[i].part))
			fail_msg("\"%s\" is not in: %s", rows[i].part, f->err.text);
		if (i > 1)
			assert_int_equal(rename(path, from), 0);
	}
}

static void refuses_another_role(void **state)
{
	struct fix *f = *state;

	copy("map_try", "map_try");
	f->host.role = META1_SMTPS;
	refused(f, "map_try", "it is for the roles smar, tools, and this is smtps");
}

/* Roots of the environment serve tests and demos; root never takes code from there. */
static void looks_in_the_path_of_the_environment(void **state)
{
	struct fix *f = *state;
	char path[600];

	f->host.module_directory = "/nonexistent";
	copy("map_try", "map_try");
	snprintf(path, sizeof(path), "relative:%s-none:%s", root, root);
	setenv("META1_MODULE_PATH", path, 1);
	unsetenv("META1_TEST_ENV");
	if (geteuid() == 0) {
		refused(f, "map_try", "/nonexistent/maps/map_try.so: no such file");
		setenv("META1_TEST_ENV", "1", 1);
	}
#ifdef META1_DEVELOPER
	assert_non_null(mod_load(&f->host, "map_try", &f->err));
#endif
	unsetenv("META1_MODULE_PATH");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(takes_a_good_one, up, down),
	    cmocka_unit_test_setup_teardown(refuses_wrong_descriptors, up, down),
	    cmocka_unit_test_setup_teardown(refuses_a_renamed_file, up, down),
	    cmocka_unit_test_setup_teardown(refuses_what_others_can_write, up, down),
	    cmocka_unit_test_setup_teardown(refuses_a_strangers_file, up, down),
	    cmocka_unit_test_setup_teardown(refuses_names_and_paths, up, down),
	    cmocka_unit_test_setup_teardown(refuses_files_of_another_kind, up, down),
	    cmocka_unit_test_setup_teardown(refuses_paths, up, down),
	    cmocka_unit_test_setup_teardown(refuses_another_role, up, down),
	    cmocka_unit_test_setup_teardown(looks_in_the_path_of_the_environment, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
