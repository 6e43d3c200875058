/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c -- fuzz target of modules/transports/dialog/reply.c and caps.c: what a next hop says.
 * The input is lines that end with LF. Whatever they are, what is kept of them is printable,
 * bounded, and says one code.
 */
#include "dialog/reply.h"
#include "dialog/caps.h"
#include "fuzz.h"

static void kept(const struct dialog_reply *r)
{
	must(r->len == strlen(r->text) && r->len < DIALOG_REPLY_TEXT);
	for (size_t i = 0; i < r->len; i++)
		must(r->text[i] >= 32 && r->text[i] < 127);
	must(strlen(r->dsn) < sizeof(r->dsn));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct dialog_reply r = {0};
	struct dialog_caps caps = {0};
	const uint8_t *p = data, *end = data + n;

	while (p < end) {
		const uint8_t *lf = memchr(p, '\n', (size_t)(end - p)), *to = lf ? lf : end;
		size_t len = (size_t)(to - p);
		/* a line of its own, so that nothing behind it can be read */
		char *line = malloc(len);
		enum dialog_got got;

		memcpy(line, p, len);
		got = dialog_reply_line(&r, line, len);
		kept(&r);
		must((got == DIALOG_BAD) == (r.bad != NULL));
		must((got == DIALOG_MORE) == !r.over);
		if (got != DIALOG_BAD) {
			must(r.code >= 200 && r.code <= 599);
			must(r.lines <= DIALOG_REPLY_LINES);
			must(r.dsn[0] == '\0' || r.dsn[0] - '0' == r.code / 100);
			must(r.line >= line && r.line + r.line_len == line + len);
			dialog_caps_line(&caps, r.line, r.line_len);
		}
		must(caps.pipelining <= 1 && caps.eightbit <= 1 && caps.size <= 1);
		must(caps.size || caps.max_size == 0);
		free(line);
		p = lf ? lf + 1 : end;
	}
	return 0;
}
