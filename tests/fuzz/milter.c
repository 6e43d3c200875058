/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter.c -- fuzz target of modules/pmilter/milter: what a filter says by Sendmail's milter
 * protocol. The input is a script, see filter_play.h; a command of the filter in it is a letter and
 * data, or any bytes. What the module says to the filter is commands, whatever it heard.
 */
#include "filter_play.h"

#include "../../modules/pmilter/milter/milter.h"

META1_EXTERN const struct meta1_module pmilter_milter_LTX_meta1_module;
const struct meta1_module *const fh_module = &pmilter_milter_LTX_meta1_module;
static const struct conf conf = {.socket_path = "/filter",
    .fallback_path = "/other",
    .version = 6,
    .pipelining = 1,
    .max_edits = 100000,
    .max_idle = 2,
    .idle_time = 1000};
const void *const fh_conf = &conf;

static unsigned char frame[1 << 17];

static struct meta1_buf command(char cmd, struct meta1_buf b)
{
	put32(frame, (uint32_t)b.len + 1);
	frame[4] = (unsigned char)cmd;
	memcpy(frame + 5, b.data, b.len);
	return (struct meta1_buf){frame, b.len + 5};
}

static struct meta1_buf fh_greeting(void)
{
	unsigned char all[12];

	put32(all, 6);
	put32(all + 4, 0x1ff);
	put32(all + 8, SMFIP_SKIP | SMFIP_RCPT_REJ | SMFIP_HDR_LEADSPC);
	return command('O', (struct meta1_buf){all, sizeof(all)});
}

static struct meta1_buf fh_command(struct fh_in *in)
{
	char cmd = (char)fh_take(in);

	return command(cmd, fh_block(in));
}

static struct meta1_buf fh_long(struct fh_in *in)
{
	char *text = malloc(30000);
	struct meta1_buf b;

	(void)in;
	memset(text, 'x', 30000);
	b = command('b', (struct meta1_buf){text, 30000});
	free(text);
	return b;
}

static void fh_said(struct meta1_buf all)
{
	const unsigned char *p = all.data;

	for (size_t at = 0, n; at < all.len; at += 4 + n) {
		must(all.len - at >= 5);
		n = get32(p + at);
		must(n >= 1 && n <= all.len - at - 4);
		must(strchr("OCHMRTLNBEUDAQK", p[at + 4]) != NULL && p[at + 4] != '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fh_play(data, n);
	return 0;
}
