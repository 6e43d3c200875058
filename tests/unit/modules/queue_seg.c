/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_seg.c -- tries modules/queue/log/seg.c and frame.c: what is read from disk is hostile.
 */
#include "../../../modules/queue/log/log.h"

#include "../unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct meta1_buf str(const char *s)
{
	return (struct meta1_buf){s, strlen(s)};
}

static struct meta1_qrcpt rcpts[2];

static struct meta1_env envelope(void)
{
	rcpts[0].addr = str("a@example.org");
	rcpts[1].addr = str("");
	rcpts[1].notify = 6;
	rcpts[1].orcpt = str("rfc822;b@x");
	rcpts[1].flags = META1_RF_LIST | META1_RF_TELL;
	rcpts[1].sender = str("owner-l@x");
	rcpts[1].alias = str("l@x");
	return (struct meta1_env){.size = sizeof(struct meta1_env),
	    .nrcpt = 2,
	    .sizeof_rcpt = sizeof(rcpts[0]),
	    .flags = 3,
	    .from = str("f@example.org"),
	    .client = str("[192.0.2.1]"),
	    .rcpt = rcpts,
	    .time = 12345,
	    .bytes = 678,
	    .envid = str("QQ1")};
}

static void record_round_trip(void **state)
{
	struct meta1_env e = envelope();
	size_t n = seg_rec_size("S0123", &e);
	uint8_t *b = malloc(n);
	struct meta1_qrcpt v[2];
	struct seg_msg m;

	(void)state;
	assert_true(n > 0 && n % 8 == 0);
	seg_rec_encode(b, n, "S0123", &e);
	assert_int_equal(seg_rec_decode(b, n, &m), 0);
	assert_string_equal(m.id, "S0123");
	assert_int_equal(m.r.nrcpt, 2);
	assert_int_equal(m.r.time, 12345);
	assert_memory_equal(m.from.data, "f@example.org", m.from.len);
	seg_rcpts(&m, v);
	assert_int_equal(v[0].addr.len, 13);
	assert_memory_equal(v[0].addr.data, "a@example.org", 13);
	assert_int_equal(v[1].addr.len, 0);
	assert_int_equal(v[0].notify, 0);
	assert_int_equal(v[0].orcpt.len, 0);
	assert_int_equal(v[1].notify, 6);
	assert_int_equal(v[0].flags, 0);
	assert_int_equal(v[0].sender.len, 0);
	assert_int_equal(v[1].flags, META1_RF_LIST | META1_RF_TELL);
	assert_int_equal(v[1].sender.len, 9);
	assert_memory_equal(v[1].sender.data, "owner-l@x", 9);
	assert_int_equal(v[1].alias.len, 3);
	assert_memory_equal(v[1].alias.data, "l@x", 3);
	assert_int_equal(v[1].orcpt.len, 10);
	assert_memory_equal(v[1].orcpt.data, "rfc822;b@x", 10);
	assert_int_equal(m.envid.len, 3);
	assert_memory_equal(m.envid.data, "QQ1", 3);
	assert_int_equal(m.r.ndsn, 1);
	free(b);
}

/* Cut at each length and with each byte changed: refused or taken, never read beyond. */
static void record_is_never_half_read(void **state)
{
	struct meta1_env e = envelope();
	size_t n = seg_rec_size("S0123", &e);
	uint8_t *b = malloc(n);
	struct seg_msg m;

	(void)state;
	for (size_t len = 0; len < n; len++) {
		uint8_t *cut = malloc(len + 1);

		seg_rec_encode(b, n, "S0123", &e);
		memcpy(cut, b, len);
		assert_true(seg_rec_decode(cut, len, &m) < 0);
		free(cut);
	}
	for (size_t at = 0; at < n; at++)
		for (unsigned x = 1; x < 256; x += 50) {
			struct meta1_qrcpt *v;

			seg_rec_encode(b, n, "S0123", &e);
			b[at] ^= (uint8_t)x;
			if (seg_rec_decode(b, n, &m) < 0)
				continue;
			v = calloc(m.r.nrcpt, sizeof(*v));
			seg_rcpts(&m, v);
			free(v);
		}
	free(b);
}

