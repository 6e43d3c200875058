/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_fd.c -- descriptors that mcp gives a role to keep, listening sockets above all.
 *
 * Comes from: role_mcp.c (FD_PASS at the start; before step 1 of a reload that changes listeners,
 * all of them, in their order). Goes to: role->fd. A socket is known by its inode: one that is
 * there already stays under its descriptor, so that whoever watches it goes on undisturbed.
 * Owns: the descriptors in role->fd, those that wait for the commit, and those that went with it
 * until the role has emptied them.
 */
#include "role_run.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void copy(char *dst, size_t size, struct meta1_buf b)
{
	size_t n = b.len < size ? b.len : size - 1;

	memcpy(dst, b.data ? b.data : "", n);
	dst[n] = '\0';
}

static void append(struct role_fds *to, const struct role_fd *f)
{
	to->fd = base_realloc(to->fd, sizeof(*to->fd) * (to->n + 1));
	to->fd[to->n++] = *f;
}

static void clear(struct role_fds *all)
{
	while (all->n > 0)
		close(all->fd[--all->n].fd);
	free(all->fd);
	all->fd = NULL;
}

static bool listens(const struct role_fd *f)
{
	return strcmp(f->kind, "listen") == 0;
}

void role_fd_take(struct role_run *r, const struct p_fd_pass *m, int fd)
{
	struct role *role = r->role;
	struct role_fds now = {role->fd, role->nfd};
	struct role_fd f = {.fd = fd};

	copy(f.kind, sizeof(f.kind), m->kind);
	copy(f.name, sizeof(f.name), m->name);
	if (!r->begun && role->section) {
		append(&now, &f);
		role->fd = now.fd;
		role->nfd = now.n;
	} else if (r->begun && listens(&f)) {
		append(&r->late, &f);
	} else {
		close(fd);
	}
}

unsigned role_fd_listeners(const struct role *role)
{
	unsigned n = 0;

	for (unsigned i = 0; i < role->nfd; i++)
		n += listens(&role->fd[i]);
	return n;
}

void role_fd_deaf(struct role_run *r)
{
	struct role *role = r->role;
	unsigned n = 0;

	for (unsigned i = 0; i < role->nfd; i++)
		if (listens(&role->fd[i]))
			close(role->fd[i].fd);
		else
			role->fd[n++] = role->fd[i];
	role->nfd = n;
}

static bool same_socket(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

bool role_fd_turn(struct role_run *r)
{
	struct role *role = r->role;
	struct role_fds next = {NULL, 0};

	if (r->late.n == 0)
		return false;
	for (unsigned i = 0; i < role->nfd; i++)
		if (!listens(&role->fd[i]))
			append(&next, &role->fd[i]);
	for (unsigned k = 0; k < r->late.n; k++) {
		struct role_fd f = r->late.fd[k];

		for (unsigned i = 0; i < role->nfd; i++) {
			if (!listens(&role->fd[i]) || !same_socket(role->fd[i].fd, f.fd))
				continue;
			close(f.fd);
			f = role->fd[i];
			role->fd[i].kind[0] = '\0'; /* it stays */
		}
		append(&next, &f);
	}
	for (unsigned i = 0; i < role->nfd; i++)
		if (listens(&role->fd[i]))
			append(&r->gone, &role->fd[i]);
	free(role->fd);
	role->fd = next.fd;
	role->nfd = next.n;
	r->late.n = 0;
	clear(&r->late);
	return true;
}

void role_fd_turned(struct role_run *r)
{
	clear(&r->late);
	clear(&r->gone);
}
