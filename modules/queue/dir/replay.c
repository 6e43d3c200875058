/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c -- the lines of state/outcomes.N become a table; on a worker, at start, or for fsck.
 *
 * A bad line at the end of all is a torn one; one behind which a later piece begins was synced
 * once: damage, named, and passed over. What it said may be done again.
 * Comes from: state/. Goes to: backlog.c, fsck.c. Owns: the table until it is handed over.
 * On failure: only lack of memory and a folder that cannot be read stop it, for a while.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (256u << 10) /* more than any line has */

static char *field(char **p)
{
	char *f = *p, *end = f != NULL ? strchr(f, ' ') : NULL;

	if (end != NULL)
		*end++ = '\0';
	*p = end;
	return f;
}

static uint64_t number(char **p, int base)
{
	const char *f = field(p);

	return f != NULL ? strtoull(f, NULL, base) : 0;
}

static struct meta1_buf text(char **p)
{
	char *f = field(p);

	return f != NULL ? (struct meta1_buf){f, text_unword(f)} : (struct meta1_buf){"", 0};
}

/* A recipient's; it is none that a writer of ours would say when it does not fit. */
static bool take_state(struct replay *p, struct rec *r, char *rest)
{
	struct said x = {.rcpt = (uint32_t)number(&rest, 10)};
	struct rst s = {.reason = 0};
	struct meta1_buf why;
	uint32_t nrcpt;
	bool first;

	x.state = (uint32_t)number(&rest, 10);
	x.tries = s.tries = (uint32_t)number(&rest, 10);
	s.next_try = (int64_t)number(&rest, 10);
	x.time = (int64_t)number(&rest, 10);
	why = text(&rest);
	x.by = text(&rest);
	x.id = text(&rest).data;
	x.addr = text(&rest);
	x.from = text(&rest);
	x.bytes = number(&rest, 10);
	nrcpt = (uint32_t)number(&rest, 10);
	r->after = r->after != 0 ? r->after : number(&rest, 16);
	if (x.time > r->last && x.time <= UINT32_MAX)
		r->last = (uint32_t)x.time;
	if (r->dead)
		return true;
	if (x.state > META1_R_DELETED || x.rcpt >= DIR_NRCPT_MAX || nrcpt > DIR_NRCPT_MAX ||
	    (r->nrcpt > 0 && x.rcpt >= r->nrcpt) || (nrcpt > 0 && x.rcpt >= nrcpt))
		return false;
	if (nrcpt > 0 && r->nrcpt == 0)
		table_admit(&p->t, r, nrcpt);
	if (!table_room(r, x.rcpt)) {
		p->err = ENOMEM;
		return true;
	}
	s.state = x.state & 0xff;
	first = r->st[x.rcpt].state == META1_R_WAITING;
	table_state(&p->t, r, x.rcpt, &s, why);
	if (p->final != NULL && first && x.state != META1_R_WAITING && *x.id != '\0')
		p->final(p->arg, r, &x);
	return true;
}

/* The part behind the sum, checked. */
static bool take(struct replay *p, char *rest)
{
	uint64_t writer = number(&rest, 10), n = number(&rest, 16);
	struct rec *r;

	if (writer > DIR_QM || (n & 0xff) != writer || rest == NULL)
		return false;
	if (strcmp(rest, "seen") == 0) {
		if (p->cursor != NULL)
			p->cursor(p->arg, (uint32_t)writer, n);
		return true;
	}
	r = table_add(&p->t, (uint32_t)writer, n);
	if (r == NULL)
		p->err = ENOMEM;
	else if (strcmp(rest, "done") == 0)
		table_dead(&p->t, r);
	else
		return take_state(p, r, rest);
	return true;
}

static bool good(const char *line, size_t len)
{
	uint64_t sum;
	char hex[17];

	if (len < 20 || line[16] != ' ')
		return false;
	memcpy(hex, line, 16);
	hex[16] = '\0';
	sum = strtoull(hex, NULL, 16);
	return sum == text_sum(line + 17, len - 17 + 1); /* with its newline */
}

