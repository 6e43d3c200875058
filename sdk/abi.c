/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * abi.c -- offsets and sizes of every struct of the SDK on this machine.
 *	abi -p		prints them, as sdk/abi.txt has them
 *	abi		compares with sdk/abi.txt: a line that changed breaks modules that
 *			are built already; lines that are new are an append
 * Comes from make check; a struct or field that is not in this table is seen by the
 * size of its struct. The table is written by hand, in the order of the headers.
 */
#include <meta1/auth.h>
#include <meta1/map.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(T)	{#T, "", 0, sizeof(struct T)},
#define F(T, f) {#T, "." #f, offsetof(struct T, f), sizeof(((struct T *)0)->f)},

/* clang-format off */
static const struct {
	const char *type, *field;
	size_t off, len;
} abi[] = {
	S(meta1_buf)
	F(meta1_buf, data)
	F(meta1_buf, len)
	S(meta1_err)
	F(meta1_err, text)
	S(meta1_opt)
	F(meta1_opt, name)
	F(meta1_opt, def)
	F(meta1_opt, range)
	F(meta1_opt, doc)
	F(meta1_opt, type)
	F(meta1_opt, flags)
	F(meta1_opt, off)
	S(meta1_reply)
	F(meta1_reply, size)
	F(meta1_reply, nval)
	F(meta1_reply, val)
	F(meta1_reply, text)
	F(meta1_reply, ttl)
	F(meta1_reply, smtp)
	F(meta1_reply, scope)
	F(meta1_reply, dsn)
	F(meta1_reply, taken)
	F(meta1_reply, ext)
	F(meta1_reply, host)
	S(meta1_extent)
	F(meta1_extent, mem)
	F(meta1_extent, off)
	F(meta1_extent, len)
	F(meta1_extent, fd)
	F(meta1_extent, pad)
	S(meta1_hop)
	F(meta1_hop, size)
	F(meta1_hop, port)
	F(meta1_hop, host)
	F(meta1_hop, addr)
	F(meta1_hop, connect_timeout)
	F(meta1_hop, io_timeout)
	F(meta1_hop, hello)
	F(meta1_hop, source)
	F(meta1_hop, tls)
	F(meta1_hop, pad)
	F(meta1_hop, tls_need)
	F(meta1_hop, login)
	S(meta1_conn_events)
	F(meta1_conn_events, connected)
	F(meta1_conn_events, input)
	F(meta1_conn_events, gone)
	F(meta1_conn_events, secured)
	S(meta1_conn_ops)
	F(meta1_conn_ops, size)
	F(meta1_conn_ops, pad)
	F(meta1_conn_ops, open)
	F(meta1_conn_ops, line)
	F(meta1_conn_ops, write)
	F(meta1_conn_ops, send)
	F(meta1_conn_ops, timeout)
	F(meta1_conn_ops, unsent)
	F(meta1_conn_ops, close)
	F(meta1_conn_ops, starttls)
	F(meta1_conn_ops, tls)
	F(meta1_conn_ops, login)
	F(meta1_conn_ops, login_step)
	F(meta1_conn_ops, login_over)
	S(meta1_tls)
	F(meta1_tls, size)
	F(meta1_tls, bits)
	F(meta1_tls, version)
	F(meta1_tls, cipher)
	F(meta1_tls, trusted)
	F(meta1_tls, named)
	F(meta1_tls, why)
	F(meta1_tls, subject)
	F(meta1_tls, issuer)
	F(meta1_tls, accepted)
	F(meta1_tls, pad)
	F(meta1_tls, how)
	F(meta1_tls, refused)
	S(meta1_host)
	F(meta1_host, size)
	F(meta1_host, abi_major)
	F(meta1_host, abi_minor)
	F(meta1_host, role)
	F(meta1_host, process)
	F(meta1_host, version)
	F(meta1_host, hostname)
	F(meta1_host, qdir)
	F(meta1_host, log)
	F(meta1_host, count)
	F(meta1_host, alloc)
	F(meta1_host, free)
	F(meta1_host, watch_fd)
	F(meta1_host, watch_timer)
	F(meta1_host, rearm)
	F(meta1_host, unwatch)
	F(meta1_host, post)
	F(meta1_host, offload)
	F(meta1_host, base)
	F(meta1_host, now)
	F(meta1_host, wall)
	F(meta1_host, req_alloc)
	F(meta1_host, req_slot)
	F(meta1_host, req_deadline)
	F(meta1_host, req_ctx)
	F(meta1_host, finish)
	F(meta1_host, rcpt_result)
	F(meta1_host, map)
	F(meta1_host, map_lookup)
	F(meta1_host, changed)
	F(meta1_host, dns)
	F(meta1_host, conn)
	F(meta1_host, domain_key)
	S(meta1_module)
	F(meta1_module, magic)
	F(meta1_module, size)
	F(meta1_module, abi_major)
	F(meta1_module, abi_minor)
	F(meta1_module, kind)
	F(meta1_module, roles)
	F(meta1_module, flags)
	F(meta1_module, libevent)
	F(meta1_module, name)
	F(meta1_module, version)
	F(meta1_module, summary)
	F(meta1_module, opt)
	F(meta1_module, nopt)
	F(meta1_module, sizeof_opt)
	F(meta1_module, sizeof_conf)
	F(meta1_module, pad)
	F(meta1_module, check)
	F(meta1_module, open)
	F(meta1_module, drain)
	F(meta1_module, close)
	F(meta1_module, ops)
	S(meta1_mapsrc)
	F(meta1_mapsrc, next)
	S(meta1_map_ops)
	F(meta1_map_ops, size)
	F(meta1_map_ops, props)
	F(meta1_map_ops, lookup)
	F(meta1_map_ops, cancel)
	F(meta1_map_ops, create)
	F(meta1_map_ops, find)
	S(meta1_rcpt)
	F(meta1_rcpt, addr)
	F(meta1_rcpt, orcpt)
	F(meta1_rcpt, notify)
	F(meta1_rcpt, pad)
	S(meta1_mail)
	F(meta1_mail, size)
	F(meta1_mail, nrcpt)
	F(meta1_mail, sizeof_rcpt)
	F(meta1_mail, flags)
	F(meta1_mail, id)
	F(meta1_mail, from)
	F(meta1_mail, rcpt)
	F(meta1_mail, extent)
	F(meta1_mail, nextent)
	F(meta1_mail, pad)
	F(meta1_mail, bytes)
	F(meta1_mail, envid)
	F(meta1_mail, without)
	F(meta1_mail, pad2)
	S(meta1_caps)
	F(meta1_caps, size)
	F(meta1_caps, offers)
	F(meta1_caps, max_size)
	S(meta1_transport_ops)
	F(meta1_transport_ops, size)
	F(meta1_transport_ops, props)
	F(meta1_transport_ops, open)
	F(meta1_transport_ops, send)
	F(meta1_transport_ops, usable)
	F(meta1_transport_ops, shut)
	F(meta1_transport_ops, cancel)
	F(meta1_transport_ops, past_dot)
	F(meta1_transport_ops, caps)
	F(meta1_transport_ops, probe)
	F(meta1_transport_ops, tls)
	S(meta1_ref)
	F(meta1_ref, len)
	F(meta1_ref, b)
	S(meta1_qrcpt)
	F(meta1_qrcpt, addr)
	F(meta1_qrcpt, state)
	F(meta1_qrcpt, tries)
	F(meta1_qrcpt, next_try)
	F(meta1_qrcpt, reason)
	F(meta1_qrcpt, orcpt)
	F(meta1_qrcpt, notify)
	F(meta1_qrcpt, flags)
	F(meta1_qrcpt, sender)
	F(meta1_qrcpt, alias)
	S(meta1_env)
	F(meta1_env, size)
	F(meta1_env, nrcpt)
	F(meta1_env, sizeof_rcpt)
	F(meta1_env, flags)
	F(meta1_env, from)
	F(meta1_env, client)
	F(meta1_env, rcpt)
	F(meta1_env, time)
	F(meta1_env, bytes)
	S(meta1_qentry)
	F(meta1_qentry, size)
	F(meta1_qentry, pad)
	F(meta1_qentry, id)
	F(meta1_qentry, ref)
	F(meta1_qentry, bytes_stored)
	F(meta1_qentry, env)
	F(meta1_qentry, key)
	S(meta1_qevents)
	F(meta1_qevents, size)
	F(meta1_qevents, pad)
	F(meta1_qevents, entry)
	F(meta1_qevents, space)
	F(meta1_qevents, damage)
	F(meta1_qevents, loaded)
	F(meta1_qevents, moved)
	F(meta1_qevents, history_time)
	F(meta1_qevents, history_size)
	S(meta1_qoutcome)
	F(meta1_qoutcome, size)
	F(meta1_qoutcome, rcpt)
	F(meta1_qoutcome, id)
	F(meta1_qoutcome, key)
	F(meta1_qoutcome, state)
	F(meta1_qoutcome, tries)
	F(meta1_qoutcome, next_try)
	F(meta1_qoutcome, reason)
	F(meta1_qoutcome, by)
	F(meta1_qoutcome, addr)
	F(meta1_qoutcome, from)
	F(meta1_qoutcome, bytes)
	S(meta1_content)
	F(meta1_content, size)
	F(meta1_content, nextent)
	F(meta1_content, extent)
	F(meta1_content, bytes_stored)
	F(meta1_content, store)
	S(meta1_qops_writer_events)
	F(meta1_qops_writer_events, ready)
	S(meta1_qfate)
	F(meta1_qfate, size)
	F(meta1_qfate, state)
	F(meta1_qfate, id)
	F(meta1_qfate, addr)
	F(meta1_qfate, from)
	F(meta1_qfate, by)
	F(meta1_qfate, bytes)
	F(meta1_qfate, time)
	F(meta1_qfate, accepted)
	F(meta1_qfate, tries)
	S(meta1_qcheck)
	F(meta1_qcheck, size)
	F(meta1_qcheck, fate)
	F(meta1_qcheck, found)
	F(meta1_qcheck, message)
	S(meta1_queue_ops)
	F(meta1_queue_ops, size)
	F(meta1_queue_ops, props)
	F(meta1_queue_ops, format)
	F(meta1_queue_ops, writer)
	F(meta1_queue_ops, next_id)
	F(meta1_queue_ops, begin)
	F(meta1_queue_ops, write)
	F(meta1_queue_ops, written)
	F(meta1_queue_ops, commit)
	F(meta1_queue_ops, abort)
	F(meta1_queue_ops, tail)
	F(meta1_queue_ops, reclaim)
	F(meta1_queue_ops, load)
	F(meta1_queue_ops, unload)
	F(meta1_queue_ops, manage)
	F(meta1_queue_ops, notice)
	F(meta1_queue_ops, outcome)
	F(meta1_queue_ops, attach)
	F(meta1_queue_ops, cancel)
	F(meta1_queue_ops, detach)
	F(meta1_queue_ops, fetch)
	F(meta1_queue_ops, check)
	S(meta1_auth_peer)
	F(meta1_auth_peer, size)
	F(meta1_auth_peer, flags)
	F(meta1_auth_peer, service)
	F(meta1_auth_peer, server)
	F(meta1_auth_peer, local)
	F(meta1_auth_peer, remote)
	F(meta1_auth_peer, tls_bits)
	F(meta1_auth_peer, pad)
	F(meta1_auth_peer, external)
	F(meta1_auth_peer, binding)
	F(meta1_auth_peer, binding_data)
	F(meta1_auth_peer, cert)
	S(meta1_auth_creds)
	F(meta1_auth_creds, size)
	F(meta1_auth_creds, pad)
	F(meta1_auth_creds, user)
	F(meta1_auth_creds, act_as)
	F(meta1_auth_creds, realm)
	F(meta1_auth_creds, secret)
	S(meta1_auth_ops)
	F(meta1_auth_ops, size)
	F(meta1_auth_ops, props)
	F(meta1_auth_ops, offer)
	F(meta1_auth_ops, start)
	F(meta1_auth_ops, login)
	F(meta1_auth_ops, step)
	F(meta1_auth_ops, end)
	F(meta1_auth_ops, cancel)
};
/* clang-format on */

