/* SPDX-License-Identifier: BSD-2-Clause */
/* What mcp gives away, in hand.c and listen.c. A hand-over that fails leaves the folder with the
 * old user, says at what it failed and the command that does it; so does the next reload. A socket
 * is looked at before. Only root can give away. */
#include "../unit.h"
#include "mcp/mcp.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct mcp m;
static struct settings *next;
static char top[] = "/tmp/m1-hand.XXXXXX", in[64], file[80], *text;
static uid_t was, is;

static struct settings *load(const char *user)
{
	char conf[300];

	snprintf(conf, sizeof(conf),
	    "queue_directory = %s/q;\nrun_directory = %s/run;\nsmar { user = %s; }\n", top, top,
	    user);
	return settings_load_text("t", conf, OPT_CHECK);
}

static uid_t owner(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_uid;
}

static int open_hand(struct settings *set)
{
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int rc = mcp_hand_open(&m, set, false, f);

	fclose(f);
	return rc;
}

static char *logged(void)
{
	static char all[4000];
	char path[64];
	FILE *f;

	log_reopen(); /* it writes */
	snprintf(path, sizeof(path), "%s/log", top);
	f = fopen(path, "r");
	all[f ? fread(all, 1, sizeof(all) - 1, f) : 0] = '\0';
	if (f)
		fclose(f);
	return all;
}

static int setup(void **state)
{
	char log[64];

	(void)state;
	if (geteuid() != 0)
		return 0;
	closefrom(3); /* what who started this left open, with holes: fails() counts */
	strcpy(top + sizeof(top) - 7, "XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	snprintf(log, sizeof(log), "%s/log", top);
	m = (struct mcp){.loop = loop_new(), .root = true, .hand_ms = MCP_HAND_MS};
	log_open(m.loop, &(struct log_conf){.ident = "t", .file = log, .level = LOG_L_DEBUG},
	    &(struct meta1_err){""});
	m.set = load("daemon");
	next = load("mail");
	assert_int_equal(open_hand(m.set), 0);
	mcp_hand_end(&m, false);
	free(text);
	snprintf(in, sizeof(in), "%s/q/smar", top);
	snprintf(file, sizeof(file), "%s/sub/file", in);
	was = owner(in);
	*strrchr(file, '/') = '\0';
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(chown(file, was, was), 0);
	file[strlen(file)] = '/';
	close(open(file, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(chown(file, was, was), 0);
	assert_int_equal(open_hand(next), 0);
	free(text);
	assert_true(mcp_hand_will(&m, "smar") && !mcp_hand_will(&m, "qmgr"));
	mcp_hand_end(&m, true);
	assert_true(mcp_hand_waits(&m, "smar") && !mcp_hand_will(&m, "smar"));
	return 0;
}

static int teardown(void **state)
{
	char cmd[80];

	(void)state;
	if (geteuid() != 0)
		return 0;
	mcp_hand_end(&m, false);
	mcp_hand_end(&m, true);
	log_close();
	loop_free(&m.loop);
	settings_free(&m.set);
	settings_free(&next);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	return system(cmd);
}

/* What the log and the next reload say; the command does it. */
static void mended(const char *at)
{
	char cmd[200];
	struct settings *set = m.set;

	snprintf(cmd, sizeof(cmd), "chown -Rh --from=%u ", (unsigned)was);
	assert_false(mcp_hand_waits(&m, "smar"));
	assert_int_equal(owner(in), was);
	assert_int_equal(owner(file), was);
	assert_non_null(strstr(logged(), cmd));
	assert_non_null(strstr(logged(), at));
	m.set = next;
	assert_true(open_hand(next) < 0);
	mcp_hand_end(&m, false);
	m.set = set;
	assert_non_null(strstr(text, cmd));
	*strstr(text, " && chmod") = '\0';
	assert_int_equal(system(strstr(text, cmd)), 0);
	free(text);
	assert_int_not_equal(owner(in), was);
	assert_int_equal(owner(in), owner(file));
}

/* Two that end in one turn may take the time of two. */
static void whole(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char said[20] = "";

	(void)state;
	if (geteuid() != 0) {
		close(fd);
		skip();
	}
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/notify", top);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	strcpy(m.service.where, sun.sun_path);
	mcp_hand_look(&m);
	assert_int_equal(recv(fd, said, sizeof(said) - 1, MSG_DONTWAIT), 10);
	assert_string_equal(said, "WATCHDOG=1");
	close(fd);
	is = owner(in);
	assert_int_not_equal(is, was);
	assert_int_equal(owner(file), is);
	assert_non_null(strstr(logged(), "mcp.folder"));
	assert_null(strstr(logged(), "error="));
}

static void fails(void **state)
{
	struct rlimit had, few;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	fd = dup(0); /* the next ones are for the folder and for what is in it */
	close(fd);
	getrlimit(RLIMIT_NOFILE, &had);
	few = had;
	few.rlim_cur = (rlim_t)fd + 2;
	setrlimit(RLIMIT_NOFILE, &few);
	mcp_hand_look(&m);
	setrlimit(RLIMIT_NOFILE, &had);
	mended("Too many open files");
	assert_non_null(strstr(logged(), "/q/smar/sub/file"));
}

static void takes_too_long(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	m.hand_ms = 0;
	mcp_hand_look(&m);
	mended("Timer expired");
}

/* Where another user has the folder, it gives none but its own socket. */
static void sockets(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char other[sizeof(sun.sun_path) + 4];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	if (geteuid() != 0)
		skip();
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", top);
	snprintf(other, sizeof(other), "%s/s2", top);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(link(sun.sun_path, other), 0);
	assert_true(mcp_listen_chown(sun.sun_path, was, was) < 0); /* it has another name */
	assert_int_equal(unlink(other), 0);
	assert_int_equal(symlink(sun.sun_path, other), 0);
	assert_true(mcp_listen_chown(other, was, was) < 0);
	assert_true(mcp_listen_chown(top, was, was) < 0); /* it is none */
	assert_int_equal(owner(sun.sun_path), 0);
	assert_int_equal(owner(top), 0);
	assert_int_equal(mcp_listen_chown(sun.sun_path, was, was), 0);
	assert_int_equal(owner(sun.sun_path), was);
	assert_true(mcp_listen_chown(sun.sun_path, 0, 0) < 0); /* not ours any more */
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(fails, setup, teardown),
	    cmocka_unit_test_setup_teardown(takes_too_long, setup, teardown),
	    cmocka_unit_test_setup_teardown(sockets, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