/* The whole lines of a chunk that stands at off; how many bytes they are. */
static size_t read_lines(struct replay *p, char *b, size_t len, uint64_t off, bool *bad)
{
	size_t at = 0, n;

	for (;;) {
		char *end, *hole;

		while (at < len && (b[at] == '\0' || b[at] == ' ')) /* room that was never used */
			at++;
		end = memchr(b + at, '\n', len - at);
		if (end == NULL || p->err != 0)
			return at;
		n = (size_t)(end - b) - at;
		hole = memchr(b + at, '\0', n);
		if (hole != NULL) { /* it ends in room that was never used */
			*bad = true;
			at = (size_t)(hole - b);
			continue;
		}
		*end = '\0';
		/* A piece begins here: what was before it had been synced. */
		if (n == 1 && b[at] == '#' && (off + at) % JOURNAL_ALIGN == 0) {
			p->damaged += *bad;
			*bad = false;
		} else if (n > 0) {
			*end = '\n';
			if (!good(b + at, n)) {
				*bad = true;
			} else if (p->line != NULL) {
				p->line(p->arg, b + at, n + 1);
			} else {
				*end = '\0';
				p->damaged += !take(p, b + at + 17);
			}
		}
		at += n + 1;
	}
}

static void read_all(struct replay *p, int fd, char *b)
{
	size_t len = 0, used;
	uint64_t off = 0;
	bool bad = false;

	while (p->err == 0) {
		uint64_t from = bytes_from(fd, off + len);
		ssize_t n;

		if (from == UINT64_MAX)
			return;
		if (from > off + len) { /* a line that was begun before has no end */
			bad = bad || len > 0;
			len = 0;
			off = from;
		}
		n = pread(fd, b + len, CHUNK - len, (off_t)(off + len));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			p->damaged++;
		if (n <= 0)
			return; /* what is left is a torn line */
		len += (size_t)n;
		used = read_lines(p, b, len, off, &bad);
		if (used == 0 && len == CHUNK) { /* no line of ours is so long */
			used = len;
			bad = true;
		}
		memmove(b, b + used, len - used);
		len -= used;
		off += used;
	}
}

void replay_file(struct replay *p, const char *name, bool sync)
{
	int fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC);
	char *b = fd >= 0 ? malloc(CHUNK) : NULL;

	if (fd < 0) {
		p->err = errno;
		return;
	}
	if (b == NULL)
		p->err = ENOMEM;
	else
		read_all(p, fd, b);
	/* What a killed qmgr left is in memory only, perhaps; files are removed on its word now. */
	if (sync && p->err == 0 && fdatasync(fd) < 0)
		p->damaged++;
	close(fd);
	free(b);
}

uint64_t replay_end(int fd, uint64_t serial)
{
	uint64_t off = 0, end = 0;
	char b[16384];
	ssize_t n = 0;

	(void)serial;
	while ((off = bytes_from(fd, off)) != UINT64_MAX &&
	       (n = pread(fd, b, sizeof(b), (off_t)off)) > 0) {
		for (ssize_t i = n; i > 0 && end <= off; i--)
			if (b[i - 1] != '\0')
				end = off + (uint64_t)i;
		off += (uint64_t)n;
	}
	return n < 0 ? UINT64_MAX : end;
}

/* ---- packed ---- */

struct packing {
	struct bytes out;
	int to, err;
	uint64_t off;
};

static void pack_piece(struct packing *k)
{
	if (k->out.bad)
		k->err = ENOMEM;
	if (k->err == 0)
		k->err = bytes_write(k->to, k->out.b, k->out.len, k->off);
	k->off += (k->out.len + JOURNAL_ALIGN - 1) & ~(uint64_t)(JOURNAL_ALIGN - 1);
	k->out.len = 0;
}

static void pack_line(void *arg, const char *line, size_t len)
{
	struct packing *k = arg;

	if (k->out.len == 0)
		bytes_add(&k->out, "#\n", 2);
	bytes_add(&k->out, line, len);
	if (k->out.len >= CHUNK)
		pack_piece(k);
}

int replay_pack(int from, int to, uint64_t serial)
{
	struct packing k = {.to = to};
	struct replay p = {.line = pack_line, .arg = &k};
	char *b = malloc(CHUNK);

	(void)serial;
	if (b == NULL)
		return ENOMEM;
	read_all(&p, from, b);
	pack_piece(&k);
	free(b);
	free(k.out.b);
	return p.damaged > 0 ? EIO : k.err;
}

void replay_work(void *arg)
{
	struct replay *p = arg;
	uint64_t *v;
	size_t n;

	p->fd = -1;
	p->serial = 1;
	if (serial_list(p->dir, OUTCOMES, &v, &n) < 0) {
		p->err = errno;
		return;
	}
	for (size_t i = 0; i < n && p->err == 0; i++) {
		char name[40];

		serial_name(name, OUTCOMES, v[i]);
		replay_file(p, name, true);
		p->serial = v[i] + 1;
	}
	free(v);
	if (p->err == 0 && folder_writers(p->qfd, p->folder, &p->nfolder) < 0)
		p->err = errno;
	if (p->err == 0)
		p->fd = journal_make(p->dir, OUTCOMES, p->serial, p->size);
}
