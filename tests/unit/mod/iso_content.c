/* SPDX-License-Identifier: BSD-2-Clause */
/* What a transport's worker gets of a mail that stands in a file among others: its content, which
 * nobody can change meanwhile, and no way to the rest of the file. What the copies hold is bounded,
 * and a request that is cancelled in the middle harms nobody. */
#include "liar.h"

#include "../until.h"
#include "mod/iso_bytes.h"

#include <fcntl.h>
#include <meta1/transport.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define OTHER "another mail of somebody else\r\n"
#define MB    (1u << 20)

struct mail {
	struct meta1_req *req;
	void *sess;
	struct meta1_extent e[2];
	struct meta1_mail m;
	unsigned times;
	enum meta1_status st;
};
struct world {
	struct liar *l;
	const struct meta1_transport_ops *ops;
	int store; /* OTHER, then zeros or text, then OTHER */
	struct mail mail[3];
	/* the last frame */
	struct wire_head h;
	uint8_t *body;
	size_t cap;
	int fd[WIRE_FDS_MAX];
	struct iso_tr_send got;
	struct pool pool;
};

static void forget(struct world *w)
{
	for (unsigned k = 0; k < w->h.nfd; k++)
		close(w->fd[k]);
	w->h.nfd = 0;
	pool_clear(&w->pool);
}

static int up(void **state)
{
	struct world *w = base_alloc(sizeof(*w));
	char name[] = "/tmp/meta1-store-XXXXXX";

	w->l = liar_new("transport");
	w->ops = mod_ops(w->l->in);
	w->store = mkstemp(name);
	assert_true(w->store >= 0);
	unlink(name);
	pool_init(&w->pool, ISO_POOL_MAX);
	*state = w;
	return 0;
}

static int down(void **state)
{
	struct world *w = *state;

	forget(w);
	for (unsigned i = 0; i < ARRAY_LEN(w->mail); i++) {
		mod_req_cancel(&w->mail[i].req);
		if (w->mail[i].sess)
			w->ops->shut(&w->mail[i].sess);
	}
	liar_free(w->l);
	close(w->store);
	free(w->body);
	free(w);
	return 0;
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct mail *m = arg;

	(void)r;
	m->times++;
	m->st = st;
	m->req = NULL;
}

static void result(void *arg, uint32_t i, enum meta1_status st, const struct meta1_reply *r)
{
	(void)arg, (void)i, (void)st, (void)r;
}

static void request(struct world *w, struct mail *m)
{
	m->times = 0;
	m->req = mod_req(w->l->in, loop_now(w->l->f->host.loop) + 1000, said, m);
	assert_non_null(m->req);
}

/* The next frame that the role sends, with its descriptors; false: there is none, after a while or,
 * where it is not to come, some turns. */
static bool take(struct world *w, bool comes)
{
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} ctl = {0};
	struct iovec iov = {&w->h, sizeof(w->h)};
	struct msghdr mh = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl)};
	ssize_t n = -1;

	forget(w);
	for (int i = 0; i < (comes ? 10000 : 50) && n < 0; i++) {
		loop_turn(w->l->f->host.loop, false);
		n = recvmsg(w->l->fd, &mh, MSG_DONTWAIT);
		if (n < 0)
			usleep(1000);
	}
	if (n != sizeof(w->h))
		return false;
	if (w->h.nfd)
		memcpy(w->fd, CMSG_DATA(&ctl.h), w->h.nfd * sizeof(int));
	w->body = base_realloc(w->body, w->h.len + 1);
	for (size_t at = 0; at<w->h.len; at += n> 0 ? (size_t)n : 0) {
		loop_turn(w->l->f->host.loop, false);
		n = recv(w->l->fd, w->body + at, w->h.len - at, MSG_DONTWAIT);
	}
	return true;
}

static void open_session(struct world *w, struct mail *m)
{
	const struct meta1_hop hop = {
	    .size = sizeof(hop), .host = "hop.test", .addr = "192.0.2.1", .port = 25};
	const struct iso_tr_answer yes = {.status = META1_OK, .usable = 1};

	request(w, m);
	w->ops->open(mod_data(w->l->in), m->req, &hop, &m->sess);
	do
		assert_true(take(w, true));
	while (w->h.type != ISO_TR_OPEN);
	liar_tell(w->l, ISO_ANSWER, w->h.id, &iso_shape_tr_answer, &yes, NULL, 0);
	for (int i = 0; i < 10000 && !m->times; i++)
		loop_turn(w->l->f->host.loop, false);
	assert_int_equal(m->st, META1_OK);
}

/* A mail of so many bytes between those of others. */
static void send_mail(struct world *w, struct mail *m, size_t len)
{
	static const struct meta1_rcpt rcpt = {.addr = {"a@b.test", 8}};
	size_t other = strlen(OTHER);

	m->e[0] = (struct meta1_extent){.mem = "Received: x\r\n", .len = 13, .fd = -1};
	m->e[1] = (struct meta1_extent){.off = other, .len = len, .fd = w->store};
	m->m = (struct meta1_mail){.size = sizeof(m->m),
	    .nrcpt = 1,
	    .sizeof_rcpt = sizeof(rcpt),
	    .id = "1",
	    .rcpt = &rcpt,
	    .extent = m->e,
	    .nextent = 2,
	    .bytes = len + 13};
	assert_int_equal(ftruncate(w->store, 0), 0);
	assert_int_equal(pwrite(w->store, OTHER, other, 0), other);
	assert_int_equal(pwrite(w->store, "the mail", 8, (off_t)other), 8);
	assert_int_equal(pwrite(w->store, OTHER, other, (off_t)(other + len)), other);
	request(w, m);
	mod_req_rcpts(m->req, result, 1);
	w->ops->send(m->sess, m->req, &m->m);
}

