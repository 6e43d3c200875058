/* SPDX-License-Identifier: BSD-2-Clause */
/* The content of mails through pmilter_pmilter and libpmilter: large, of files, replaced, of many
 * sessions at a time. */
#include "pmilter_writer.h"

#include <fcntl.h>

/* ---- replaced messages ---- */

static size_t new_size, new_at;
static unsigned new_stat;

static sm_ret_T part(pmse_ctx_P s, const unsigned char **p, size_t *n)
{
	static unsigned char buf[100000];

	(void)s;
	*n = new_size - new_at < sizeof(buf) ? new_size - new_at : sizeof(buf);
	for (size_t i = 0; i < *n; i++)
		buf[i] = (unsigned char)('a' + (new_at + i) % 23);
	*p = buf;
	new_at += *n;
	return SM_SUCCESS;
}

static sm_ret_T part_stat(pmse_ctx_P s, sm_ret_T r)
{
	(void)s;
	new_stat += r == SM_SUCCESS;
	return SM_SUCCESS;
}

static const struct pmilter_S replacer = {.pmfi_name = "replacer",
    .pmfi_eom = pw_on_eom,
    .pmfi_msg_rplc = part,
    .pmfi_msg_rplc_stat = part_stat,
    .pmfi_close = pw_on_close};

static void check_new(const struct meta1_pm_edit *d, size_t size)
{
	const struct meta1_extent *x = d->extent;
	char c[4096];

	assert_int_equal(d->kind, META1_PM_MESSAGE);
	assert_int_equal(d->nextent, 1);
	assert_int_equal(x->len, size);
	for (size_t at = 0; at < size; at += sizeof(c)) {
		size_t n = size - at < sizeof(c) ? size - at : sizeof(c);

		if (x->mem)
			memcpy(c, (const char *)x->mem + at, n);
		else
			assert_int_equal(pread(x->fd, c, n, (off_t)(x->off + at)), n);
		for (size_t i = 0; i < n; i++)
			if (c[i] != (char)('a' + (at + i) % 23))
				fail_msg("byte %zu", at + i);
	}
}

static void messages_are_replaced(void **state)
{
	static const size_t sizes[] = {0, 1, 65536, 65537, 3000000};
	struct pf *f = pw_up(&replacer, "max_message_size = 3000000B;");
	struct ps s;
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, pw_small);

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	pw_at_eom = SMTP_R_RPLCMSG;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		new_size = sizes[i];
		new_at = new_stat = 0;
		assert_int_equal(ps_end(&s, &m), META1_OK);
		assert_int_equal(s.v->nedit, 1);
		check_new(s.v->edit, sizes[i]);
		assert_int_equal(new_stat, 1);
		f->ops->reset(s.sess);
	}
	new_size = 3000001;
	new_at = 0;
	assert_int_equal(ps_end(&s, &m), META1_TEMPFAIL);
	assert_string_equal(s.text, "the filter's message is larger than max_message_size");
	pw_down(f, &s, 1);
}

/* ---- content ---- */

