/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/longs.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "util/encode.h"
#include "util/mutex.h"

enum { ENTRIES_MAX = 4096, HASH_BYTES = 16, BEGIN_MAX = 200 };

static const struct {
    const char *text;
    bool beside;
} prefixes[] = {{NAMES_LONG, false}, {NAMES_LONG_BESIDE, true}};
enum { PREFIXES = sizeof(prefixes) / sizeof(prefixes[0]) };

struct known {
    UT_hash_handle hh;
    char *component;
    char name[];
};

struct longs {
    struct mutex lock;
    struct known *names GUARDED_BY(lock);
};

int longs_new(struct longs **ret)
{
    struct longs *longs = calloc(1, sizeof(*longs));

    if (longs == NULL) {
        return -ENOMEM;
    }
    mutex_init(&longs->lock);
    *ret = longs;
    return 0;
}

static void clear(struct longs *longs) REQUIRES(&longs->lock)
{
    struct known *known;
    struct known *next;

    HASH_ITER(hh, longs->names, known, next)
    {
        HASH_DEL(longs->names, known);
        free(known->component);
        free(known);
    }
}

void longs_free(struct longs *longs)
{
    if (longs != NULL) {
        mutex_lock(&longs->lock);
        clear(longs);
        mutex_unlock(&longs->lock);
        mutex_done(&longs->lock);
        free(longs);
    }
}

/* A name that cannot be remembered is found again by longs.h's other way. */
static void remember(struct longs *longs, const char *name, struct slice component)
    REQUIRES(&longs->lock)
{
    size_t len = strlen(name);
    struct known *known;

    HASH_FIND_STR(longs->names, name, known);
    if (known != NULL) {
        return;
    }
    if (HASH_COUNT(longs->names) >= ENTRIES_MAX) {
        clear(longs);
    }
    known = calloc(1, sizeof(*known) + len + 1);
    if (known == NULL || (known->component = strndup(component.data, component.len)) == NULL) {
        free(known);
        return;
    }
    memcpy(known->name, name, len + 1);
    HASH_ADD_KEYPTR(hh, longs->names, known->name, len, known);
    if (known->hh.tbl == NULL) {
        free(known->component);
        free(known);
    }
}

static int make_name(struct slice component, bool beside, char ret[NAMES_MAX + 1])
{
    CLEANUP(buf_done) struct buf name = BUF_INIT(NAMES_MAX + 1);
    unsigned char digest[EVP_MAX_MD_SIZE];
    size_t begin = component.len < BEGIN_MAX ? component.len : BEGIN_MAX;

    if (EVP_Digest(component.data, component.len, digest, NULL, EVP_sha256(), NULL) != 1) {
        return -EIO;
    }
    while (begin > 0 && begin < component.len &&
           ((unsigned char)component.data[begin] & 0xC0) == 0x80) {
        begin--;
    }
    buf_addstr(&name, prefixes[beside ? 1 : 0].text);
    buf_add(&name, component.data, begin);
    buf_addstr(&name, "%");
    encode_hex(&name, digest, HASH_BYTES);
    if (buf_error(&name) != 0) {
        return buf_error(&name);
    }
    memcpy(ret, buf_str(&name), buf_len(&name) + 1);
    return 0;
}

int longs_name(struct longs *longs, struct slice component, bool beside, char ret[NAMES_MAX + 1])
{
    int r = names_from_key(component, beside, ret);

    if (r != -ENAMETOOLONG) {
        return r;
    }
    r = make_name(component, beside, ret);
    if (r == 0) {
        mutex_lock(&longs->lock);
        remember(longs, ret, component);
        mutex_unlock(&longs->lock);
    }
    return r;
}

bool longs_is(const char *name, bool *ret_beside, struct slice *begin)
{
    size_t len = strlen(name);
    size_t tail = 2 * HASH_BYTES + 1;

    for (size_t i = 0; i < PREFIXES; i++) {
        size_t head = strlen(prefixes[i].text);

        if (strncmp(name, prefixes[i].text, head) == 0 && len >= head + tail &&
            name[len - tail] == '%') {
            *ret_beside = prefixes[i].beside;
            *begin = (struct slice){name + head, len - head - tail};
            return true;
        }
    }
    return false;
}

int longs_find(struct longs *longs, const char *name, struct buf *out)
{
    struct known *known;

    mutex_lock(&longs->lock);
    HASH_FIND_STR(longs->names, name, known);
    if (known != NULL) {
        buf_addstr(out, known->component);
    }
    mutex_unlock(&longs->lock);
    return known == NULL ? -ENOENT : buf_error(out);
}

int longs_beside(const char *name, bool *ret_beside)
{
    char component[NAMES_COMPONENT_MAX + 1];
    struct slice begin;

    return longs_is(name, ret_beside, &begin) ? 0 : names_to_key(name, ret_beside, component);
}

int longs_component(struct longs *longs, const char *name, struct buf *out)
{
    char component[NAMES_COMPONENT_MAX + 1];
    struct slice begin;
    bool beside;
    int r;

    if (longs_is(name, &beside, &begin)) {
        return longs_find(longs, name, out);
    }
    r = names_to_key(name, &beside, component);
    if (r == 0) {
        buf_addstr(out, component);
        r = buf_error(out);
    }
    return r;
}