static void unpack(struct world *w)
{
	assert_int_equal(w->h.type, ISO_TR_SEND);
	w->body[w->h.len] = 0;
	assert_true(shape_unpack(&iso_shape_tr_send, w->body, w->h.len, &w->pool, &w->got));
	assert_int_equal(w->got.npiece, 2);
	assert_int_equal(w->got.piece[0].mem.len, 13);
}

static bool holds(const void *p, size_t n, const char *text)
{
	return memmem(p, n, text, strlen(text)) != NULL;
}

/* In the frame, and nothing of the others. */
static void test_short(void **state)
{
	static const size_t len[] = {8, 1000, 30000, 64 * 1024, 0};
	struct world *w = *state;

	open_session(w, &w->mail[0]);
	for (size_t i = 0; i < ARRAY_LEN(len); i++) {
		const struct iso_tr_answer yes = {.status = META1_OK, .usable = 1};

		send_mail(w, &w->mail[0], len[i]);
		assert_true(take(w, true));
		unpack(w);
		assert_int_equal(w->got.piece[1].len, len[i]);
		assert_false(holds(w->body, w->h.len, OTHER));
		assert_int_equal(
		    w->h.nfd, len[i] == 64 * 1024); /* with the first piece it is too long */
		if (!w->h.nfd)
			assert_memory_equal(w->got.piece[1].mem.data, "the mail", len[i] ? 8 : 0);
		liar_tell(w->l, ISO_ANSWER, w->h.id, &iso_shape_tr_answer, &yes, NULL, 0);
		for (int k = 0; k < 10000 && !w->mail[0].times; k++)
			loop_turn(w->l->f->host.loop, false);
		assert_int_equal(w->mail[0].st, META1_OK);
	}
}

/* By a descriptor of memory that has the content alone, is not the store's, and is sealed. */
static void test_long(void **state)
{
	struct world *w = *state;
	struct stat st, own;
	char link[64], *all;
	uint64_t bytes;

	open_session(w, &w->mail[0]);
	send_mail(w, &w->mail[0], 3 * MB);
	assert_true(take(w, true));
	unpack(w);
	assert_int_equal(w->h.nfd, 1);
	assert_int_equal(w->got.piece[1].fd, 0);
	assert_int_equal(w->got.piece[1].off, 0);
	assert_int_equal(w->got.piece[1].len, 3 * MB);
	assert_int_equal(fstat(w->fd[0], &st), 0);
	assert_int_equal(fstat(w->store, &own), 0);
	assert_false(st.st_dev == own.st_dev && st.st_ino == own.st_ino);
	assert_int_equal(st.st_size, 3 * MB);
	assert_true(iso_bytes_sealed(w->fd, 1, &bytes));
	assert_int_equal(fcntl(w->fd[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", w->fd[0]);
	all = base_alloc(3 * MB);
	assert_int_equal(pread(w->fd[0], all, 3 * MB, 0), 3 * MB);
	assert_memory_equal(all, "the mail", 8);
	assert_false(holds(all, 3 * MB, OTHER));
	free(all);
	int again = open(link, O_RDWR);

	if (again >= 0) { /* it may open it: it cannot write */
		assert_true(pwrite(again, "x", 1, 0) < 0);
		close(again);
	}
}

/* The second waits until the worker has answered the first, which is all that there may be. */
static void test_bounded(void **state)
{
	const struct iso_tr_answer yes = {.status = META1_OK, .usable = 1};
	struct world *w = *state;

	for (unsigned i = 0; i < 3; i++)
		open_session(w, &w->mail[i]);
	send_mail(w, &w->mail[0], 40 * MB);
	assert_true(take(w, true));
	unpack(w);
	send_mail(w, &w->mail[1], 40 * MB);
	send_mail(w, &w->mail[2], 40 * MB);
	uint32_t first = w->h.id;

	assert_false(take(w, false));
	mod_req_cancel(&w->mail[1].req); /* one that waits */
	liar_tell(w->l, ISO_ANSWER, first, &iso_shape_tr_answer, &yes, NULL, 0);
	assert_true(take(w, true));
	unpack(w);
	assert_int_equal(w->mail[0].times, 1);
	assert_int_equal(w->mail[0].st, META1_OK);
	assert_int_equal(w->mail[1].times, 0);
	liar_tell(w->l, ISO_ANSWER, w->h.id, &iso_shape_tr_answer, &yes, NULL, 0);
	for (int i = 0; i < 10000 && !w->mail[2].times; i++)
		loop_turn(w->l->f->host.loop, false);
	assert_int_equal(w->mail[2].st, META1_OK);
}

/* In the middle of a copy: the next mail of the session goes, and a worker that ended is said. */
static void test_cancelled_and_ended(void **state)
{
	struct world *w = *state;
	struct mail *m = &w->mail[0];

	open_session(w, m);
	send_mail(w, m, 8 * MB);
	assert_int_equal(w->ops->past_dot(m->sess), 0);
	mod_req_cancel(&m->req);
	send_mail(w, m, 100);
	assert_true(take(w, true));
	unpack(w);
	assert_int_equal(w->got.piece[1].len, 100);
	mod_req_cancel(&m->req);
	send_mail(w, m, 8 * MB);
	close(w->l->fd);
	w->l->fd = -1;
	LOOP_UNTIL(w->l->f->host.loop, m->times);
	assert_int_equal(m->times, 1);
	assert_int_equal(m->st, META1_TEMPFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_short, up, down),
	    cmocka_unit_test_setup_teardown(test_long, up, down),
	    cmocka_unit_test_setup_teardown(test_bounded, up, down),
	    cmocka_unit_test_setup_teardown(test_cancelled_and_ended, up, down)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
