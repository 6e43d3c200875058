/* SPDX-License-Identifier: BSD-2-Clause */
/* Servers that lie to libpmilter: what they say is cut and garbled at each byte, or without end. */
#include "pmilter_raw.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

static unsigned opened, closed;
static sfsistat_T eom_says;

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *a)
{
	(void)s, (void)name, (void)a;
	opened++;
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)s, (void)p, (void)n;
	return SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	(void)s;
	return eom_says;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	(void)s;
	closed++;
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "victim",
    .pmfi_connect = on_connect,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_close = on_close};

static void server_says(struct wire *w)
{
	struct meta1_pmw_out o = rw_frame(w, META1_PMW_HELLO, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_OLDEST, 1, 2);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, RW_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, 65536, 4);
	rw_done(w, &o);
	o = rw_frame(w, META1_PMW_OPEN, 1);
	meta1_pmw_text(&o, META1_PMW_F_CLIENT, "192.0.2.1");
	rw_done(w, &o);
	rw_bare(w, META1_PMW_CONNECT, 1);
	o = rw_frame(w, META1_PMW_CONTENT, 1);
	meta1_pmw_num(&o, META1_PMW_F_BYTES, 5, 8);
	rw_done(w, &o);
	o = rw_frame(w, META1_PMW_CHUNK, 1);
	meta1_pmw_text(&o, META1_PMW_F_DATA, "hello");
	rw_done(w, &o);
	o = rw_frame(w, META1_PMW_END, 1);
	meta1_pmw_put(&o, META1_PMW_F_MACRO, "\0\001host", 6);
	rw_done(w, &o);
	rw_bare(w, META1_PMW_RESET, 1);
}

static void lib_turns(struct pf *f, int n)
{
	while (n-- > 0)
		event_base_loop(sm_pmfi_base(f->g), EVLOOP_NONBLOCK);
}

static void lib_told(struct pf *f, const unsigned char *at, size_t n)
{
	int fd = raw_connect(f);

	assert_int_equal(send(fd, at, n, MSG_NOSIGNAL), n);
	lib_turns(f, 3);
	close(fd);
	lib_turns(f, 3);
}

static void the_library_survives_servers(void **state)
{
	static const unsigned char with[] = {0x01, 0x80, 0xff};
	struct wire *w = base_alloc(sizeof(*w));
	struct pf *f = pf_new("");
	struct ps s;

	(void)state;
	eom_says = SMTP_R_CONT;
	pf_filter(f, &filter);
	server_says(w);
	for (size_t k = 0; k <= w->len; k++)
		lib_told(f, w->at, k);
	assert_true(opened > 0);
	for (size_t k = 0; k < w->len * sizeof(with); k++) {
		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
		lib_told(f, w->at, w->len);
		w->at[k / sizeof(with)] ^= with[k % sizeof(with)];
	}
	/* every session that began has ended; and it works for who keeps to the protocol */
	assert_true(closed >= opened);
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	ps_close(&s);
	pf_free(&f);
	free(w);
}

/* A filter that is not done with its answer is sent content without end: it hangs up. */
static void the_library_is_bounded(void **state)
{
	struct wire *w = base_alloc(sizeof(*w));
	struct pf *f = pf_new("");
	char junk[30000];
	size_t sent = 0;
	struct meta1_pmw_out o;
	int fd;

	(void)state;
	memset(junk, 'j', sizeof(junk));
	eom_says = SMTP_R_LATER;
	pf_filter(f, &filter);
	server_says(w);
	fd = raw_connect(f);
	assert_int_equal(send(fd, w->at, w->len, MSG_NOSIGNAL), w->len);
	w->len = 0;
	o = rw_frame(w, META1_PMW_CHUNK, 1);
	meta1_pmw_put(&o, META1_PMW_F_DATA, junk, sizeof(junk));
	rw_done(w, &o);
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(fd, w->at, w->len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		lib_turns(f, 1);
		if (n > 0 && (size_t)n < w->len)
			break; /* out of step; it never fits the window anyway */
	}
	assert_true(sent < 2000000);
	close(fd);
	lib_turns(f, 3);
	pf_free(&f);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_library_survives_servers),
	    cmocka_unit_test(the_library_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
