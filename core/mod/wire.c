/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.c -- frames over a stream socket, descriptors beside them.
 * Comes from iso.c and worker.c; goes to the kernel. Owns the socket, what is unsent with its
 * descriptors, and descriptors that came and were not taken.
 * On failure: gone() with the reason, once, never inside wire_send().
 */
#include "mod/wire.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK   (128u << 10)
#define GOT_MAX	     (4 * WIRE_FDS_MAX) /* descriptors that no frame has named yet */
#define SHORT	     1024
#define UNSENT_SHORT (2 * (size_t)WIRE_UNSENT_MAX)
#define KEEP_CAP     (256u << 10) /* of the packing buffer, between frames */

const char wire_eof[] = "closed by the peer";

struct unsent_fds { /* go with the byte that stands at `at` of all bytes ever sent */
	STAILQ_ENTRY(unsent_fds) link;
	uint64_t at;
	unsigned n;
	int fd[WIRE_FDS_MAX];
};

struct wire {
	struct loop *loop;
	struct wire_user user;
	int fd;
	struct watch *rd, *wr;
	struct task flush, fail;
	const char *why; /* it is gone, and that was not told yet */
	struct evbuffer *out;
	uint64_t queued, sent; /* bytes, ever */
	STAILQ_HEAD(, unsent_fds) fds;
	uint8_t *in;
	size_t in_len, in_cap;
	int got[GOT_MAX];
	unsigned ngot;
	struct packed pack;
	unsigned busy;
	bool closed, gone;
	bool secret; /* see wire_secret() */
};

static void write_out(struct wire *w);

/* ---- the end ---- */

static void close_fds(const int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

static void destroy(struct wire *w)
{
	struct unsent_fds *u;

	while ((u = STAILQ_FIRST(&w->fds))) {
		STAILQ_REMOVE_HEAD(&w->fds, link);
		close_fds(u->fd, u->n);
		free(u);
	}
	close_fds(w->got, w->ngot);
	task_cancel(&w->flush);
	task_cancel(&w->fail);
	loop_unwatch(&w->rd);
	loop_unwatch(&w->wr);
	close(w->fd);
	evbuffer_free(w->out);
	if (w->secret && w->in)
		explicit_bzero(w->in, w->in_cap);
	free(w->in);
	free(w->pack.b);
	free(w);
}

void wire_secret(struct wire *w)
{
	w->secret = w->pack.secret = true;
}

void wire_close(struct wire **wp)
{
	struct wire *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	if (!w->gone && !w->wr)
		write_out(w); /* the last words, if they go at once */
	w->closed = true;
	if (!w->busy)
		destroy(w);
}

static void fail_run(void *arg)
{
	struct wire *w = arg;

	w->busy++;
	w->user.gone(w->user.arg, w->why);
	w->busy--;
	if (w->closed && !w->busy)
		destroy(w);
}

static void lost(struct wire *w, const char *why)
{
	if (w->gone)
		return;
	w->gone = true;
	w->why = why;
	loop_unwatch(&w->rd);
	loop_unwatch(&w->wr);
	loop_defer(w->loop, &w->fail);
}

/* A peer that ended with words of ours unread resets the stream. */
static const char *why_lost(int err)
{
	return err == EPIPE || err == ECONNRESET ? wire_eof : strerror(err);
}

/* ---- writing ---- */

/* The bytes up to the next ones that have descriptors. */
static ssize_t send_some(struct wire *w)
{
	struct unsent_fds *u = STAILQ_FIRST(&w->fds), *next;
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} ctl = {0};
	struct iovec iov = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t most = evbuffer_get_length(w->out);
	ssize_t n;

	if (!u)
		return evbuffer_write(w->out, w->fd);
	if (u->at > w->sent)
		return evbuffer_write_atmost(w->out, w->fd, (ev_ssize_t)(u->at - w->sent));
	next = STAILQ_NEXT(u, link);
	if (next && next->at - w->sent < most)
		most = next->at - w->sent;
	iov.iov_base = evbuffer_pullup(w->out, (ev_ssize_t)(most < 4096 ? most : 4096));
	iov.iov_len = most < 4096 ? most : 4096;
	mh.msg_control = ctl.b;
	mh.msg_controllen = CMSG_SPACE(sizeof(int) * u->n);
	ctl.h.cmsg_level = SOL_SOCKET;
	ctl.h.cmsg_type = SCM_RIGHTS;
	ctl.h.cmsg_len = CMSG_LEN(sizeof(int) * u->n);
	memcpy(CMSG_DATA(&ctl.h), u->fd, sizeof(int) * u->n);
	n = sendmsg(w->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n <= 0)
		return n;
	STAILQ_REMOVE_HEAD(&w->fds, link);
	close_fds(u->fd, u->n);
	free(u);
	evbuffer_drain(w->out, (size_t)n);
	return n;
}

