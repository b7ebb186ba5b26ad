/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/pointer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/write/settle.h"
#include "objstore/objstore_call.h"
#include "util/hash.h"

enum { TIMEOUT_MS = 50000, REMEMBERED = 256 };

/* By the hash of its key. Under fs->lock. */
struct remembered {
    uint64_t key, number;
    char file[LINKS_FILE_SIZE];
    char etag[STATE_ETAG_SIZE];
};
struct pointers {
    struct remembered all[REMEMBERED];
};

bool pointer_is_file(const char *file)
{
    size_t len = strlen(file);

    return len > 0 && len < LINKS_FILE_SIZE && strspn(file, "0123456789abcdef-") == len;
}

void pointer_file_key(const char *file, char ret[POINTER_FILE_KEY])
{
    (void)snprintf(ret, POINTER_FILE_KEY, VOLUME_LINKS "%s", file);
}

bool pointer_parse(const char *value, char ret_file[LINKS_FILE_SIZE], uint64_t *ret_number)
{
    const char *slash = value != NULL ? strchr(value, '/') : NULL;
    char *end;

    if (slash == NULL || slash - value >= LINKS_FILE_SIZE || strlen(slash + 1) != 16) {
        return false;
    }
    memcpy(ret_file, value, (size_t)(slash - value));
    ret_file[slash - value] = '\0';
    *ret_number = strtoull(slash + 1, &end, 16);
    return *end == '\0' && *ret_number != 0 && pointer_is_file(ret_file);
}

/* Programs give a file its second name and take the first one in the next moment. */
static void remember(struct fs *fs, const char *key, const struct pointer *what)
{
    uint64_t hash = hash_bytes(key, strlen(key));
    struct remembered *at;

    mutex_lock(&fs->lock);
    if (fs->pointers == NULL && what->number != 0) {
        fs->pointers = calloc(1, sizeof(*fs->pointers));
    }
    if (fs->pointers != NULL) {
        at = &fs->pointers->all[hash % REMEMBERED];
        if (what->number != 0) {
            at->key = hash;
            memcpy(at->file, what->file, sizeof(at->file));
            memcpy(at->etag, what->etag, sizeof(at->etag));
        }
        if (what->number != 0 || at->key == hash) {
            at->number = what->number;
        }
    }
    mutex_unlock(&fs->lock);
}

bool pointer_known(struct fs *fs, const char *key, struct pointer *ret)
{
    uint64_t hash = hash_bytes(key, strlen(key));
    const struct remembered *at;

    *ret = (struct pointer){.exists = true};
    mutex_lock(&fs->lock);
    at = fs->pointers != NULL ? &fs->pointers->all[hash % REMEMBERED] : NULL;
    if (at != NULL && at->key == hash) {
        ret->number = at->number;
        memcpy(ret->file, at->file, sizeof(ret->file));
        memcpy(ret->etag, at->etag, sizeof(ret->etag));
    }
    mutex_unlock(&fs->lock);
    return ret->number != 0;
}

void pointer_free(struct fs *fs)
{
    free(fs->pointers);
}

int pointer_read(struct fs *fs, const char *key, struct pointer *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key, .timeout_ms = TIMEOUT_MS};
    struct attr attr;
    int r = volume_call(fs->volume, &head, &answer);

    *ret = (struct pointer){.exists = r == 0};
    if (r == 0) {
        attr_read(&answer.result.info.meta, &arena, &attr);
        (void)snprintf(ret->etag, sizeof(ret->etag), "%s", answer.result.info.etag);
        ret->mark = publish_mark_of(&answer.result.info.meta);
        ret->size = answer.result.info.size;
        ret->mtime_ns = answer.result.info.mtime_ns;
        if (!pointer_parse(attr.link, ret->file, &ret->number)) {
            ret->number = 0;
        }
    }
    if (r == 0 || r == -ENOENT) {
        remember(fs, key, ret);
    }
    return r == -ENOENT ? 0 : r;
}

int pointer_put(struct fs *fs, const struct pointer_put *what)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    char value[LINKS_FILE_SIZE + 20];
    char body[POINTER_FILE_KEY + 64];
    struct objstore_pair pair = {ATTR_LINK, value};
    const struct objstore_meta meta = {.user = &pair, .user_count = 1};
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .key = what->key, .meta = &meta, .timeout_ms = TIMEOUT_MS};
    struct pointer there;
    int r;

    (void)snprintf(value, sizeof(value), "%s/%016" PRIx64, what->file, what->number);
    /* With the number, so that each has an ETag of its own. */
    (void)snprintf(body, sizeof(body), "a name of " VOLUME_LINKS "%s, %016" PRIx64 "\n", what->file,
                   what->number);
    put.source = (struct objstore_source){.data = body, .size = strlen(body)};
    if (what->if_match != NULL && what->if_match[0] != '\0' && fs->caps.if_match_put) {
        put.if_match = what->if_match;
    } else if (what->if_match != NULL && what->if_match[0] == '\0' && fs->caps.if_none_match_put) {
        put.if_none_match = "*";
    }
    r = volume_call(fs->volume, &put, &answer);
    if (r == 0) {
        there = (struct pointer){.number = what->number};
        (void)snprintf(there.file, sizeof(there.file), "%s", what->file);
        (void)snprintf(there.etag, sizeof(there.etag), "%s", answer.result.info.etag);
        remember(fs, what->key, &there);
    }
    if (r == -EEXIST || r == -ESTALE) { /* by a try whose answer was lost? */
        int read = pointer_read(fs, what->key, &there);

        r = read == 0 && there.number == what->number ? 0 : r;
    }
    return r;
}