/* What RFC 3461 adds is nothing when nobody said anything. */
static void ordinary_mail_pays_nothing(void **state)
{
	struct meta1_env e = envelope();
	size_t with = seg_rec_size("S0123", &e);

	(void)state;
	rcpts[1].notify = rcpts[1].flags = 0;
	rcpts[1].sender.len = rcpts[1].alias.len = 0;
	rcpts[1].orcpt.len = e.envid.len = 0;
	assert_true(with - seg_rec_size("S0123", &e) >= 8 + 10 + 3 - 7);
	assert_int_equal(seg_rec_size("S0123", &e),
	    (sizeof(struct seg_rec) + 5 + e.from.len + e.client.len + 2 + 13 + 2 + 7) / 8 * 8);
}

static void envelope_bounds(void **state)
{
	struct meta1_env e = envelope();

	(void)state;
	assert_int_equal(seg_rec_size("0123456789012345678901234567890123", &e), 0);
	e.nrcpt = 0;
	assert_int_equal(seg_rec_size("S1", &e), 0);
	e = envelope();
	e.from.len = 70000;
	assert_int_equal(seg_rec_size("S1", &e), 0);
}

static void header_belongs_to_its_segment(void **state)
{
	uint8_t table[64] = {1, 2, 3};
	struct seg_head h = {
	    .nmsg = 1, .seg = 7, .off = 4096, .table_len = sizeof(table), .len = 8192};

	(void)state;
	seg_head_seal(&h, table);
	assert_true(seg_head_ok(&h, 7, 4096));
	assert_false(seg_head_ok(&h, 8, 4096)); /* recycled under another number */
	assert_false(seg_head_ok(&h, 7, 8192));
	for (size_t at = 0; at < sizeof(h); at++) {
		struct seg_head bad = h;

		((uint8_t *)&bad)[at] ^= 1;
		assert_false(seg_head_ok(&bad, 7, 4096));
	}
	assert_int_not_equal(seg_seal(5, 7), seg_seal(5, 8));
}

static void names(void **state)
{
	char name[24];
	uint64_t n;

	(void)state;
	seg_name(name, 's', 0x1234);
	assert_string_equal(name, "s0000000000001234");
	assert_int_equal(seg_parse(name, &n), 's');
	assert_int_equal(n, 0x1234);
	assert_int_equal(seg_parse("lock", &n), 0);
	assert_int_equal(seg_parse("s000000000000123g", &n), 0);
	assert_int_equal(seg_parse("s00000000000012345", &n), 0);
}

static void notices(void **state)
{
	struct log_notice n = {.kind = NOTICE_MESSAGE,
	    .writer = 3,
	    .seg = 5,
	    .off = 4096,
	    .next = 8192,
	    .idx = 1,
	    .nmsg = 2};
	struct log_notice got;
	struct pos after;

	(void)state;
	assert_int_equal(seg_notice((struct meta1_buf){&n, sizeof(n)}, &got), 0);
	after = seg_after(&got);
	assert_int_equal(after.off, 8192);
	assert_int_equal(after.idx, 0);
	n.idx = 0;
	assert_int_equal(seg_after(&n).idx, 1);
	assert_true(pos_cmp(seg_before(&n), seg_after(&n)) < 0);
	n.idx = 2;
	assert_true(seg_notice((struct meta1_buf){&n, sizeof(n)}, &got) < 0);
	assert_true(seg_notice((struct meta1_buf){&n, 20}, &got) < 0);
}

static unsigned seen, last;

static void on_record(void *arg, const struct jrec *r, const struct jtext *t)
{
	(void)arg;
	seen++;
	last = r->idx;
	assert_int_equal(t->reason.len, 5);
	assert_int_equal(t->id.len, 2);
	assert_memory_equal(t->id.data, "S1", 2);
}

/* Three frames of two records in a file. */
static int journal(uint64_t serial)
{
	char path[] = "/tmp/queue_seg.XXXXXX";
	int fd = mkstemp(path);
	uint64_t off = 0;

	assert_true(fd >= 0);
	unlink(path);
	for (unsigned f = 0; f < 3; f++) {
		struct bytes b = {0};
		size_t n;

		for (unsigned i = 0; i < 2; i++) {
			struct jrec r = {.type = J_OUTCOME, .idx = f * 2 + i};

			assert_true(frame_put(&b, &r,
			    &(struct jtext){
				.reason = str("later"), .by = str("host"), .id = str("S1")}));
		}
		n = frame_seal(&b, serial, off, f);
		assert_int_equal(n % LOG_ALIGN, 0);
		assert_int_equal(pwrite(fd, b.b, n, (off_t)off), (ssize_t)n);
		off += n;
		free(b.b);
	}
	seen = 0;
	return fd;
}

/* A disk that cannot read some bytes gives those before them, then EIO. */
static off_t bad_from, bad_to;

