/* SPDX-License-Identifier: BSD-2-Clause */
#include "liar.h"

#include "../unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void killed(void *arg, uint32_t pid)
{
	struct liar *l = arg;

	l->kills += pid == l->pid;
}

void liar_say(struct liar *l, const struct wire_head *h, const void *body, const int *fd)
{
	struct iovec iov[] = {
	    {(void *)(uintptr_t)h, sizeof(*h)}, {(void *)(uintptr_t)body, h->len}};
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} ctl = {0};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};

	if (h->nfd && fd) {
		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * h->nfd);
		ctl.h = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		ctl.h.cmsg_len = CMSG_LEN(sizeof(int) * h->nfd);
		memcpy(CMSG_DATA(&ctl.h), fd, sizeof(int) * h->nfd);
	}
	(void)!sendmsg(l->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void liar_tell(struct liar *l, uint16_t type, uint32_t id, const struct shape *s, const void *msg,
    const int *fd, uint16_t nfd)
{
	struct packed p = {0};

	assert_true(shape_pack(s, msg, &p));
	liar_say(l, &(struct wire_head){(uint32_t)p.n, type, nfd, id}, p.b, fd);
	free(p.b);
}

void liar_come(struct liar *l)
{
	const struct iso_opened opened = {.pid = ++l->pid};
	int sp[2];

	if (l->fd >= 0)
		close(l->fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sp), 0);
	l->fd = sp[1];
	liar_tell(l, ISO_OPENED, 0, &iso_shape_opened, &opened, NULL, 0);
	mod_worker_came(&l->f->host, l->worker, sp[0], l->pid, 0);
	if (l->in)
		fix_turns(l->f);
}

uint32_t liar_asked(struct liar *l)
{
	static uint8_t b[1 << 20];
	ssize_t n = recv(l->fd, b, sizeof(b), 0);
	struct wire_head h = {0};
	uint32_t id = 0;

	for (ssize_t at = 0; at + (ssize_t)sizeof(h) <= n; at += (ssize_t)(sizeof(h) + h.len)) {
		memcpy(&h, b + at, sizeof(h));
		if (h.id && h.type != ISO_CANCEL)
			id = h.id;
	}
	return id;
}

struct liar *liar_new(const char *kind)
{
	struct liar *l = base_alloc(sizeof(*l));

	fix_up((void **)&l->f);
	snprintf(l->module, sizeof(l->module), "%s_liar", kind);
	snprintf(l->worker, sizeof(l->worker), "%s_liar/x@1", kind);
	l->f->host.worker_kill = killed;
	l->f->host.worker_arg = l;
	l->iso.on = 1;
	l->fd = -1;
	liar_come(l);
	l->f->conf = conf_read_text("options", "");
	l->set = (struct settings){.conf = l->f->conf, .file = "/etc/test.conf"};
	l->sm = (struct settings_module){.use = "test",
	    .kind = kind,
	    .module = l->module,
	    .instance = "x",
	    .section = conf_root(l->f->conf),
	    .isolate = &l->iso};
	l->in = fix_await(l->f, mod_use(&l->f->host, &l->sm, &l->set, NULL, &l->f->err));
	if (!l->in)
		fail_msg("%s", l->f->err.text);
	return l;
}

void liar_free(struct liar *l)
{
	mod_close(&l->in);
	if (l->fd >= 0)
		close(l->fd);
	fix_down((void **)&l->f);
	free(l);
}
