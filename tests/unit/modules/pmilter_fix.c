/* SPDX-License-Identifier: BSD-2-Clause */
#include "pmilter_fix.h"

#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

struct meta1_err pf_why;

static struct pf *lab(void)
{
	struct pf *f = base_alloc(sizeof(*f));

	strcpy(f->dir, "/tmp/m1-pmilter.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->sock, sizeof(f->sock), "%s/sock", f->dir);
	snprintf(f->where, sizeof(f->where), "unix:%s", f->sock);
	f->host.loop = loop_new();
	f->host.work = work_new(f->host.loop);
	f->host.role = META1_SMTPS;
	f->host.hostname = "gw.test";
	f->host.qdir = f->dir;
	f->host.strict = true;
	return f;
}

static bool open_module(struct pf *f, const char *module, const char *options)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.so", TEST_PMILTER, module);
	f->mod = mod_load_file(&f->host, path, &pf_why);
	if (!f->mod)
		fail_msg("%s", pf_why.text);
	f->conf = conf_read_text("options", options);
	f->inst = mod_open(
	    &f->host, f->mod, "filter", f->conf, conf_root(f->conf), NULL, OPT_START, &pf_why);
	if (!f->inst) {
		FILE *o =
		    conf_errors(f->conf) ? fmemopen(pf_why.text, sizeof(pf_why.text), "w") : NULL;

		if (o) {
			conf_report(f->conf, o);
			fclose(o);
		}
		return false;
	}
	mod_req_limit(f->inst, 100000);
	f->ops = mod_ops(f->inst);
	return true;
}

struct pf *pf_new(const char *options)
{
	struct pf *f = lab();
	char text[512];

	snprintf(text, sizeof(text), "socket_path = \"%s\"; %s", f->sock, options);
	if (!open_module(f, "pmilter_pmilter", text))
		fail_msg("%s", pf_why.text);
	return f;
}

struct pf *pf_open(const char *module, const char *options)
{
	struct pf *f = lab();

	if (!open_module(f, module, options))
		pf_free(&f);
	return f;
}

void pf_free(struct pf **fp)
{
	struct pf *f = *fp;

	*fp = NULL;
	if (f->inst)
		mod_close(&f->inst);
	pf_filter_end(f);
	work_free(&f->host.work);
	for (int i = 0; i < 4; i++)
		loop_turn(f->host.loop, false);
	mod_unload_all(&f->host);
	loop_free(&f->host.loop);
	conf_free(&f->conf);
	unlink(f->sock);
	assert_int_equal(rmdir(f->dir), 0); /* nothing is left there */
	free(f);
}

void pf_filter(struct pf *f, const struct pmilter_S *filter)
{
	assert_int_equal(sm_pmfi_init(&f->g), SM_SUCCESS);
	assert_int_equal(sm_pmfi_setconn(f->g, f->where), SM_SUCCESS);
	assert_int_equal(sm_pmfi_listen(f->g, filter), SM_SUCCESS);
}

void pf_filter_end(struct pf *f)
{
	sm_pmfi_free(&f->g);
}

void pf_turn(struct pf *f)
{
	loop_turn(f->host.loop, false);
	if (f->g)
		event_base_loop(sm_pmfi_base(f->g), EVLOOP_NONBLOCK);
}

void pf_until(struct pf *f, const unsigned *n, unsigned wanted)
{
	int64_t end = loop_now(f->host.loop) + 20000;
	unsigned now;

	/* some are counted by threads of a filter */
	while ((now = __atomic_load_n(n, __ATOMIC_ACQUIRE)) != wanted &&
	       loop_now(f->host.loop) < end) {
		pf_turn(f);
		usleep(100);
	}
	if (now != wanted)
		fail_msg("after 20 s it is %u, expected %u", now, wanted);
}

/* ---- sessions ---- */

void ps_begin(struct pf *f, struct ps *s)
{
	*s = (struct ps){.f = f,
	    .about = {.size = sizeof(s->about),
		.port = 4321,
		.serial = 18,
		.hostname = "gw.test",
		.listener = "mx",
		.client = "192.0.2.7",
		.name = "client.example",
		.resolve = "OK"}};
	s->wants = f->ops->begin(mod_data(f->inst), &s->about, &s->sess);
}

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct ps *s = arg;

	s->answers++;
	s->st = st;
	s->req = NULL;
	s->v = r->ext;
	snprintf(s->text, sizeof(s->text), "%s", r->text ? r->text : "");
}

void ps_put(struct ps *s, const struct meta1_pm_ask *ask)
{
	s->req = mod_req(s->f->inst, INT64_MAX, answered, s);
	assert_non_null(s->req);
	s->f->ops->ask(s->sess, s->req, ask);
}

static enum meta1_status ask_wait(struct ps *s, const struct meta1_pm_ask *ask)
{
	unsigned n = s->answers;

	ps_put(s, ask);
	pf_until(s->f, &s->answers, n + 1);
	return s->st;
}

enum meta1_status ps_ask(struct ps *s, uint32_t stage, const char *arg)
{
	struct meta1_buf param = buf_str("SIZE=1000");
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = stage, .arg = buf_str(arg)};

	if (stage == META1_PM_MAIL) {
		ask.param = &param;
		ask.nparam = 1;
	}
	return ask_wait(s, &ask);
}

enum meta1_status ps_end(struct ps *s, const struct meta1_pm_message *m)
{
	struct meta1_pm_ask ask = {.size = sizeof(ask), .stage = META1_PM_END, .msg = m};

	return ask_wait(s, &ask);
}

struct meta1_pm_message ps_message(struct meta1_extent *e, const char *text)
{
	const char *body = strstr(text, "\r\n\r\n");

	*e = (struct meta1_extent){.mem = text, .len = strlen(text), .fd = -1};
	return (struct meta1_pm_message){.size = sizeof(struct meta1_pm_message),
	    .nextent = 1,
	    .extent = e,
	    .bytes = e->len,
	    .header = body ? (uint64_t)(body + 4 - text) : e->len};
}

void ps_close(struct ps *s)
{
	if (s->req)
		mod_req_cancel(&s->req);
	s->f->ops->end(&s->sess);
}

/* ---- raw peers ---- */

static struct sockaddr_un at(struct pf *f)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", f->sock);
	return sun;
}

int raw_listen(struct pf *f)
{
	struct sockaddr_un sun = at(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

int raw_connect(struct pf *f)
{
	struct sockaddr_un sun = at(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}
