/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_msg.c -- the tables of what is said between a role and a worker: fields and their bounds.
 * Comes from iso_msg.h; goes to shape.c. Owns nothing.
 */
#include "mod/iso_msg.h"

#define TEXT 4096

static const struct shape_field tls_set_fields[] = {SH_STR(struct iso_tls, ca_file, TEXT),
    SH_STR(struct iso_tls, ca_directory, TEXT), SH_STR(struct iso_tls, crl_file, TEXT),
    SH_STR(struct iso_tls, ciphers, TEXT), SH_MANY(struct iso_tls, cert, ncert, 64, NULL),
    SH_MANY(struct iso_tls, key, nkey, 64, NULL)};
static const struct shape shape_tls_set = SHAPE(struct iso_tls, tls_set_fields, false);

static const struct shape_field open_fields[] = {SH_STR(struct iso_open, version, 64),
    SH_STR(struct iso_open, module, 64), SH_STR(struct iso_open, instance, 256),
    SH_STR(struct iso_open, file, TEXT), SH_STR(struct iso_open, folder, TEXT),
    SH_STR(struct iso_open, text, ISO_TEXT_MAX), SH_STR(struct iso_open, hostname, 255),
    SH_STR(struct iso_open, qdir, TEXT), SH_STR(struct iso_open, directory, TEXT),
    SH_NUM(struct iso_open, role), SH_NUM(struct iso_open, process),
    SH_NUM(struct iso_open, log_level), SH_NUM(struct iso_open, memory),
    SH_MANY(struct iso_open, map, nmap, ISO_MAPS_MAX, NULL),
    SH_ONE(struct iso_open, tls, &shape_tls_set)};
const struct shape iso_shape_open = SHAPE(struct iso_open, open_fields, false);

static const struct shape_field opened_fields[] = {SH_NUM(struct iso_opened, status),
    SH_NUM(struct iso_opened, pid), SH_STR(struct iso_opened, text, TEXT),
    SH_NUM(struct iso_opened, props), SH_NUM(struct iso_opened, heeds)};
const struct shape iso_shape_opened = SHAPE(struct iso_opened, opened_fields, false);

static const struct shape_field lookup_fields[] = {
    SH_NUM(struct iso_lookup, ms), SH_BUF(struct iso_lookup, key, ISO_VALUE_MAX)};
const struct shape iso_shape_lookup = SHAPE(struct iso_lookup, lookup_fields, false);

static const struct shape_field reply_fields[] = {
    SH_MANY(struct meta1_reply, val, nval, 65536, NULL), SH_STR(struct meta1_reply, text, 65536),
    SH_NUM(struct meta1_reply, ttl), SH_NUM(struct meta1_reply, smtp),
    SH_NUM(struct meta1_reply, scope), SH_CHARS(struct meta1_reply, dsn),
    SH_NUM(struct meta1_reply, taken), SH_STR(struct meta1_reply, host, TEXT),
    SH_STR(struct meta1_reply, source, TEXT), SH_NUM(struct meta1_reply, tls)};
const struct shape iso_shape_reply = SHAPE(struct meta1_reply, reply_fields, true);

static const struct shape_field answer_fields[] = {
    SH_NUM(struct iso_answer, status), SH_ONE(struct iso_answer, reply, &iso_shape_reply)};
const struct shape iso_shape_answer = SHAPE(struct iso_answer, answer_fields, false);

static const struct shape_field log_fields[] = {
    SH_NUM(struct iso_log, level), SH_STR(struct iso_log, text, TEXT)};
const struct shape iso_shape_log = SHAPE(struct iso_log, log_fields, false);

static const struct shape_field count_fields[] = {
    SH_STR(struct iso_count, name, 64), SH_NUM(struct iso_count, value)};
const struct shape iso_shape_count = SHAPE(struct iso_count, count_fields, false);

static const struct shape_field map_fields[] = {SH_NUM(struct iso_map, index),
    SH_NUM(struct iso_map, ms), SH_BUF(struct iso_map, key, ISO_VALUE_MAX)};
const struct shape iso_shape_map = SHAPE(struct iso_map, map_fields, false);

static const struct shape_field dns_fields[] = {
    SH_NUM(struct iso_dns, type), SH_NUM(struct iso_dns, ms), SH_STR(struct iso_dns, name, 1024)};
const struct shape iso_shape_dns = SHAPE(struct iso_dns, dns_fields, false);

/* ---- filters ---- */

static const struct shape_field tls_fields[] = {SH_NUM(struct meta1_tls, bits),
    SH_STR(struct meta1_tls, version, TEXT), SH_STR(struct meta1_tls, cipher, TEXT),
    SH_NUM(struct meta1_tls, trusted), SH_NUM(struct meta1_tls, named),
    SH_STR(struct meta1_tls, why, TEXT), SH_STR(struct meta1_tls, subject, 65536),
    SH_STR(struct meta1_tls, issuer, 65536), SH_NUM(struct meta1_tls, accepted),
    SH_STR(struct meta1_tls, how, TEXT), SH_STR(struct meta1_tls, refused, TEXT),
    SH_NUM(struct meta1_tls, result)};
