/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_smtp -- mail to other servers by SMTP (RFC 5321).
 *
 * The dialogue is modules/transports/dialog/, compiled into this module; here is what is
 * its own: the greeting is EHLO, with HELO for hops that do not know it; the final dot has one
 * reply for all recipients.
 */
#include "dialog/dialog.h"

static const struct dialog_kind kind = {"EHLO", "HELO", 0};

static int open_(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return dialog_open(host, ctx, conf, &kind, inst, err);
}

META1_MODULE(transport_smtp, .kind = META1_TRANSPORT,
    .roles = META1_SMTPC | META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "mail to other servers by SMTP (RFC 5321)", .opt = dialog_options,
    .nopt = DIALOG_NOPT, .sizeof_conf = sizeof(struct dialog_conf), .open = open_,
    .close = dialog_close, .ops = &dialog_ops);