static void wr_ready(int fd, short what, void *arg);

static void write_out(struct wire *w)
{
	while (!w->gone && evbuffer_get_length(w->out)) {
		ssize_t n = send_some(w);

		if (n > 0) {
			w->sent += (uint64_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			lost(w, why_lost(errno));
			return;
		}
		if (!w->wr)
			w->wr = loop_fd(w->loop, w->fd, EV_WRITE, wr_ready, w);
		return;
	}
	loop_unwatch(&w->wr);
}

static void wr_ready(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	write_out(arg);
}

static void flush_run(void *arg)
{
	struct wire *w = arg;

	if (!w->wr)
		write_out(w);
}

static void wipe(const void *p, size_t n, void *arg)
{
	(void)arg;
	explicit_bzero((void *)(uintptr_t)p, n);
	free((void *)(uintptr_t)p);
}

/* In one piece that is wiped when it has left, as is what it was packed in. */
static void put_secret(struct wire *w, const struct wire_head *h)
{
	uint8_t *p = base_alloc(sizeof(*h) + h->len);

	memcpy(p, h, sizeof(*h));
	if (h->len)
		memcpy(p + sizeof(*h), w->pack.b, h->len);
	evbuffer_add_reference(w->out, p, sizeof(*h) + h->len, wipe, NULL);
	if (w->pack.b)
		explicit_bzero(w->pack.b, w->pack.cap);
}

static bool queue(struct wire *w, uint16_t type, uint32_t id, const struct shape *s,
    const void *msg, unsigned nfd)
{
	struct wire_head h = {.type = type, .nfd = (uint16_t)nfd, .id = id};

	w->pack.n = 0;
	if (s && !shape_pack(s, msg, &w->pack))
		return false;
	/* short ones always find room: who said too much can still say so */
	if (w->pack.n > WIRE_FRAME_MAX ||
	    evbuffer_get_length(w->out) > (w->pack.n > SHORT ? WIRE_UNSENT_MAX : UNSENT_SHORT))
		return false;
	h.len = (uint32_t)w->pack.n;
	if (w->secret) {
		put_secret(w, &h);
		return true;
	}
	evbuffer_add(w->out, &h, sizeof(h));
	evbuffer_add(w->out, w->pack.b, w->pack.n);
	return true;
}

bool wire_send(struct wire *w, uint16_t type, uint32_t id, const struct shape *s, const void *msg,
    int *fds, unsigned nfd)
{
	struct unsent_fds *u;
	size_t before;

	before = w ? evbuffer_get_length(w->out) : 0;
	if (!w || w->gone || nfd > WIRE_FDS_MAX || !queue(w, type, id, s, msg, nfd)) {
		close_fds(fds, nfd);
		return false;
	}
	if (nfd) {
		u = base_alloc(sizeof(*u));
		u->at = w->queued;
		u->n = nfd;
		memcpy(u->fd, fds, nfd * sizeof(int));
		STAILQ_INSERT_TAIL(&w->fds, u, link);
	}
	w->queued += evbuffer_get_length(w->out) - before;
	if (w->pack.cap > KEEP_CAP) {
		free(w->pack.b);
		w->pack = (struct packed){.secret = w->secret};
	}
	loop_flush(w->loop, &w->flush);
	return true;
}

/* ---- reading ---- */

static bool take_fds(struct wire *w, struct msghdr *mh)
{
	bool fits = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *h = CMSG_FIRSTHDR(mh); h; h = CMSG_NXTHDR(mh, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (w->ngot < GOT_MAX) {
				w->got[w->ngot++] = fd;
				continue;
			}
			close(fd);
			fits = false;
		}
	}
	return fits;
}