ssize_t pread(int fd, void *b, size_t n, off_t off)
{
	if (off < bad_to && off + (off_t)n > bad_from) {
		if (off >= bad_from) {
			errno = EIO;
			return -1;
		}
		n = (size_t)(bad_from - off);
	}
	return syscall(SYS_pread64, fd, b, n, off);
}

static void flip(int fd, off_t at)
{
	uint8_t c;

	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 0x10;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
}

static void frames(void **state)
{
	int fd = journal(9);

	(void)state;
	assert_int_equal(frame_read(fd, 9, on_record, NULL), 0);
	assert_int_equal(seen, 6);
	seen = 0; /* another journal's frames are not ours */
	assert_int_equal(frame_read(fd, 10, on_record, NULL), 0);
	assert_int_equal(seen, 0);
	close(fd);

	fd = journal(9); /* the last one is torn: cut without a word */
	flip(fd, 2 * LOG_ALIGN + 100);
	assert_int_equal(frame_read(fd, 9, on_record, NULL), 0);
	assert_int_equal(seen, 4);
	close(fd);

	fd = journal(9); /* one in the middle is damaged: said, and skipped */
	flip(fd, LOG_ALIGN + 100);
	assert_int_equal(frame_read(fd, 9, on_record, NULL), 1);
	assert_int_equal(seen, 4);
	assert_int_equal(last, 5);
	close(fd);
}

/* What history keeps: the same records in less room; damage is not packed away. */
static void packed(void **state)
{
	char path[] = "/tmp/m1-packed-XXXXXX";
	int fd = journal(9), to = mkstemp(path);

	(void)state;
	assert_true(to >= 0);
	unlink(path);
	assert_int_equal(frame_pack(fd, to, 9), 0);
	seen = 0;
	assert_int_equal(frame_read(to, 9, on_record, NULL), 0);
	assert_int_equal(seen, 6);
	assert_int_equal(last, 5);
	assert_int_equal(frame_end(fd, 9), 3 * LOG_ALIGN);
	assert_int_equal(frame_end(to, 9), LOG_ALIGN);
	flip(fd, LOG_ALIGN + 100);
	assert_int_not_equal(frame_pack(fd, to, 9), 0);
	close(fd);
	close(to);
}

/* What cannot be read is damage, at the end too, and not the end: what is behind it counts, and the
 * file is neither cut nor replaced. */
static void unreadable(void **state)
{
	static const struct {
		off_t from, to;
		int damaged;
		unsigned seen;
	} v[] = {
	    {0, LOG_ALIGN, 1, 4},
	    {0, 2 * LOG_ALIGN, 1, 2}, /* two blocks in a row */
	    {LOG_ALIGN, 2 * LOG_ALIGN, 1, 4},
	    {LOG_ALIGN + 100, LOG_ALIGN + 200, 1, 4}, /* of its payload */
	    {LOG_ALIGN, 3 * LOG_ALIGN, 1, 2},
	    {2 * LOG_ALIGN, 3 * LOG_ALIGN, 1, 4},
	    {0, 3 * LOG_ALIGN, 1, 0},
	};
	int fd = journal(9);

	(void)state;
	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		char path[] = "/tmp/m1-packed-XXXXXX";
		int to = mkstemp(path);

		assert_true(to >= 0);
		unlink(path);
		seen = 0;
		bad_from = v[i].from;
		bad_to = v[i].to;
		assert_int_equal(frame_read(fd, 9, on_record, NULL), v[i].damaged);
		assert_int_equal(seen, v[i].seen);
		assert_int_equal(frame_pack(fd, to, 9), EIO);
		if (v[i].from % LOG_ALIGN == 0) /* it looks at headers only */
			assert_true(frame_end(fd, 9) == UINT64_MAX);
		else
			assert_int_equal(frame_end(fd, 9), 3 * LOG_ALIGN);
		bad_from = bad_to = 0;
		close(to);
	}
	assert_int_equal(frame_end(fd, 9), 3 * LOG_ALIGN);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(record_round_trip),
	    cmocka_unit_test(record_is_never_half_read),
	    cmocka_unit_test(ordinary_mail_pays_nothing),
	    cmocka_unit_test(envelope_bounds),
	    cmocka_unit_test(header_belongs_to_its_segment),
	    cmocka_unit_test(names),
	    cmocka_unit_test(notices),
	    cmocka_unit_test(frames),
	    cmocka_unit_test(packed),
	    cmocka_unit_test(unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
