/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport_lmtp -- mail into a local store by LMTP (RFC 2033).
 *
 * The dialogue is modules/transports/dialog/, compiled into this module; here is what is
 * its own: the greeting is LHLO; the content gets a Return-Path line on top; after the final dot
 * each accepted recipient has a reply of its own.
 */
#include "dialog/dialog.h"

static const struct dialog_kind kind = {"LHLO", NULL, 1};

static int open_(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return dialog_open(host, ctx, conf, &kind, inst, err);
}

META1_MODULE(transport_lmtp, .kind = META1_TRANSPORT,
    .roles = META1_SMTPC | META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "mail into a local store by LMTP (RFC 2033)", .opt = dialog_options,
    .nopt = DIALOG_NOPT, .sizeof_conf = sizeof(struct dialog_conf), .open = open_,
    .close = dialog_close, .ops = &dialog_ops);
