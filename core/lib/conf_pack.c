/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_pack.c -- a configuration as it was read, for other processes to read again: the files with
 * their names, one after the other, in a sealed file without a name.
 *
 * mcp reads the files once. Its roles get this, at their start and with a reload: so all have the
 * same configuration whatever happens to the files meanwhile, and one that is started again later
 * has that which is in force, not one that somebody is just writing.
 * Comes from conf_read.c's texts (mcp), or a descriptor of mcp (roles); goes to conf_read.c, which
 * asks here in place of the file system. Owns the descriptor, with its conf.
 * On failure: no descriptor, or false, and files are read from where they are.
 *
 *	file = LENGTH-OF-NAME " " LENGTH-OF-TEXT "\n" NAME TEXT
 */
#include "conf_tree.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct conf_packed {
	const char *name;
	const char *text;
	size_t len;
	struct conf_packed *next;
};

static int write_all(struct conf *c, int fd)
{
	int keep = dup(fd);
	FILE *out = keep < 0 ? NULL : fdopen(keep, "w");
	int rc;

	if (!out) {
		if (keep >= 0)
			close(keep);
		return -1;
	}
	for (const struct conf_file *f = c->files; f; f = f->next) {
		fprintf(out, "%zu %zu\n%s", strlen(f->name), f->len, f->name);
		fwrite(f->text, 1, f->len, out);
	}
	rc = ferror(out) ? -1 : 0;
	return fclose(out) < 0 ? -1 : rc;
}

int conf_pack(struct conf *c)
{
	if (c->pack_fd >= 0)
		return c->pack_fd;
	c->pack_fd = memfd_create("meta1.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->pack_fd >= 0 && write_all(c, c->pack_fd) == 0 &&
	    fcntl(c->pack_fd, F_ADD_SEALS,
		F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return c->pack_fd;
	if (c->pack_fd >= 0)
		close(c->pack_fd);
	return c->pack_fd = -1;
}

/* A number and the byte behind it. NULL: it is none. */
static const char *number(const char *p, char behind, size_t *out)
{
	char *end;

	*out = strtoull(p, &end, 10);
	return end > p && *end == behind ? end + 1 : NULL;
}

/* The texts lie in the conf, each with a NUL behind. */
static bool take(struct conf *c, const char *all, size_t size)
{
	struct conf_packed **tail = &c->packed;
	const char *end = all + size;

	for (const char *p = all; p < end;) {
		struct conf_packed *f = conf_alloc(c, sizeof(*f));
		size_t name, len;

		if (!(p = number(p, ' ', &name)) || !(p = number(p, '\n', &len)))
			return false;
		if (name > (size_t)(end - p) || len > (size_t)(end - p) - name)
			return false;
		f->name = conf_printf(c, "%.*s", (int)name, p);
		f->text = p + name;
		f->len = (size_t)len;
		p += name + len;
		*tail = f;
		tail = &f->next;
	}
	return c->packed != NULL;
}

bool conf_unpack(struct conf *c, int fd, const char *file)
{
	struct stat st;
	char *all;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 ||
	    st.st_size > (off_t)CONF_FILES * CONF_FILE_MAX)
		return false;
	all = conf_alloc(c, (size_t)st.st_size + 1); /* with a NUL, which strtoull() needs */
	if (pread(fd, all, (size_t)st.st_size, 0) == st.st_size &&
	    take(c, all, (size_t)st.st_size) && strcmp(c->packed->name, file) == 0)
		return true;
	c->packed = NULL;
	return false;
}

char *conf_packed_text(const struct conf *c, const char *name, size_t *len)
{
	for (const struct conf_packed *f = c->packed; f; f = f->next)
		if (strcmp(f->name, name) == 0) {
			*len = f->len;
			return base_strndup(f->text, f->len);
		}
	return NULL;
}

/* As glob(): sorted by bytes, each once. */
const char *conf_packed_next(const struct conf *c, const char *pattern, const char *after)
{
	const char *next = NULL;

	for (const struct conf_packed *f = c->packed; f; f = f->next)
		if ((!after || strcmp(f->name, after) > 0) &&
		    (!next || strcmp(f->name, next) < 0) &&
		    fnmatch(pattern, f->name, FNM_PATHNAME | FNM_PERIOD) == 0)
			next = f->name;
	return next;
}
