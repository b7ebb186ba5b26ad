/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.h - a small certificate authority for mTLS between our programs.
 *
 *     r = authority_root("skyvol", 3650, &ca, &err);
 *     r = authority_issue(&ca, &(struct authority_subject){.common_name = "skyvol-meta",
 *         .names = names, .name_count = 2, .days = 365}, &pair, &err);
 *     key_pair_done(&pair);
 *
 * Keys are ECDSA P-256, unencrypted PEM; every certificate serves as server and client. Names are
 * DNS names, IP addresses (recognised) or URIs (with "://"). No state: safe from any thread. Keys
 * are wiped when freed.
 */
#ifndef UTIL_AUTHORITY_H
#define UTIL_AUTHORITY_H

#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"
#include "util/error.h"

struct key_pair {
    char *certificate; /* PEM */
    char *key;         /* PEM, PKCS#8 */
};

struct authority_subject {
    const char *common_name; /* 1 to 64 bytes */
    const char *const *names;
    size_t name_count; /* at most 64 */
    uint32_t days;     /* of validity, 1 to 36500; it begins five minutes ago, for slow clocks */
};

void key_pair_done(struct key_pair *pair);

/* A self-signed authority that can issue end certificates only. */
int authority_root(const char *common_name, uint32_t days, struct key_pair *ret, struct error *err)
    __attribute__((warn_unused_result));

/* A certificate by `ca`, which may end no later than ca's own. -EINVAL: ca or subject unusable. */
int authority_issue(const struct key_pair *ca, const struct authority_subject *subject,
                    struct key_pair *ret, struct error *err) __attribute__((warn_unused_result));

/* Can a program use these together? -EINVAL with what is wrong in err. Whether `ca` has signed the
 * certificate is not asked: in a renewal both authorities are in use. `ca` may be NULL. */
int authority_check(const char *ca, const struct key_pair *pair, struct error *err)
    __attribute__((warn_unused_result));

/* What a certificate (PEM) says of its subject, into the arena, and when it ends (Unix seconds).
 * days is how long it was made for. */
int authority_read(const char *certificate, struct arena *arena, struct authority_subject *ret,
                   int64_t *ret_end_s) __attribute__((warn_unused_result));

#endif
