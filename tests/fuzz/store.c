/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c -- fuzz target of what modules/queue/log reads from disk. The first byte chooses:
 *	r  the rest is a record, a notice, a reference, a name: none has a checksum of its own
 *	j  the rest is a script of journal and checkpoint frames (replay.c, frame.c, table.c)
 *	s  the rest is a script of segments' batches (scan.c, seg.c)
 * Scripts are sealed with right checksums, so that hostile values get behind them, and then
 * spoilt where they say so. What nobody spoilt is found again whole; the rest is
 * damage, named, and the end is always reached.
 */
#include "fuzz.h"

#include "../../modules/queue/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct in { /* what is left of the input; 0 for ever at its end */
	const uint8_t *p;
	size_t n;
};

static uint8_t take(struct in *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

static struct meta1_buf take_bytes(struct in *in, size_t n)
{
	struct meta1_buf b = {in->p, n < in->n ? n : in->n};

	in->p += b.len;
	in->n -= b.len;
	return b;
}

/* ---- r: records ---- */

static void envelope_again(const struct seg_msg *m)
{
	struct meta1_qrcpt *v = calloc(m->r.nrcpt, sizeof(*v));
	struct meta1_env e = {.size = sizeof(e),
	    .nrcpt = m->r.nrcpt,
	    .sizeof_rcpt = sizeof(*v),
	    .flags = m->r.flags,
	    .from = m->from,
	    .client = m->client,
	    .rcpt = v,
	    .time = m->r.time,
	    .bytes = m->r.bytes,
	    .envid = m->envid};
	struct seg_msg two;
	size_t n;
	uint8_t *b;

	seg_rcpts(m, v);
	n = strlen(m->id) == m->r.idlen ? seg_rec_size(m->id, &e) : 0;
	if (n > 0) {
		b = malloc(n);
		seg_rec_encode(b, n, m->id, &e);
		must(seg_rec_decode(b, n, &two) == 0 && strcmp(two.id, m->id) == 0);
		must(two.from.len == m->from.len && two.r.nrcpt == m->r.nrcpt);
		must(memcmp(two.from.data, m->from.data, m->from.len) == 0);
		must(two.r.bytes == m->r.bytes && two.r.time == m->r.time);
		must(two.envid.len == m->envid.len && two.r.ndsn <= m->r.ndsn);
		free(b);
	}
	free(v);
}

static void records(const uint8_t *p, size_t n)
{
	struct meta1_ref ref = {.len = (uint32_t)(n < META1_REF_MAX ? n : META1_REF_MAX)};
	struct jtext text;
	struct log_notice notice;
	struct log_ref lr;
	struct seg_msg m;
	struct jrec j;
	char name[24] = "";
	uint64_t number;
	size_t left = n;
	const uint8_t *at = p;

	if (seg_rec_decode(p, n, &m) == 0)
		envelope_again(&m);
	while (frame_next(&at, &left, &j, &text)) {
		must(at <= p + n && left == (size_t)(p + n - at));
		must((const uint8_t *)text.from.data + text.from.len <= at);
	}
	if (seg_notice((struct meta1_buf){p, n}, &notice) == 0)
		must(pos_cmp(seg_before(&notice), seg_after(&notice)) <= 0 ||
		     notice.next <= notice.off);
	memcpy(ref.b, p, ref.len);
	if (seg_unref(&ref, &lr) == 0)
		must(lr.writer <= LOG_QM);
	memcpy(name, p, n < sizeof(name) - 1 ? n : sizeof(name) - 1);
	if (seg_parse(name, &number) != 0) {
		char again[24];

		seg_name(again, name[0], number);
		must(strcmp(name, again) == 0);
	}
}

/* ---- a store's folders ---- */

static char root[64];
static int qfd = -1, state = -1, folder = -1, lock = -1;

static int unlink_it(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static void remove_root(void)
{
	nftw(root, unlink_it, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_folder(const char *name)
{
	int fd;

	must(mkdirat(qfd, name, 0700) == 0);
	fd = openat(qfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

/* Once; in memory where there is such a file system, because damage is synced. */
static void make_root(void)
{
	static const char *const where[] = {"/dev/shm", "/tmp"};

	for (size_t i = 0; qfd < 0 && i < 2; i++) {
		snprintf(root, sizeof(root), "%s/meta1-fuzz.XXXXXX", where[i]);
		if (mkdtemp(root))
			qfd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	must(qfd >= 0);
	atexit(remove_root);
	state = make_folder("state");
	close(make_folder("in"));
	folder = make_folder("in/1");
	lock = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(lock >= 0);
}

static void write_at(int fd, const void *p, size_t n, uint64_t off)
{
	must(pwrite(fd, p, n, (off_t)off) == (ssize_t)n);
}

static int make_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0);
	return fd;
}

/* ---- j: journal and checkpoint ---- */

enum { F_CKPT = 1, F_SPOIL = 2, F_HOLE = 4 };

static void put_record(struct in *in, struct bytes *b)
{
	uint8_t how = take(in);
	struct jtext text = {.by = {"by", 2}};
	struct jrec r = {.type = take(in)};
	size_t at;

	r.writer = take(in) | (how & 1u) << 8;
	r.idx = take(in);
	r.rcpt = take(in) | (how & 2u) << 12; /* a record of a million recipients is only slow */
	r.state = take(in) % 8;
	r.tries = take(in);
	r.seg = take(in) % 4;
	r.off = take(in) % 4 * LOG_ALIGN;
	r.own = take(in) % 4;
	r.next_try = how & 4 ? INT64_MIN : take(in);
	r.nrcpt = r.rcpt;
	r.bytes = r.off;
	text.reason = take_bytes(in, take(in));
	at = b->len > 0 ? b->len : FRAME_HEAD;
	must(frame_put(b, &r, &text));
	if (how & 8) { /* lengths that are not those of the record */
		b->b[at + offsetof(struct jrec, len)] = take(in);
		b->b[at + offsetof(struct jrec, reasonlen)] = take(in);
		b->b[at + offsetof(struct jrec, reasonlen) + 1] = take(in);
	}
}

/* Returns whether anything was spoilt. */
static bool put_frames(struct in *in, int journal, int ckpt)
{
	uint64_t off[2] = {0, 0};
	bool spoilt = false;

	while (in->n > 0) {
		uint8_t how = take(in), n = take(in) % 8;
		int k = how & F_CKPT ? 1 : 0;
		struct bytes b = {0};
		size_t len;

		for (unsigned i = 0; i <= n; i++)
			put_record(in, &b);
		off[k] += how & F_HOLE ? LOG_ALIGN : 0;
		len = frame_seal(&b, k ? ~1ull : 1, off[k], 0);
		if (how & F_SPOIL)
			b.b[take(in) % b.len] ^= 1;
		write_at(k ? ckpt : journal, b.b, len, off[k]);
		off[k] += len;
		spoilt = spoilt || (how & (F_HOLE | F_SPOIL));
		free(b.b);
	}
	return spoilt;
}

static void table_holds(struct table *t)
{
	size_t n = 0, admitted = 0, live = 0;

	for (uint32_t i = 1; i <= t->top; i++) {
		const struct mrec *r = table_at(t, i);
		uint32_t final = 0;

		if (!r->used)
			continue;
		n++;
		must(table_find(t, r->writer, r->seg, table_boff(r), r->idx) == i);
		must(table_by_key(t, table_key(t, i)) == i);
		must(!table_final(r));
		for (uint32_t k = 0; k < table_nrst(r) && k < r->nrcpt; k++)
			final += table_rst(r, k)->state != META1_R_WAITING;
		must(r->nrcpt == 0 || r->nfinal == final);
		admitted += (r->nrcpt > 0) + (r->own != 0);
	}
	must(n == t->mcount);
	for (size_t i = 0; i < t->ucap; i++)
		for (struct unit *u = t->uh[i]; u != NULL; u = u->hnext)
			live += u->live;
	must(live == admitted);
	for (struct unit *u = t->dead; u != NULL; u = u->next)
		must(u->dead && table_unit(t, u->writer, u->number, false) == u);
}

static void journals(struct in *in)
{
	uint8_t flags = take(in);
	int journal = make_file(state, "journal.0000000000000001");
	int ckpt = make_file(state, "checkpoint.0000000000000001");
	struct store l = {.qfd = qfd};
	struct manager m = {.l = &l, .dir = state};
	/* No room is asked for: the new journal is refused at the end, nothing stays. */
	struct replay p = {.m = &m, .dir = state, .qfd = qfd};
	bool spoilt = put_frames(in, journal, ckpt);

	close(journal);
	close(ckpt);
	if (flags & 1)
		unlinkat(state, "checkpoint.0000000000000001", 0);
	replay_work(&p);
	must(!p.refuse || p.err == 0);
	must(strlen(p.damage) < sizeof(p.damage));
	must(spoilt || !strstr(p.damage, "records are damaged"));
	if (p.t != NULL && !p.refuse)
		table_holds(p.t);
	if (p.fd >= 0)
		close(p.fd);
	if (p.t != NULL)
		table_free(&p.t);
	free(p.cur);
	free(p.order);
}

/* ---- s: segments ---- */

enum { B_HEAD = 1, B_TABLE = 2, B_CONTENT = 4, B_NEXT = 8, B_HOLE = 16, B_RECORD = 32, B_OWN = 64 };

struct seg_out { /* a segment being written */
	int fd;
	uint64_t seg, off, prev_seg, prev_off, batch;
};

static void next_segment(struct seg_out *o)
{
	char name[24];

	if (o->fd >= 0) {
		close(o->fd);
		o->prev_seg = o->seg;
		o->prev_off = o->off;
	}
	seg_name(name, 's', ++o->seg);
	o->fd = make_file(folder, name);
	o->off = o->batch = 0;
}

/* A record at b; its content goes to *content, whose length is *len. Returns its length. */
static size_t put_message(struct in *in, uint8_t *b, uint8_t *content, uint64_t *len, bool own)
{
	struct meta1_qrcpt rcpt[4];
	struct meta1_env e = {.size = sizeof(e), .sizeof_rcpt = sizeof(rcpt[0]), .rcpt = rcpt};
	struct meta1_buf body;
	struct seg_rec r;
	size_t n;

	e.nrcpt = 1 + take(in) % 4;
	e.from = take_bytes(in, take(in) % 32);
	for (uint32_t i = 0; i < e.nrcpt; i++)
		rcpt[i] = (struct meta1_qrcpt){.addr = take_bytes(in, take(in) % 32)};
	n = seg_rec_size("S1", &e);
	must(n > 0);
	seg_rec_encode(b, n, "S1", &e);
	body = take_bytes(in, take(in));
	memcpy(&r, b, sizeof(r));
	memcpy(content, body.data, body.len);
	r.clen = *len = body.len;
	r.unit = own ? 9 : 0;
	memcpy(b, &r, sizeof(r));
	return n;
}

/* Writes one batch; the number of its messages. *bad: something of it was spoilt. */
static unsigned put_batch(struct in *in, struct seg_out *o, uint8_t how, bool *bad)
{
	static uint8_t all[65536], content[4][256];
	unsigned n = 1 + take(in) % 4;
	uint64_t len[4];
	size_t at = SEG_HEAD, rec[4];
	struct seg_head h = {.nmsg = n,
	    .seg = o->seg,
	    .off = o->off,
	    .batch = o->batch++,
	    .prev_seg = o->prev_seg,
	    .prev_off = o->prev_off};

	memset(all, 0, sizeof(all));
	for (unsigned i = 0; i < n; i++) {
		rec[i] = at;
		at += put_message(in, all + at, content[i], &len[i], how & B_OWN);
	}
	h.table_len = at - SEG_HEAD;
	for (unsigned i = 0; i < n; i++) {
		struct seg_rec r;

		memcpy(&r, all + rec[i], sizeof(r));
		r.coff = at;
		r.csum = seg_seal(seg_sum(0, content[i], len[i]), r.unit != 0 ? r.unit : o->seg);
		memcpy(all + rec[i], &r, sizeof(r));
		memcpy(all + at, content[i], len[i]);
		at += len[i];
	}
	h.len = seg_align(at);
	if (how & B_RECORD) /* sealed as it is: what a writer that is out of its mind wrote */
		all[SEG_HEAD + (take(in) | take(in) << 8) % h.table_len] = take(in);
	seg_head_seal(&h, all + SEG_HEAD);
	memcpy(all, &h, sizeof(h));
	if (how & B_HEAD)
		all[take(in) % sizeof(h)] ^= 1;
	if (how & B_TABLE)
		all[SEG_HEAD + take(in) % h.table_len] ^= 1;
	if (how & B_CONTENT)
		all[SEG_HEAD + h.table_len + take(in) % (at - SEG_HEAD - h.table_len + 1)] ^= 1;
	write_at(o->fd, all, h.len, o->off);
	o->off += h.len;
	o->prev_seg = o->seg;
	o->prev_off = o->off;
	*bad = *bad || (how & ~(B_NEXT | B_OWN | B_CONTENT)) != 0;
	return n;
}

/* As backlog.c looks at what a page found. */
static unsigned look(const struct scan *s)
{
	unsigned n = 0;

	for (const struct scan_batch *b = s->head; b != NULL; b = b->next) {
		const uint8_t *p = b->table;
		size_t left = b->table_len;
		struct seg_msg m;

		must(b->first <= b->nmsg && b->len % LOG_ALIGN == 0 && b->len > 0);
		for (uint32_t i = 0; i < b->nmsg && seg_rec_decode(p, left, &m) == 0; i++) {
			envelope_again(&m);
			p += m.r.len;
			left -= m.r.len;
			n++;
		}
	}
	must(strlen(s->damage) < sizeof(s->damage) && strlen(s->torn) < sizeof(s->torn));
	return n;
}

static unsigned scan_all(struct pos at, struct pos known, uint64_t life)
{
	struct store l = {.qfd = qfd};
	unsigned found = 0, pages = 0;
	bool end = false;

	while (!end) {
		struct scan *s = calloc(1, sizeof(*s));

		*s = (struct scan){
		    .l = &l, .writer = 1, .at = at, .known = known, .life = life, .state = state};
		scan_work(s);
		found += look(s);
		must(pos_cmp(s->at, at) >= 0);
		end = s->end || s->later;
		at = s->at;
		scan_free(&s);
		must(++pages < 100);
	}
	return found;
}

static void segments(struct in *in)
{
	uint8_t flags = take(in);
	struct seg_out o = {.fd = -1};
	struct pos at = {0}, known = {.seg = take(in) % 4};
	unsigned n = 0, found;
	bool bad = flags != 0, content = false, again;

	known.off = (uint64_t)(take(in) % 8) * LOG_ALIGN;
	next_segment(&o);
	while (in->n > 0 && o.off < 64 * LOG_ALIGN && o.seg < 4) {
		uint8_t how = take(in);

		if (how & B_NEXT)
			next_segment(&o);
		o.off += how & B_HOLE ? LOG_ALIGN : 0;
		n += put_batch(in, &o, how, &bad);
		content = how & B_CONTENT;
	}
	close(o.fd);
	if (flags & 1)
		at = (struct pos){.seg = 1 + (flags >> 4) % 4, .idx = flags >> 6};
	again = flags & 2 && flock(lock, LOCK_EX | LOCK_NB) == 0;
	if (known.seg > o.seg || (known.seg == o.seg && known.off > o.off))
		known = (struct pos){0};
	found = scan_all(at, known, flags & 4 ? 2 : 0);
	/* A batch with another behind it was synced: only the newest is judged by its content. */
	bad = bad || content;
	must(found == n || bad);
	if (again)
		flock(lock, LOCK_UN);
	for (uint64_t seg = 1; seg <= o.seg; seg++) {
		char name[24];

		seg_name(name, 's', seg);
		unlinkat(folder, name, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct in in = {data, n};
	uint8_t what = take(&in);

	if (n < 2 || n > 4096)
		return 0;
	if (what == 'r') {
		uint8_t *exact = malloc(in.n);

		memcpy(exact, in.p, in.n);
		records(exact, in.n);
		free(exact);
		return 0;
	}
	if (qfd < 0)
		make_root();
	if (what == 'j')
		journals(&in);
	else if (what == 's')
		segments(&in);
	return 0;
}
