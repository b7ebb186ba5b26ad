/* SPDX-License-Identifier: Apache-2.0 */
/* The form in which the metaserver keeps a file's attributes: small, and the same on any machine.
 */
#include <endian.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/managed/facts.h"

enum {
    VERSION = 1,
    HAS_MODE = 1 << 0,
    HAS_UID = 1 << 1,
    HAS_GID = 1 << 2,
    HAS_MTIME = 1 << 3,
    HAS_CTIME = 1 << 4,
    HAS_ATIME = 1 << 5,
    EXACT = 1 << 6,
    HEAD_SIZE = 2 + 2 * 2 + 4 * 4 + 4 * 8,
};
/* A PUT's answer is of a time just after the object's. */
static const int64_t before_ns = INT64_C(2000000000);
static const int64_t after_ns = INT64_C(1000000000);

static unsigned char *put(unsigned char *to, uint64_t value, size_t bytes)
{
    uint64_t little = htole64(value);

    memcpy(to, &little, bytes);
    return to + bytes;
}

static uint64_t get(const unsigned char **from, size_t bytes)
{
    uint64_t little = 0;

    memcpy(&little, *from, bytes);
    *from += bytes;
    return le64toh(little);
}

static uint8_t flags_of(const struct facts_told *what)
{
    const struct attr *a = what->attr;
    bool all = !what->partly;

    return (uint8_t)((all || a->has_mode ? HAS_MODE : 0) | (all || a->has_uid ? HAS_UID : 0) |
                     (all || a->has_gid ? HAS_GID : 0) | (all || a->has_mtime ? HAS_MTIME : 0) |
                     (all || a->has_ctime ? HAS_CTIME : 0) | (all || a->has_atime ? HAS_ATIME : 0) |
                     (what->exact ? EXACT : 0));
}

size_t facts_pack(const struct facts_told *what, unsigned char ret[FACTS_PACKED_MAX])
{
    const struct attr *a = what->attr;
    const char *target = S_ISLNK(a->mode) && what->target != NULL ? what->target : "";
    size_t xattr_len = a->xattr != NULL ? strlen(a->xattr) : 0;
    size_t target_len = strlen(target);
    unsigned char *to = ret;

    if (HEAD_SIZE + xattr_len + target_len > FACTS_PACKED_MAX) {
        return 0;
    }
    to = put(to, VERSION, 1);
    to = put(to, flags_of(what), 1);
    to = put(to, xattr_len, 2);
    to = put(to, target_len, 2);
    to = put(to, a->mode, 4);
    to = put(to, a->uid, 4);
    to = put(to, a->gid, 4);
    to = put(to, a->rdev, 4);
    to = put(to, (uint64_t)a->mtime_ns, 8);
    to = put(to, (uint64_t)a->ctime_ns, 8);
    to = put(to, (uint64_t)a->atime_ns, 8);
    to = put(to, (uint64_t)what->modified_ns, 8);
    if (xattr_len > 0) {
        memcpy(to, a->xattr, xattr_len);
    }
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): its length goes before it */
    memcpy(to + xattr_len, target, target_len);
    return HEAD_SIZE + xattr_len + target_len;
}

bool facts_unpack(const void *data, size_t len, char *copy, struct facts_packed *ret)
{
    const unsigned char *from = data;
    size_t xattr_len;
    size_t target_len;
    uint8_t flags;

    if (len < HEAD_SIZE || len > FACTS_PACKED_MAX || get(&from, 1) != VERSION) {
        return false;
    }
    flags = (uint8_t)get(&from, 1);
    xattr_len = get(&from, 2);
    target_len = get(&from, 2);
    if (HEAD_SIZE + xattr_len + target_len != len) {
        return false;
    }
    *ret = (struct facts_packed){.attr = {.has_mode = (flags & HAS_MODE) != 0,
                                          .has_uid = (flags & HAS_UID) != 0,
                                          .has_gid = (flags & HAS_GID) != 0,
                                          .has_mtime = (flags & HAS_MTIME) != 0,
                                          .has_ctime = (flags & HAS_CTIME) != 0,
                                          .has_atime = (flags & HAS_ATIME) != 0},
                                 .exact = (flags & EXACT) != 0};
    ret->attr.mode = (uint32_t)get(&from, 4);
    ret->attr.uid = (uint32_t)get(&from, 4);
    ret->attr.gid = (uint32_t)get(&from, 4);
    ret->attr.rdev = (uint32_t)get(&from, 4);
    ret->attr.mtime_ns = (int64_t)get(&from, 8);
    ret->attr.ctime_ns = (int64_t)get(&from, 8);
    ret->attr.atime_ns = (int64_t)get(&from, 8);
    ret->modified_ns = (int64_t)get(&from, 8);
    memcpy(copy, from, xattr_len);
    copy[xattr_len] = '\0';
    memcpy(copy + xattr_len + 1, from + xattr_len, target_len);
    copy[xattr_len + 1 + target_len] = '\0';
    ret->attr.xattr = xattr_len > 0 ? copy : NULL;
    ret->target = target_len > 0 ? copy + xattr_len + 1 : NULL;
    return memchr(copy, '\0', xattr_len + 1) == copy + xattr_len &&
           memchr(copy + xattr_len + 1, '\0', target_len + 1) == copy + xattr_len + 1 + target_len;
}

bool facts_match(const struct facts_packed *packed, int64_t listed_ns)
{
    int64_t away;

    if (packed->exact) {
        /* A header has whole seconds, a listing may have less. */
        return packed->modified_ns / 1000000000 == listed_ns / 1000000000;
    }
    return !__builtin_sub_overflow(listed_ns, packed->modified_ns, &away) && away >= -before_ns &&
           away <= after_ns;
}