static void large_messages_of_memory_and_file(void **state)
{
	struct pf *f = pw_up(&pw_filter, "");
	struct ps s[2];
	size_t half = 2000000;
	char *text = base_alloc(half);
	struct meta1_extent e[3];
	struct meta1_pm_message m = {
	    .size = sizeof(m), .nextent = 3, .extent = e, .bytes = 2 * half + 7, .header = 7};
	int fd = open(f->dir, O_TMPFILE | O_RDWR, 0600);

	(void)state;
	for (size_t i = 0; i < half; i++)
		text[i] = (char)('A' + i % 29);
	assert_int_equal(pwrite(fd, text, half, 5), half);
	e[0] = (struct meta1_extent){.mem = "X: y\r\n\r", .len = 7, .fd = -1};
	e[1] = (struct meta1_extent){.fd = fd, .off = 5, .len = half};
	e[2] = (struct meta1_extent){.mem = text, .len = half, .fd = -1};
	ps_begin(f, &s[0]);
	assert_int_equal(ps_ask(&s[0], META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_end(&s[0], &m), META1_OK);
	assert_int_equal(pw_ncontent, m.bytes);
	assert_memory_equal(pw_content, "X: y\r\n\r", 7);
	assert_memory_equal(pw_content + 7, text, half);
	assert_memory_equal(pw_content + 7 + half, text, half);
	/* it has enough after the first chunk */
	pw_ncontent = 0;
	pw_at_msg = 552;
	assert_int_equal(ps_end(&s[0], &m), META1_OK);
	assert_int_equal(s[0].v->smtp, 552);
	assert_true(pw_ncontent <= PMILTER_CHUNK_SIZE);
	/* a file that is shorter than it was fails its question, not the next */
	pw_at_msg = SMTP_R_CONT;
	assert_int_equal(ftruncate(fd, 1000), 0);
	assert_int_equal(ps_end(&s[0], &m), META1_TEMPFAIL);
	assert_string_equal(s[0].text, "the message is shorter than it was");
	ps_begin(f, &s[1]);
	assert_int_equal(ps_ask(&s[1], META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s[1]);
	close(fd);
	free(text);
	pw_down(f, &s[0], 2);
}

/* ---- many sessions ---- */

static unsigned eoms;

static sfsistat_T count_eom(pmse_ctx_P s)
{
	uintptr_t n = (uintptr_t)sm_pmfi_get_ctx_se(s);

	eoms++;
	return n == 3 * strlen(pw_small) ? SMTP_R_CONT : SMTP_R_PERM;
}

static sfsistat_T count_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)p;
	sm_pmfi_set_ctx_se(s, (char *)sm_pmfi_get_ctx_se(s) + n);
	return SMTP_R_CONT;
}

static sfsistat_T slow_eom(pmse_ctx_P s)
{
	usleep(2000); /* a slow filter */
	__atomic_add_fetch(&eoms, 1, __ATOMIC_RELAXED);
	return sm_pmfi_get_ctx_se(s) == (void *)(3 * strlen(pw_small)) ? SMTP_R_CONT : SMTP_R_PERM;
}

static sm_ret_T close_count(pmse_ctx_P s)
{
	(void)s;
	__atomic_add_fetch(&pw_closes, 1, __ATOMIC_RELAXED);
	return SM_SUCCESS;
}

static void many(const struct pmilter_S *fi, unsigned n)
{
	struct pf *f = pw_up(fi, "");
	struct ps *s = base_alloc(n * sizeof(*s));
	struct meta1_extent e[3];
	struct meta1_pm_message m = ps_message(&e[0], pw_small);
	struct meta1_pm_ask con = {.size = sizeof(con), .stage = META1_PM_CONNECT};
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};

	e[1] = e[2] = e[0];
	m.nextent = 3;
	m.bytes *= 3;
	eoms = 0;
	for (unsigned i = 0; i < n; i++) {
		ps_begin(f, &s[i]);
		ps_put(&s[i], &con);
	}
	for (unsigned i = 0; i < n; i++)
		pf_until(f, &s[i].answers, 1);
	for (unsigned i = 0; i < n; i++)
		ps_put(&s[i], &end);
	for (unsigned i = 0; i < n; i++) {
		pf_until(f, &s[i].answers, 2);
		assert_int_equal(s[i].st, META1_OK);
		assert_int_equal(s[i].v->action, META1_PM_CONTINUE);
	}
	assert_int_equal(eoms, n);
	for (unsigned i = 0; i < n; i++)
		ps_close(&s[i]);
	pf_until(f, &pw_closes, n);
	free(s);
	pf_free(&f);
}

static void a_thousand_sessions_on_one_connection(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "counter",
	    .pmfi_fdmax = 1,
	    .pmfi_msg = count_msg,
	    .pmfi_eom = count_eom,
	    .pmfi_close = close_count};

	(void)state;
	many(&fi, 1000);
}

static void callbacks_on_threads(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "threads",
	    .pmfi_thrmax_s = 2,
	    .pmfi_thrmax_h = 8,
	    .pmfi_msg = count_msg,
	    .pmfi_eom = slow_eom,
	    .pmfi_close = close_count};

	(void)state;
	many(&fi, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_are_replaced),
	    cmocka_unit_test(large_messages_of_memory_and_file),
	    cmocka_unit_test(a_thousand_sessions_on_one_connection),
	    cmocka_unit_test(callbacks_on_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
