/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmfilter.c -- fuzz target of modules/pmilter/pmilter: what a filter says by the protocol of
 * doc/pmilter-protocol.md. The input is a script, see filter_play.h; a command of the filter in it
 * is type, session and fields of a frame, or any bytes. What the module says to the filter is
 * frames, whatever it heard.
 */
#include "filter_play.h"

#include "../../modules/pmilter/pmilter/pmilter.h"

META1_EXTERN const struct meta1_module pmilter_pmilter_LTX_meta1_module;
const struct meta1_module *const fh_module = &pmilter_pmilter_LTX_meta1_module;
static const struct conf conf = {.socket_path = "/filter",
    .fallback_path = "/other",
    .connections = 1,
    .max_message_size = 100000,
    .ping = 1000};
const void *const fh_conf = &conf;

static unsigned char frame[META1_PMW_FRAME_MAX];

static struct meta1_buf fh_greeting(void)
{
	struct meta1_pmw_out o = meta1_pmw_begin(frame, sizeof(frame), META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, "fuzz");
	meta1_pmw_num(&o, META1_PMW_F_STAGES, EVENT_STAGES, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, 20, 4);
	return (struct meta1_buf){frame, meta1_pmw_done(&o)};
}

/* Type, session, then the fields as they stand. */
static struct meta1_buf fh_command(struct fh_in *in)
{
	uint32_t type = fh_take(in), session = fh_take(in);
	struct meta1_pmw_out o = meta1_pmw_begin(frame, sizeof(frame), type, session);
	struct meta1_buf b = fh_block(in);

	if (b.len > sizeof(frame) - o.len)
		b.len = sizeof(frame) - o.len;
	memcpy(o.at + o.len, b.data, b.len);
	o.len += b.len;
	return (struct meta1_buf){frame, meta1_pmw_done(&o)};
}

static struct meta1_buf fh_long(struct fh_in *in)
{
	struct meta1_pmw_out o =
	    meta1_pmw_begin(frame, sizeof(frame), META1_PMW_REPLACE, fh_take(in));
	unsigned char *p = meta1_pmw_room(&o, META1_PMW_F_DATA, 30000);

	memset(p, 'x', 30000);
	return (struct meta1_buf){frame, meta1_pmw_done(&o)};
}

static void fh_said(struct meta1_buf all)
{
	struct meta1_pmw_frame f;

	for (size_t at = 0; at < all.len; at += f.all) {
		must(meta1_pmw_frame((const char *)all.data + at, all.len - at, &f) == 1);
		must(f.type < META1_PMW_OPTIONAL && (f.session != 0) == (f.type >= META1_PMW_OPEN));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fh_play(data, n);
	return 0;
}
