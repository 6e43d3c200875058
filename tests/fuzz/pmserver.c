/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmserver.c -- fuzz target of sdk/libpmilter: what a server says to a filter. The input: a byte
 * with what the filter is like (bit 0: the greeting is sent for it; 1: its answers come later, by
 * sm_pmfi_answer(); 2: the input is sent in two parts), then commands: type, session, two bytes of
 * length, fields; type 255: any bytes instead of a frame. Whatever they are, what the filter says
 * is frames, a question has at most one verdict, and when the server is gone no session is left.
 */
#include "fuzz.h"

#include "../../sdk/libpmilter/lib.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 16000 /* of frames that a socket takes at once */

static unsigned questions, verdicts, reads;
static int late, raw; /* raw: nobody knows what questions are in it */
static pmse_ctx_P waits;

/* One session at a time waits for its answer. */
static sfsistat_T asked(pmse_ctx_P s, const char *arg)
{
	const struct pmse_info_S *i = sm_pmfi_info(s);
	const char *value;

	must(i && i->size == sizeof(*i));
	for (unsigned m = 1; m < META1_PMM_MAX; m++)
		if (sm_pmfi_getmac(s, m, &value) == SM_SUCCESS && value)
			reads += (unsigned)strlen(value);
	reads += (unsigned)strlen(arg);
	if (late && !waits) {
		waits = s;
		return SMTP_R_LATER;
	}
	return *arg == 'r' ? SMTP_R_PERM : SMTP_R_CONT;
}

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *a)
{
	(void)a;
	sm_pmfi_note(s, "a note");
	return asked(s, name);
}

static sfsistat_T on_path(pmse_ctx_P s, const char *path, const char *const *param)
{
	for (; *param; param++)
		reads += (unsigned)strlen(*param);
	sm_pmfi_setreply(s, "550", "5.7.1", path);
	return asked(s, path);
}

static sfsistat_T on_data(pmse_ctx_P s)
{
	return asked(s, "");
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	(void)s;
	for (size_t i = 0; i < n; i++)
		reads += p[i];
	return n > 0 && *p == 'e' ? SMTP_R_PERM : SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	sm_pmfi_hdr_mod(s, SM_HDRMOD_T_APPEND, 0, "X-A", "b");
	sm_pmfi_hold(s, "why");
	return sm_pmfi_info(s)->nrcpt == 7 ? SMTP_R_RPLCMSG : asked(s, "");
}

static sm_ret_T on_replace(pmse_ctx_P s, const unsigned char **p, size_t *n)
{
	static const unsigned char text[] = "a: b\r\n\r\nc\r\n";

	/* a long one: until the window is full, and on as it is taken */
	*p = text;
	*n = reads++ % 100 ? sizeof(text) - 1 : 0;
	(void)s;
	return SM_SUCCESS;
}

static sm_ret_T on_abort(pmse_ctx_P s)
{
	reads += (unsigned)sm_pmfi_info(s)->port;
	return SM_SUCCESS;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	if (waits == s)
		waits = NULL;
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "fuzz",
    .pmfi_connect = on_connect,
    .pmfi_helo = asked,
    .pmfi_mail = on_path,
    .pmfi_rcpt = on_path,
    .pmfi_data = on_data,
    .pmfi_unknown = asked,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_msg_rplc = on_replace,
    .pmfi_abort = on_abort,
    .pmfi_close = on_close};

/* ---- the server ---- */

static size_t hello(unsigned char *to)
{
	struct meta1_pmw_out o = meta1_pmw_begin(to, 4096, META1_PMW_HELLO, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_num(&o, META1_PMW_F_OLDEST, META1_PMW_VERSION, 2);
	meta1_pmw_num(&o, META1_PMW_F_STAGES, STAGES_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, 100, 4);
	return meta1_pmw_done(&o);
}

/* The script as bytes of the wire. */
static size_t wire(const uint8_t *p, size_t n, unsigned char *to)
{
	size_t at = 0;

	while (n >= 4) {
		size_t len = (size_t)p[2] << 8 | p[3];
		struct meta1_pmw_out o = meta1_pmw_begin(to + at, META1_PMW_FRAME_MAX, p[0], p[1]);

		len = len < n - 4 ? len : n - 4;
		if (p[0] == 255) {
			raw = 1;
			memcpy(to + at, p + 4, len);
			at += len;
		} else {
			memcpy(o.at + o.len, p + 4, len);
			o.len += len;
			at += meta1_pmw_done(&o);
			questions += p[0] == META1_PMW_END ||
				     (p[0] >= META1_PMW_CONNECT && p[0] <= META1_PMW_UNKNOWN);
		}
		p += 4 + len;
		n -= 4 + len;
	}
	return at;
}

static void heard(int fd)
{
	static unsigned char in[1 << 20];
	struct meta1_pmw_frame f;
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(in) && (got = read(fd, in + n, sizeof(in) - n)) > 0)
		n += (size_t)got;
	for (size_t at = 0; at < n; at += f.all) {
		must(meta1_pmw_frame(in + at, n - at, &f) == 1);
		verdicts += f.type == META1_PMW_VERDICT;
	}
}

static void turn(pmg_ctx_P g, int fd)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(sm_pmfi_base(g), EVLOOP_NONBLOCK);
	heard(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static unsigned char out[4 * INPUT_MAX + META1_PMW_FRAME_MAX];
	pmg_ctx_P g;
	size_t len = 0, half;
	int sv[2], like = n > 0 ? data[0] : 0;

	if (n < 1 || n > INPUT_MAX)
		return 0;
	questions = verdicts = reads = 0;
	raw = 0;
	waits = NULL;
	late = like & 2;
	signal(SIGPIPE, SIG_IGN); /* as sm_pmfi_listen() has it */
	must(sm_pmfi_init(&g) == SM_SUCCESS);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
	g->filter = &filter;
	lpm_link_open(g, sv[0]);
	if (like & 1)
		len = hello(out);
	len += wire(data + 1, n - 1, out + len);
	half = like & 4 ? len / 2 : len;
	must(write(sv[1], out, half) == (ssize_t)half);
	turn(g, sv[1]);
	if (half < len && write(sv[1], out + half, len - half) > 0)
		turn(g, sv[1]);
	if (waits && sm_pmfi_answer(waits, SMTP_R_OK) == SM_SUCCESS)
		turn(g, sv[1]);
	close(sv[1]);
	for (int i = 0; i < 3; i++)
		event_base_loop(sm_pmfi_base(g), EVLOOP_NONBLOCK);
	must(g->links == NULL && waits == NULL && (raw || verdicts <= questions));
	sm_pmfi_free(&g);
	return 0;
}