static const struct shape shape_tls = SHAPE(struct meta1_tls, tls_fields, true);

static const struct shape_field about_fields[] = {SH_NUM(struct meta1_pm_about, port),
    SH_NUM(struct meta1_pm_about, serial), SH_STR(struct meta1_pm_about, hostname, TEXT),
    SH_STR(struct meta1_pm_about, version, TEXT), SH_STR(struct meta1_pm_about, listener, TEXT),
    SH_STR(struct meta1_pm_about, local, TEXT), SH_NUM(struct meta1_pm_about, local_port),
    SH_STR(struct meta1_pm_about, client, TEXT), SH_STR(struct meta1_pm_about, name, TEXT),
    SH_STR(struct meta1_pm_about, resolve, TEXT), SH_STR(struct meta1_pm_about, helo, 65536),
    SH_ONE(struct meta1_pm_about, tls, &shape_tls), SH_STR(struct meta1_pm_about, tls_verify, TEXT),
    SH_STR(struct meta1_pm_about, auth_mech, TEXT), SH_STR(struct meta1_pm_about, auth_user, 65536),
    SH_STR(struct meta1_pm_about, auth_author, 65536), SH_STR(struct meta1_pm_about, taid, TEXT),
    SH_NUM(struct meta1_pm_about, mailflags), SH_NUM(struct meta1_pm_about, nrcpt),
    SH_NUM(struct meta1_pm_about, nbad), SH_NUM(struct meta1_pm_about, hops),
    SH_BUF(struct meta1_pm_about, from, 65536), SH_STR(struct meta1_pm_about, msgid, 65536),
    SH_STR(struct meta1_pm_about, ptr, TEXT)};
static const struct shape shape_about = SHAPE(struct meta1_pm_about, about_fields, true);

static const struct shape_field piece_fields[] = {SH_BUF(struct iso_piece, mem, UINT32_MAX - 1),
    SH_NUM(struct iso_piece, off), SH_NUM(struct iso_piece, len), SH_NUM(struct iso_piece, fd)};
static const struct shape shape_piece = SHAPE(struct iso_piece, piece_fields, false);

static const struct shape_field pm_ask_fields[] = {SH_NUM(struct iso_pm_ask, session),
    SH_NUM(struct iso_pm_ask, begin), SH_NUM(struct iso_pm_ask, stage),
    SH_NUM(struct iso_pm_ask, ms), SH_ONE(struct iso_pm_ask, about, &shape_about),
    SH_BUF(struct iso_pm_ask, arg, 65536), SH_MANY(struct iso_pm_ask, param, nparam, 1024, NULL),
    SH_MANY(struct iso_pm_ask, rcpt, nrcpt, 200000, NULL),
    SH_STR(struct iso_pm_ask, refused, 65536), SH_NUM(struct iso_pm_ask, bytes),
    SH_NUM(struct iso_pm_ask, header),
    SH_MANY(struct iso_pm_ask, piece, npiece, 65536, &shape_piece)};
const struct shape iso_shape_pm_ask = SHAPE(struct iso_pm_ask, pm_ask_fields, false);

static const struct shape_field verdict_fields[] = {SH_NUM(struct meta1_pm_verdict, action),
    SH_NUM(struct meta1_pm_verdict, wants), SH_NUM(struct meta1_pm_verdict, smtp),
    SH_CHARS(struct meta1_pm_verdict, dsn),
    SH_MANY(struct meta1_pm_verdict, line, nline, 1024, NULL),
    SH_STR(struct meta1_pm_verdict, hold, 65536), SH_STR(struct meta1_pm_verdict, note, 65536)};
static const struct shape shape_verdict = SHAPE(struct meta1_pm_verdict, verdict_fields, true);

static const struct shape_field edit_fields[] = {SH_NUM(struct iso_pm_edit, kind),
    SH_NUM(struct iso_pm_edit, index), SH_NUM(struct iso_pm_edit, flags),
    SH_BUF(struct iso_pm_edit, name, UINT32_MAX - 1),
    SH_BUF(struct iso_pm_edit, value, UINT32_MAX - 1),
    SH_BUF(struct iso_pm_edit, param, UINT32_MAX - 1),
    SH_MANY(struct iso_pm_edit, piece, npiece, 65536, &shape_piece)};
static const struct shape shape_edit = SHAPE(struct iso_pm_edit, edit_fields, false);

static const struct shape_field pm_answer_fields[] = {SH_NUM(struct iso_pm_answer, status),
    SH_ONE(struct iso_pm_answer, reply, &iso_shape_reply),
    SH_ONE(struct iso_pm_answer, verdict, &shape_verdict),
    SH_MANY(struct iso_pm_answer, edit, nedit, 65536, &shape_edit)};
const struct shape iso_shape_pm_answer = SHAPE(struct iso_pm_answer, pm_answer_fields, false);

/* ---- auth ---- */