static ssize_t receive(struct wire *w, bool *fits)
{
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} ctl;
	struct iovec iov = {w->in + w->in_len, w->in_cap - w->in_len};
	struct msghdr mh = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = ctl.b,
	    .msg_controllen = sizeof(ctl.b)};
	ssize_t n = recvmsg(w->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*fits = n < 0 || take_fds(w, &mh);
	return n;
}

/* The frame that begins there; false: it is not whole yet, or (*bad) none. */
static bool next_frame(struct wire *w, const uint8_t *p, size_t n, struct wire_frame *f, bool *bad)
{
	struct wire_head h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	*bad = h.len > WIRE_FRAME_MAX || h.nfd > WIRE_FDS_MAX;
	if (*bad || n - sizeof(h) < h.len)
		return false;
	*bad = h.nfd > w->ngot; /* they came with its first byte */
	if (*bad)
		return false;
	*f = (struct wire_frame){
	    .type = h.type, .nfd = h.nfd, .id = h.id, .p = p + sizeof(h), .n = h.len};
	memcpy(f->fd, w->got, h.nfd * sizeof(int));
	w->ngot -= h.nfd;
	memmove(w->got, w->got + h.nfd, w->ngot * sizeof(int));
	return true;
}

static void frames(struct wire *w)
{
	struct wire_frame f;
	bool bad = false;
	size_t at = 0;

	while (!w->closed && !w->gone && next_frame(w, w->in + at, w->in_len - at, &f, &bad)) {
		at += sizeof(struct wire_head) + f.n;
		bad = !w->user.frame(w->user.arg, &f);
		close_fds(f.fd, f.nfd);
		if (bad)
			break;
	}
	memmove(w->in, w->in + at, w->in_len - at);
	w->in_len -= at;
	if (w->secret)
		explicit_bzero(w->in + w->in_len, at);
	if (bad)
		lost(w, "protocol error");
}

static void more_room(struct wire *w)
{
	size_t cap = w->in_len + READ_CHUNK;
	uint8_t *in;

	if (!w->secret) {
		w->in = base_realloc(w->in, cap);
	} else {
		in = base_alloc(cap);
		if (w->in_len)
			memcpy(in, w->in, w->in_len);
		if (w->in)
			wipe(w->in, w->in_cap, NULL);
		w->in = in;
	}
	w->in_cap = cap;
}

static bool read_some(struct wire *w)
{
	bool fits;
	ssize_t n;

	if (w->gone)
		return false;
	if (w->in_cap - w->in_len < READ_CHUNK / 2)
		more_room(w);
	n = receive(w, &fits);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || !fits) {
		lost(w, n < 0 ? why_lost(errno) : n ? "too many descriptors" : wire_eof);
		return false;
	}
	w->in_len += (size_t)n;
	w->busy++;
	frames(w);
	w->busy--;
	return !w->gone;
}

static void rd_ready(int fd, short what, void *arg)
{
	struct wire *w = arg;

	(void)fd, (void)what;
	read_some(w);
	if (w->closed && !w->busy)
		destroy(w);
}

void wire_read(struct wire *w)
{
	if (w->busy)
		return; /* inside one of its frames: the rest comes behind it */
	w->busy++;
	while (!w->closed && read_some(w))
		;
	w->busy--;
	if (w->closed && !w->busy)
		destroy(w);
}

struct wire *wire_new(struct loop *loop, int fd, const struct wire_user *user)
{
	struct wire *w = base_alloc(sizeof(*w));

	w->user = *user;
	w->loop = loop;
	w->fd = fd;
	w->out = evbuffer_new();
	STAILQ_INIT(&w->fds);
	task_init(&w->flush, flush_run, w);
	task_init(&w->fail, fail_run, w);
	w->rd = loop_fd(loop, fd, EV_READ, rd_ready, w);
	return w;
}
