/* SPDX-License-Identifier: BSD-2-Clause */
/* settings_check.h -- rules over several options, between settings.c and settings_check.c. */
#ifndef META1_SETTINGS_CHECK_H
#define META1_SETTINGS_CHECK_H
#include "settings.h"

/* Kind of a module by its name's prefix ("map" of map_text), or NULL. */
const char *settings_kind(const char *module);

void check_global(struct conf *, struct conf_section *root, const struct settings *);
void check_role(struct conf *, const struct set_role *, const char *owner);
void check_listen(struct conf *, struct set_listen *, const char *owner);
/* As many keys as certificates, and some. */
void check_tls(struct conf *, struct conf_section *, const char *owner, const struct set_tls *);
void check_module_section(struct conf *, const struct conf_section *);
/* The lists of nameserver and trusted_nameserver. */
void check_nameservers(
    struct conf *, struct conf_section *smar, const char *option, const char *const *list);
void check_dnsbl(struct conf *, const struct set_dnsbl *);
void check_recipient_probe(struct conf *, const struct set_probe *);
void check_greylisting(struct conf *, const struct set_greylisting *);
/* Each value of a list of peers is one that netlist.h knows. */
void check_networks(
    struct conf *, struct conf_section *, const char *option, const char *const *list);
void check_map_name(struct conf *, const struct set_smar *, struct conf_section *use,
    const char *owner, const char *name);
/* The map is there, and each flag that is set means something in this section. */
void check_use(struct conf *, const struct set_smar *, struct conf_section *, const char *owner,
    const struct set_use *, uint64_t allowed);
/* smar's access map and the smtps sections that ask it go together. */
void check_access_is_asked(struct conf *, const struct settings *);
void check_delimiter(struct conf *, struct conf_section *smar, const char *delimiter);
void check_smtpc(struct conf *, const struct set_smtpc *, struct conf_section *);
void check_qmgr(
    struct conf *, const struct set_qmgr *, struct conf_section *qmgr, struct conf_section *limits);
/* settings_filter.c: policy_milter of set's section, and its filters. */
void settings_filter_bind(
    struct conf *, struct set_smtps *, enum opt_mode, const char *queue_directory);
/* dsn_filters wants a filter; and its name is no socket's. */
void settings_filter_check(struct conf *, const struct settings *);
/* settings_isolate.c: isolate is said where its kind of module has no process of its own. */
void check_not_isolated(struct conf *, struct conf_section *, const char *kind);
void check_isolate(struct conf *, struct settings *);
/* settings_transport.c: the sections transport NAME. */
void settings_transport_bind(
    struct conf *, struct set_smtpc *, enum opt_mode, const char *queue_directory);
void check_dependencies(struct conf *, const struct settings *, const struct set_role *);

#endif