static void line(size_t i, char *out, size_t size)
{
	snprintf(out, size, "%s%s %zu %zu", abi[i].type, abi[i].field, abi[i].off, abi[i].len);
}

static int compare(const char *file)
{
	char want[160], got[160];
	size_t i, n = sizeof(abi) / sizeof(abi[0]);
	FILE *in = fopen(file, "r");
	int bad = 0;

	if (!in) {
		perror(file);
		return 1;
	}
	for (i = 0; fgets(want, sizeof(want), in);) {
		want[strcspn(want, "\n")] = '\0';
		if (!*want || *want == '#')
			continue;
		if (i == n) {
			printf("%s: \"%s\" is not in the headers any more\n", file, want);
			bad = 1;
			continue;
		}
		line(i++, got, sizeof(got));
		if (!bad && strcmp(want, got) != 0) {
			printf("%s has \"%s\", the headers \"%s\"\n", file, want, got);
			bad = 1;
		}
	}
	fclose(in);
	if (i < n) {
		line(i, got, sizeof(got));
		printf("%s lacks \"%s\"\n", file, got);
		bad = 1;
	}
	if (bad)
		puts("The ABI changed. Appended at the end of a struct that starts with its size: "
		     "raise\n"
		     "META1_ABI_MINOR; anything else: META1_ABI_MAJOR (minor, while major is 0). "
		     "Say\n"
		     "why in sdk/abi-history, then write the list anew: sdk/abi -p >sdk/abi.txt");
	return bad;
}

int main(int argc, char **argv)
{
	char text[160], file[4096];
	const char *src = getenv("srcdir");
	size_t i;

	if (sizeof(void *) != 8) {
		puts("the list is of machines with 64-bit pointers");
		return 77;
	}
	if (argc < 2 || strcmp(argv[1], "-p") != 0) {
		snprintf(file, sizeof(file), "%s/sdk/abi.txt", src ? src : ".");
		return compare(file);
	}
	printf("# Made by sdk/abi -p: struct.field offset size, with 64-bit pointers. ABI %u.%u\n",
	    META1_ABI_MAJOR, META1_ABI_MINOR);
	for (i = 0; i < sizeof(abi) / sizeof(abi[0]); i++) {
		line(i, text, sizeof(text));
		puts(text);
	}
	return 0;
}
