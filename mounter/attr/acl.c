/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/attr/acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

enum {
    TAG_USER_OBJ = 0x01,
    TAG_USER = 0x02,
    TAG_GROUP_OBJ = 0x04,
    TAG_GROUP = 0x08,
    TAG_MASK = 0x10,
    TAG_OTHER = 0x20,
    ENTRIES_MAX = 512,
};

/* The entries that a mode speaks of; by index, as they may be unaligned where they lie. */
struct parsed {
    size_t count;
    size_t user, group, mask, other; /* mask: count when there is none */
    bool named;                      /* users or groups by number */
};

static struct posix_acl_xattr_entry entry_get(const void *value, size_t index)
{
    struct posix_acl_xattr_entry e;

    memcpy(&e, (const char *)value + sizeof(struct posix_acl_xattr_header) + index * sizeof(e),
           sizeof(e));
    return e;
}

static uint32_t perm(const void *value, size_t index)
{
    return le16toh(entry_get(value, index).e_perm) & 7U;
}

static void set_perm(void *value, size_t index, uint32_t bits)
{
    struct posix_acl_xattr_entry e = entry_get(value, index);

    e.e_perm = htole16((uint16_t)bits);
    memcpy((char *)value + sizeof(struct posix_acl_xattr_header) + index * sizeof(e), &e,
           sizeof(e));
}

static int place(struct parsed *p, size_t index, unsigned tag)
{
    size_t *where = tag == TAG_USER_OBJ    ? &p->user
                    : tag == TAG_GROUP_OBJ ? &p->group
                    : tag == TAG_MASK      ? &p->mask
                    : tag == TAG_OTHER     ? &p->other
                                           : NULL;

    if (where == NULL) {
        p->named = true;
        return tag == TAG_USER || tag == TAG_GROUP ? 0 : -EINVAL;
    }
    if (*where != p->count) {
        return -EINVAL; /* twice */
    }
    *where = index;
    return 0;
}

static int parse(const void *value, size_t len, struct parsed *ret)
{
    struct posix_acl_xattr_header header;
    size_t count = (len - sizeof(header)) / sizeof(struct posix_acl_xattr_entry);
    unsigned before = 0;
    int r = 0;

    if (len < sizeof(header) ||
        (len - sizeof(header)) % sizeof(struct posix_acl_xattr_entry) != 0 || count > ENTRIES_MAX) {
        return -EINVAL;
    }
    memcpy(&header, value, sizeof(header));
    *ret = (struct parsed){count, count, count, count, count, false};
    for (size_t i = 0; r == 0 && i < count; i++) {
        unsigned tag = le16toh(entry_get(value, i).e_tag);

        r = tag < before ? -EINVAL : place(ret, i, tag);
        before = tag;
    }
    if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION || ret->user == count ||
        ret->group == count || ret->other == count || (ret->named && ret->mask == count)) {
        return -EINVAL;
    }
    return r;
}

int acl_to_mode(const void *value, size_t len, uint32_t *mode, bool *ret_minimal)
{
    struct parsed p;
    int r = parse(value, len, &p);

    if (r == 0) {
        uint32_t group = perm(value, p.mask < p.count ? p.mask : p.group);

        *mode = (*mode & ~0777U) | perm(value, p.user) << 6 | group << 3 | perm(value, p.other);
        *ret_minimal = !p.named && p.mask == p.count;
    }
    return r;
}

int acl_chmod(void *value, size_t len, uint32_t mode)
{
    struct parsed p;
    int r = parse(value, len, &p);

    if (r == 0) {
        set_perm(value, p.user, mode >> 6 & 7);
        set_perm(value, p.mask < p.count ? p.mask : p.group, mode >> 3 & 7);
        set_perm(value, p.other, mode & 7);
    }
    return r;
}

int acl_create(void *value, size_t len, uint32_t *mode, bool *ret_minimal)
{
    struct parsed p;
    int r = parse(value, len, &p);
    size_t group;

    if (r != 0) {
        return r;
    }
    group = p.mask < p.count ? p.mask : p.group;
    set_perm(value, p.user, perm(value, p.user) & *mode >> 6);
    set_perm(value, group, perm(value, group) & *mode >> 3);
    set_perm(value, p.other, perm(value, p.other) & *mode);
    return acl_to_mode(value, len, mode, ret_minimal);
}