static const struct shape_field peer_fields[] = {SH_NUM(struct meta1_auth_peer, flags),
    SH_STR(struct meta1_auth_peer, service, 64), SH_STR(struct meta1_auth_peer, server, TEXT),
    SH_STR(struct meta1_auth_peer, local, TEXT), SH_STR(struct meta1_auth_peer, remote, TEXT),
    SH_NUM(struct meta1_auth_peer, tls_bits), SH_STR(struct meta1_auth_peer, external, 65536),
    SH_STR(struct meta1_auth_peer, binding, 64),
    SH_BUF(struct meta1_auth_peer, binding_data, 65536),
    SH_BUF(struct meta1_auth_peer, cert, ISO_VALUE_MAX)};
static const struct shape shape_peer = SHAPE(struct meta1_auth_peer, peer_fields, true);

static const struct shape_field creds_fields[] = {SH_BUF(struct meta1_auth_creds, user, 65536),
    SH_BUF(struct meta1_auth_creds, act_as, 65536), SH_BUF(struct meta1_auth_creds, realm, 65536),
    SH_BUF(struct meta1_auth_creds, secret, 65536)};
static const struct shape shape_creds = SHAPE(struct meta1_auth_creds, creds_fields, true);

static const struct shape_field auth_fields[] = {SH_NUM(struct iso_auth, conv),
    SH_NUM(struct iso_auth, ms), SH_ONE(struct iso_auth, peer, &shape_peer),
    SH_STR(struct iso_auth, mech, TEXT), SH_BUF(struct iso_auth, in, 65536),
    SH_ONE(struct iso_auth, creds, &shape_creds)};
const struct shape iso_shape_auth = SHAPE(struct iso_auth, auth_fields, false);

/* ---- transports ---- */

static const struct shape_field hop_fields[] = {SH_NUM(struct meta1_hop, port),
    SH_STR(struct meta1_hop, host, TEXT), SH_STR(struct meta1_hop, addr, TEXT),
    SH_NUM(struct meta1_hop, connect_timeout), SH_NUM(struct meta1_hop, io_timeout),
    SH_STR(struct meta1_hop, hello, TEXT), SH_STR(struct meta1_hop, source, TEXT),
    SH_NUM(struct meta1_hop, tls), SH_STR(struct meta1_hop, tls_need, 65536)};
static const struct shape shape_hop = SHAPE(struct meta1_hop, hop_fields, true);

static const struct shape_field tr_open_fields[] = {SH_NUM(struct iso_tr_open, session),
    SH_NUM(struct iso_tr_open, ms), SH_ONE(struct iso_tr_open, hop, &shape_hop)};
const struct shape iso_shape_tr_open = SHAPE(struct iso_tr_open, tr_open_fields, false);

static const struct shape_field rcpt_fields[] = {SH_BUF(struct meta1_rcpt, addr, TEXT),
    SH_BUF(struct meta1_rcpt, orcpt, TEXT), SH_NUM(struct meta1_rcpt, notify)};
static const struct shape shape_rcpt = SHAPE(struct meta1_rcpt, rcpt_fields, false);

static const struct shape_field tr_send_fields[] = {SH_NUM(struct iso_tr_send, session),
    SH_NUM(struct iso_tr_send, flags), SH_NUM(struct iso_tr_send, without),
    SH_NUM(struct iso_tr_send, ms), SH_NUM(struct iso_tr_send, bytes),
    SH_STR(struct iso_tr_send, id, TEXT), SH_BUF(struct iso_tr_send, from, TEXT),
    SH_BUF(struct iso_tr_send, envid, TEXT),
    SH_MANY(struct iso_tr_send, rcpt, nrcpt, 65536, &shape_rcpt),
    SH_MANY(struct iso_tr_send, piece, npiece, 65536, &shape_piece)};
const struct shape iso_shape_tr_send = SHAPE(struct iso_tr_send, tr_send_fields, false);

static const struct shape_field tr_rcpt_fields[] = {SH_NUM(struct iso_tr_rcpt, rcpt),
    SH_NUM(struct iso_tr_rcpt, status), SH_ONE(struct iso_tr_rcpt, reply, &iso_shape_reply)};
const struct shape iso_shape_tr_rcpt = SHAPE(struct iso_tr_rcpt, tr_rcpt_fields, false);

static const struct shape_field caps_fields[] = {
    SH_NUM(struct meta1_caps, offers), SH_NUM(struct meta1_caps, max_size)};
static const struct shape shape_caps = SHAPE(struct meta1_caps, caps_fields, true);

static const struct shape_field tr_answer_fields[] = {SH_NUM(struct iso_tr_answer, status),
    SH_NUM(struct iso_tr_answer, usable), SH_ONE(struct iso_tr_answer, reply, &iso_shape_reply),
    SH_ONE(struct iso_tr_answer, caps, &shape_caps), SH_STR(struct iso_tr_answer, tls, TEXT)};
const struct shape iso_shape_tr_answer = SHAPE(struct iso_tr_answer, tr_answer_fields, false);

/* ---- all kinds ---- */

static const struct shape_field session_fields[] = {SH_NUM(struct iso_session, session)};
const struct shape iso_shape_session = SHAPE(struct iso_session, session_fields, false);

static const struct shape_field drain_fields[] = {SH_NUM(struct iso_drain, ms)};
const struct shape iso_shape_drain = SHAPE(struct iso_drain, drain_fields, false);
