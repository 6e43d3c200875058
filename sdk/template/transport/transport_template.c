/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_template -- a small whole transport: each mail becomes a file of a Maildir. There is no
 * next hop to talk to, so all its work is what may sleep: writing and syncing, on a worker thread.
 * The laws are told at the top of meta1/module.h, the results in meta1/transport.h; one that
 * speaks over a network uses host->conn instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the admin says in the section. Parser, checks and manual come from these records. */
struct conf {
	const char *folder;
};

static const struct meta1_opt opts[] = {
    META1_OPT_PATH(struct conf, folder, NULL, META1_O_REQUIRED | META1_O_MAYLACK,
	"Maildir that gets every mail; it is made when it lacks."),
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

/* Of names of files. One for all instances: two sections may have one folder, and a reload opens
 * the new instance beside the old one. Only the loop's thread uses it. */
static uint64_t serial;

struct session {
	struct instance *in;
	struct meta1_req *req;	       /* under way; NULL: none */
	const struct meta1_mail *mail; /* of it: valid until it is finished */
	uint64_t serial;
	int64_t wall;
	int error; /* errno of the work; 0: the mail is safe */
	int shut;  /* the session is over; its work is not */
};

/* ---- on a worker thread: no call of the host is allowed here ---- */

static int copy(int fd, const struct meta1_mail *m)
{
	char piece[16384];
	const char *p;
	uint32_t i;

	for (i = 0; i < m->nextent; i++) {
		const struct meta1_extent *e = &m->extent[i];
		uint64_t at = 0;

		while (at < e->len) {
			size_t n =
			    e->len - at < sizeof(piece) ? (size_t)(e->len - at) : sizeof(piece);
			ssize_t got = (ssize_t)n;

			p = e->mem ? (const char *)e->mem + at : piece;
			if (!e->mem)
				got = pread(e->fd, piece, n, (off_t)(e->off + at));
			if (got > 0)
				got = write(fd, p, (size_t)got);
			if (got <= 0)
				return got < 0 ? errno : EIO;
			at += (uint64_t)got;
		}
	}
	return 0;
}

static int sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

	if (fd < 0)
		return errno;
	error = fsync(fd) ? errno : 0;
	close(fd);
	return error;
}

/* As Maildir wants it: whole in tmp, then by its name in new. Safe when all of it is synced. */
static int deliver(const char *folder, const char *name, const struct meta1_mail *m)
{
	char tmp[PATH_MAX], new[PATH_MAX];
	int fd, error;

	snprintf(new, sizeof(new), "%s/new", folder);
	snprintf(tmp, sizeof(tmp), "%s/cur", folder);
	if ((mkdir(folder, 0700) && errno != EEXIST) || (mkdir(new, 0700) && errno != EEXIST) ||
	    (mkdir(tmp, 0700) && errno != EEXIST))
		return errno;
	snprintf(tmp, sizeof(tmp), "%s/tmp", folder);
	if (mkdir(tmp, 0700) && errno != EEXIST)
		return errno;
	snprintf(tmp, sizeof(tmp), "%s/tmp/%s", folder, name);
	snprintf(new, sizeof(new), "%s/new/%s", folder, name);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	error = copy(fd, m);
	if (!error && fsync(fd))
		error = errno;
	if (close(fd) && !error)
		error = errno;
	if (!error && rename(tmp, new))
		error = errno;
	if (error) {
		unlink(tmp);
		return error;
	}
	snprintf(new, sizeof(new), "%s/new", folder);
	return sync_folder(new);
}

static void work(void *arg)
{
	struct session *s = arg;
	char name[128];

	snprintf(name, sizeof(name), "%lld.P%ldQ%llu.template", (long long)s->wall, (long)getpid(),
	    (unsigned long long)s->serial);
	s->error = deliver(s->in->conf->folder, name, s->mail);
}

/* ---- on the loop ---- */

static void fail(struct session *s, struct meta1_req *req, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why, .dsn = "4.3.0"};

	s->in->host->finish(req, META1_TEMPFAIL, &r);
}

static void done(void *arg)
{
	struct session *s = arg;
	struct meta1_req *req = s->req;
	const struct meta1_host *host = s->in->host;
	struct meta1_reply r = {.size = sizeof(r),
	    .text = "delivered to the Maildir",
	    .smtp = 250,
	    .dsn = "2.0.0",
	    .taken = META1_TAKEN_FINAL};
	char why[256];

	s->req = NULL;
	if (s->error) {
		snprintf(
		    why, sizeof(why), "%.150s: %.80s", s->in->conf->folder, strerror(s->error));
		fail(s, req, why);
	} else {
		host->count(s->in->ctx, "delivered_total", 1);
		host->finish(req, META1_OK, &r);
	}
	if (s->shut)
		host->free(s->in->ctx, s);
}

static void ops_open(void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct instance *in = inst;
	struct session *s = in->host->alloc(in->ctx, sizeof(*s));
	struct meta1_reply r = {
	    .size = sizeof(r), .text = "no memory for a session", .scope = META1_ABOUT_SESSION};

	(void)hop;
	*sess = s;
	if (!s) {
		in->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	s->in = in;
	in->host->finish(req, META1_OK, NULL);
}

static void ops_send(void *sess, struct meta1_req *req, const struct meta1_mail *mail)
{
	struct session *s = sess;
	const struct meta1_host *host = s->in->host;

	s->req = req;
	s->mail = mail;
	s->serial = ++serial;
	s->wall = host->wall(s->in->ctx);
	if (host->offload(s->in->ctx, work, done, s) == META1_OK)
		return;
	s->req = NULL;
	fail(s, req, "too much work waits");
}

static int ops_usable(void *sess)
{
	(void)sess;
	return 1;
}

static void ops_shut(void **sess)
{
	struct session *s = *sess;

	*sess = NULL;
	if (s->req)
		s->shut = 1; /* done() frees it */
	else
		s->in->host->free(s->in->ctx, s);
}

/* A write that began goes to its end: done() finishes the request, soon. */
static void ops_cancel(void *inst, struct meta1_req *req)
{
	(void)inst, (void)req;
}

static int ops_past_dot(void *sess)
{
	return ((struct session *)sess)->req != NULL;
}

static int module_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	if (!in) {
		strcpy(err->text, "no memory");
		return -1;
	}
	*in = (struct instance){.host = host, .ctx = ctx, .conf = conf};
	*inst = in;
	return 0;
}

static void module_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_transport_ops ops = {.size = sizeof(ops),
    .props = META1_T_LOCAL,
    .open = ops_open,
    .send = ops_send,
    .usable = ops_usable,
    .shut = ops_shut,
    .cancel = ops_cancel,
    .past_dot = ops_past_dot,
    .heeds = META1_M_SMTPUTF8 | META1_M_REQUIRETLS};

META1_MODULE(transport_template, .kind = META1_TRANSPORT, .roles = META1_SMTPC | META1_TOOL,
    .version = "0.1", .summary = "Each mail becomes a file of a Maildir.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf), .open = module_open,
    .close = module_close, .ops = &ops);
