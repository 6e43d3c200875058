/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_maildir -- an example: mail for users of this host, a Maildir each:
 *
 *	smtpc { transport maildir { folder = "/var/mail/dirs"; } }
 *	example.org	maildir:				in the mailertable: FOLDER/user
 *	example.net	maildir:/var/mail/example.net		or below a folder of the domain's
 *own
 *
 * A user is who has a folder there, in lower case; user+detail goes to the subfolder .detail of
 * it when there is one (Maildir++). A mail has been delivered to a recipient when file and folder
 * are synced; a crash just before that is told to smtpc repeats it, so a mail may come twice, never
 * not at all. What the sender asked of DSN is done by the server, which is told that this is the
 * end of the way.
 *
 * It shows a result for each recipient, work that may sleep, what DATA form is, and how errors of
 * a mailbox (again later), of an address (for good) and of the whole place (it is down) differ.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct conf {
	const char *folder, *delimiter;
};

static const struct meta1_opt opts[] = {
    META1_OPT_PATH(struct conf, folder, NULL, META1_O_REQUIRED,
	"Folder with a Maildir for each user; it and they are there, writable for smtpc."),
    META1_OPT_STR(struct conf, delimiter, "+", 0,
	"What stands between user and detail of an address; empty: there are no details."),
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

/* Of names of files. One for all instances: two sections may have one folder, and a reload opens
 * the new instance beside the old one. Only the loop's thread uses it. */
static uint64_t serial;

struct outcome { /* of a recipient */
	enum meta1_status st;
	char dsn[12], text[200];
};

struct session {
	struct instance *in;
	struct meta1_req *req;	       /* under way; NULL: none */
	const struct meta1_mail *mail; /* of it: valid until it is finished */
	struct outcome *out;	       /* of its recipients; memory of the request */
	int64_t wall;
	uint64_t serial;
	int shut; /* the session is over, its work is not */
	char folder[PATH_MAX];
};

/* ---- on a worker thread: no call of the host is allowed here ---- */

struct out { /* a file that is written */
	int fd;
	char b[16384];
	size_t n;
};

static int flush(struct out *o)
{
	for (size_t at = 0; at < o->n;) {
		ssize_t w = write(o->fd, o->b + at, o->n - at);

		if (w < 0 && errno != EINTR)
			return errno;
		at += w > 0 ? (size_t)w : 0;
	}
	o->n = 0;
	return 0;
}

static int put(struct out *o, const char *p, size_t n)
{
	int error = 0;

	while (n > 0 && !error) {
		size_t k = n < sizeof(o->b) - o->n ? n : sizeof(o->b) - o->n;

		memcpy(o->b + o->n, p, k);
		o->n += k;
		p += k;
		n -= k;
		if (o->n == sizeof(o->b))
			error = flush(o);
	}
	return error;
}

/* DATA form into a file of lines: CRLF becomes LF, a dot that begins a line loses its double. */
struct plain {
	struct out *o;
	int at_start, cr;
};

static int plain(struct plain *s, const char *p, size_t n)
{
	int error = 0;

	for (const char *end = p + n; p < end && !error; p++) {
		if (s->cr && *p != '\n')
			error = put(s->o, "\r", 1);
		s->cr = *p == '\r';
		if (!s->cr && !(s->at_start == 1 && *p == '.'))
			error = error ? error : put(s->o, p, 1);
		s->at_start = *p == '\n';
	}
	return error;
}

static int content(struct out *o, const struct meta1_mail *m)
{
	struct plain s = {.o = o, .at_start = 1};
	char piece[16384];
	int error = 0;

	for (uint32_t i = 0; i < m->nextent && !error; i++) {
		const struct meta1_extent *e = &m->extent[i];

		if (e->mem)
			error = plain(&s, e->mem, e->len);
		for (uint64_t at = 0; !e->mem && at < e->len && !error;) {
			size_t n = e->len - at < sizeof(piece) ? e->len - at : sizeof(piece);
			ssize_t got = pread(e->fd, piece, n, (off_t)(e->off + at));

			error = got > 0 ? plain(&s, piece, (size_t)got) : got < 0 ? errno : EIO;
			at += got > 0 ? (uint64_t)got : 0;
		}
	}
	return error;
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

/* As Maildir wants it: whole in tmp, then by its name in new. */
static int deliver(
    const char *box, const char *name, const struct meta1_mail *m, const struct meta1_rcpt *rcpt)
{
	char tmp[PATH_MAX + 160], new[PATH_MAX + 160], head[600];
	struct out o = {.n = 0};
	int error, n;

	snprintf(tmp, sizeof(tmp), "%s/tmp/%s", box, name);
	snprintf(new, sizeof(new), "%s/new/%s", box, name);
	o.fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (o.fd < 0)
		return errno;
	n = snprintf(head, sizeof(head), "Return-Path: <%.*s>\nDelivered-To: %.*s\n",
	    (int)m->from.len, (const char *)m->from.data, (int)rcpt->addr.len,
	    (const char *)rcpt->addr.data);
	error = (size_t)n < sizeof(head) ? put(&o, head, (size_t)n) : ENAMETOOLONG;
	if (!error)
		error = content(&o, m);
	if (!error)
		error = flush(&o);
	if (!error && fsync(o.fd))
		error = errno;
	if (close(o.fd) && !error)
		error = errno;
	if (!error && rename(tmp, new))
		error = errno;
	if (error) {
		unlink(tmp);
		return error;
	}
	snprintf(new, sizeof(new), "%s/new", box);
	return sync_folder(new);
}

/* What may be the name of a folder here: nothing that leads elsewhere. */
static int fold(struct meta1_buf word, char *out, size_t size)
{
	const char *p = word.data;

	if (word.len == 0 || word.len >= size || p[0] == '.')
		return -1;
	for (size_t i = 0; i < word.len; i++) {
		if (p[i] == '/' || p[i] == '"' || (unsigned char)p[i] <= ' ' || p[i] == 127)
			return -1;
		out[i] = p[i];
		if (p[i] >= 'A' && p[i] <= 'Z')
			out[i] = (char)(p[i] + 32);
	}
	out[word.len] = '\0';
	return 0;
}

static void set(struct outcome *o, enum meta1_status st, const char *dsn, const char *text)
{
	o->st = st;
	snprintf(o->dsn, sizeof(o->dsn), "%s", dsn);
	snprintf(o->text, sizeof(o->text), "%s", text);
}

static void failed(struct outcome *o, int error)
{
	int full = error == ENOSPC || error == EDQUOT;
	char text[160];

	snprintf(text, sizeof(text), "the mailbox cannot be written now: %.80s", strerror(error));
	set(o, META1_TEMPFAIL, full ? "4.2.2" : "4.2.0", text);
}

/* The Maildir of an address; <0: o says why there is none. */
static int mailbox(
    const struct session *s, struct meta1_buf addr, char box[PATH_MAX], struct outcome *o)
{
	const char *p = addr.data, *at = NULL, *mark = s->in->conf->delimiter, *cut = NULL;
	struct meta1_buf user = addr, detail = {NULL, 0};
	char name[256], sub[256];
	struct stat st;
	int n;

	for (size_t i = addr.len; i-- > 0 && !at;)
		at = p[i] == '@' ? p + i : NULL;
	if (at)
		user.len = (size_t)(at - p);
	if (*mark && user.len > 1)
		cut = memchr(p + 1, *mark, user.len - 1);
	if (cut) {
		detail = (struct meta1_buf){cut + 1, user.len - (size_t)(cut + 1 - p)};
		user.len = (size_t)(cut - p);
	}
	if (fold(user, name, sizeof(name)) < 0 ||
	    snprintf(box, PATH_MAX, "%s/%s", s->folder, name) >= PATH_MAX ||
	    (lstat(box, &st) < 0 && errno == ENOENT)) {
		if (stat(s->folder, &st) < 0)
			failed(o, errno); /* it is the place that is away, not the user */
		else
			set(o, META1_PERMFAIL, "5.1.1", "there is no such user");
		return -1;
	}
	if (cut && fold(detail, sub, sizeof(sub)) == 0) {
		n = (int)strlen(box);
		if (snprintf(box + n, (size_t)(PATH_MAX - n), "/.%s", sub) >= PATH_MAX - n ||
		    lstat(box, &st) < 0)
			box[n] = '\0';
	}
	return 0;
}

static void work(void *arg)
{
	struct session *s = arg;
	const struct meta1_mail *m = s->mail;
	char box[PATH_MAX], name[128];

	for (uint32_t i = 0; i < m->nrcpt; i++) {
		const struct meta1_rcpt *r = meta1_at(m->rcpt, m->sizeof_rcpt, i);
		struct outcome *o = &s->out[i];
		int error;

		if (mailbox(s, r->addr, box, o) < 0)
			continue;
		snprintf(name, sizeof(name), "%lld.P%ldQ%lluR%u.%.40s", (long long)s->wall,
		    (long)getpid(), (unsigned long long)s->serial, i, s->in->host->hostname);
		error = deliver(box, name, m, r);
		if (error)
			failed(o, error);
		else
			set(o, META1_OK, "2.1.5", "delivered to the Maildir");
	}
}

/* ---- on the loop ---- */

static void finish(struct session *s, struct meta1_req *req, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why, .dsn = "4.3.0"};

	s->in->host->finish(req, META1_TEMPFAIL, &r);
}

static void done(void *arg)
{
	struct session *s = arg;
	struct meta1_req *req = s->req;
	const struct meta1_host *host = s->in->host;
	uint32_t n = s->mail->nrcpt;

	s->req = NULL;
	for (uint32_t i = 0; i < n; i++) {
		const struct outcome *o = &s->out[i];
		struct meta1_reply r = {.size = sizeof(r),
		    .text = o->text,
		    .smtp = o->st == META1_OK	      ? 250
			    : o->st == META1_PERMFAIL ? 550
						      : 450,
		    .taken = META1_TAKEN_FINAL};

		memcpy(r.dsn, o->dsn, sizeof(r.dsn));
		host->rcpt_result(req, i, o->st, &r);
		host->count(s->in->ctx, o->st == META1_OK ? "delivered_total" : "failed_total", 1);
	}
	host->finish(req, META1_OK, NULL);
	if (s->shut)
		host->free(s->in->ctx, s);
}

static void ops_open(void *inst, struct meta1_req *req, const struct meta1_hop *hop, void **sess)
{
	struct instance *in = inst;
	struct session *s = in->host->alloc(in->ctx, sizeof(*s));
	struct meta1_reply r = {.size = sizeof(r), .scope = META1_ABOUT_SESSION};
	const char *folder = hop->addr[0] ? hop->addr : in->conf->folder;

	*sess = s;
	if (!s) {
		r.text = "no memory for a session";
	} else if (folder[0] != '/' || strlen(folder) >= sizeof(s->folder) - 1) {
		r.text = "the route says no absolute path behind the colon";
		r.scope = META1_ABOUT_HOST;
	}
	if (r.text) {
		in->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	s->in = in;
	snprintf(s->folder, sizeof(s->folder), "%s", folder);
	in->host->finish(req, META1_OK, NULL);
}

static void ops_send(void *sess, struct meta1_req *req, const struct meta1_mail *mail)
{
	struct session *s = sess;
	const struct meta1_host *host = s->in->host;

	s->out = host->req_alloc(req, mail->nrcpt * sizeof(*s->out));
	if (!s->out) {
		finish(s, req, "no memory");
		return;
	}
	s->req = req;
	s->mail = mail;
	s->serial = ++serial;
	s->wall = host->wall(s->in->ctx);
	if (host->offload(s->in->ctx, work, done, s) == META1_OK)
		return;
	s->req = NULL;
	finish(s, req, "too much work waits");
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

/* Writing that began goes to its end: done() finishes the request, soon. */
static void ops_cancel(void *inst, struct meta1_req *req)
{
	(void)inst, (void)req;
}

/* A role that stops waits for it. */
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

META1_MODULE(transport_maildir, .kind = META1_TRANSPORT, .roles = META1_SMTPC | META1_TOOL,
    .needs = META1_S_OFFLOAD, .version = "1.0", .summary = "Mail for users with a Maildir.",
    .opt = opts, .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf),
    .open = module_open, .close = module_close, .ops = &ops);
