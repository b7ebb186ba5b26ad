/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/doubts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/names/graves.h"
#include "objstore/objstore_call.h"

enum {
    META_TIMEOUT_MS = 50000,
    ITEMS_MAX = 1024, /* of one listing; what is beyond is believed */
    AT_ONCE = 32,
    ENTRIES_FEW = 2, /* a marker and something else */
};

void doubts_done(struct doubts *doubts)
{
    for (size_t i = 0; i < doubts->count; i++) {
        free(doubts->items[i].key);
        free(doubts->items[i].name);
    }
    free(doubts->items);
    *doubts = (struct doubts){0};
}

/* Takes key and name over. */
static int add(struct doubts *doubts, const struct doubt *what)
{
    struct doubt *items =
        doubts->items != NULL ? doubts->items : calloc(ITEMS_MAX, sizeof(*doubts->items));

    if (items == NULL || what->key == NULL) {
        free(what->key);
        free(what->name);
        free(doubts->items == NULL ? items : NULL);
        return -ENOMEM;
    }
    doubts->items = items;
    doubts->items[doubts->count++] = *what;
    return 0;
}

static char *key_of(struct fs *fs, uint32_t dir, const char *name, bool is_dir) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (fs_child_key(fs, dir, name, &key) != 0) {
        return NULL;
    }
    buf_addstr(&key, is_dir ? "/" : "");
    return buf_error(&key) == 0 ? strdup(buf_str(&key)) : NULL;
}

static bool changed_lately(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    return (fs_rec(fs, node)->flags & (INODE_NEW | INODE_LINKED)) == 0 &&
           fs_lately(node->touched_s);
}

/* Entries of names that were taken away before the listing was asked for, and that nobody has made
 * here again. */
static int gather_gone(struct fs *fs, uint32_t dir, const struct listing *listing,
                       struct doubts *ret) REQUIRES(&fs->lock)
{
    int r = 0;

    if (!fs_lately(fs->removed_s)) {
        return 0;
    }
    for (size_t i = 0; r == 0 && i < listing->count && ret->count < ITEMS_MAX; i++) {
        const struct listing_entry *e = &listing->entries[i];
        const char *name = listing_name(listing, e);

        if (fs_removed_lately(fs, dir, name, e->is_dir) && fs_child(fs, dir, name) == NULL &&
            !fs_name_hidden(fs, dir, name, e->is_dir, listing->asked)) {
            const struct doubt doubt = {
                .key = key_of(fs, dir, name, e->is_dir), .entry = i, .is_dir = e->is_dir};

            r = add(ret, &doubt);
        }
    }
    return r;
}

/* Names that were made here and are in no listing yet. */
static int gather_made(struct fs *fs, uint32_t ino, const struct listing *listing,
                       struct doubts *ret) REQUIRES(&fs->lock)
{
    const struct node *dir = fs_node(fs, ino);
    const struct node *node;
    int r = 0;

    if (dir == NULL || !fs_lately(fs->touched_s)) {
        return dir == NULL ? -ESTALE : 0;
    }
    LIST_FOREACH (node, &dir->below, sibling) {
        const char *name = node->name_key + sizeof(uint32_t);
        bool is_dir = S_ISDIR(fs_rec(fs, node)->mode);

        if (r == 0 && ret->count < ITEMS_MAX && changed_lately(fs, node) &&
            (!is_dir || (fs_rec(fs, node)->flags & INODE_MARKER) != 0) &&
            (listing == NULL ||
             (node->changed <= listing->asked && listing_find(listing, name) == NULL))) {
            struct doubt doubt = {
                .key = key_of(fs, ino, name, is_dir), .name = strdup(name), .is_dir = is_dir};

            if (doubt.name == NULL) {
                free(doubt.key);
                doubt.key = NULL; /* which is what add() looks at */
            }
            r = add(ret, &doubt);
        }
    }
    return r;
}

/* An error other than ENOENT tells nothing: then the listing is right. */
static void ask(struct fs *fs, struct doubts *doubts)
{
    for (size_t from = 0; from < doubts->count; from += AT_ONCE) {
        struct objstore_request requests[AT_ONCE];
        struct objstore_answer answers[AT_ONCE];
        size_t n = doubts->count - from < AT_ONCE ? doubts->count - from : AT_ONCE;

        for (size_t i = 0; i < n; i++) {
            answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
            requests[i] = (struct objstore_request){.op = OBJSTORE_HEAD,
                                                    .key = doubts->items[from + i].key,
                                                    .timeout_ms = META_TIMEOUT_MS};
        }
        (void)volume_call_many(fs->volume, requests, answers, n);
        for (size_t i = 0; i < n; i++) {
            struct doubt *item = &doubts->items[from + i];
            int status = answers[i].result.status;

            item->exists = status == 0 || (status != -ENOENT && item->name == NULL);
            objstore_answer_done(&answers[i]);
        }
    }
}

/*
 * A directory without an object of its own is there by what is below it: others may have put that
 * there since. A listing that shows what was below the one that has gone is as wrong as the other.
 */
static bool has_some(struct fs *fs, const char *dir)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(doubts_done) struct doubts below = {0};
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .key = dir, .max_entries = AT_ONCE, .timeout_ms = META_TIMEOUT_MS};
    int ret = volume_call(fs->volume, &list, &answer);
    bool some = ret != 0; /* which tells nothing */

    mutex_lock(&fs->lock);
    for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
        const char *key = answer.result.entries[i].key;
        const struct doubt doubt = {.key = graves_has(fs, key) ? NULL : strdup(key)};

        ret = doubt.key != NULL ? add(&below, &doubt) : 0;
    }
    mutex_unlock(&fs->lock);
    ask(fs, &below);
    for (size_t i = 0; i < below.count; i++) {
        some |= below.items[i].exists;
    }
    return some;
}

int doubts_ask(struct fs *fs, uint32_t dir, const struct listing *listing, struct doubts *ret)
{
    int r = 0;

    mutex_lock(&fs->lock);
    r = gather_gone(fs, dir, listing, ret);
    r = r == 0 ? gather_made(fs, dir, listing, ret) : r;
    mutex_unlock(&fs->lock);
    if (r == 0) {
        ask(fs, ret);
    }
    for (size_t i = 0; r == 0 && i < ret->count; i++) {
        struct doubt *item = &ret->items[i];

        if (item->name == NULL && item->is_dir && !item->exists) {
            item->exists = has_some(fs, item->key);
        }
    }
    return r;
}

/* -ENOTEMPTY: a key that is not one of those that have gone here; else what is to be asked. */
static int gather_keys(struct fs *fs, const struct objstore_result *listed, const char *marker,
                       struct doubts *ret)
{
    int r = 0;

    mutex_lock(&fs->lock);
    for (size_t i = 0; r == 0 && i < listed->count; i++) {
        const char *key = listed->entries[i].key;

        if (strcmp(key, marker) == 0) {
            continue;
        }
        if (ret->count == ITEMS_MAX || !fs_key_removed_lately(fs, key)) {
            r = -ENOTEMPTY;
        } else {
            const struct doubt doubt = {.key = strdup(key)};

            r = add(ret, &doubt);
        }
    }
    mutex_unlock(&fs->lock);
    return r;
}

int doubts_check_empty(struct fs *fs, uint32_t dir, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(doubts_done) struct doubts doubts = {0};
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .key = key, .max_entries = ENTRIES_FEW, .timeout_ms = META_TIMEOUT_MS};
    bool doubted;
    int ret;

    mutex_lock(&fs->lock);
    doubted = fs_lately(fs->touched_s) || fs_lately(fs->removed_s);
    mutex_unlock(&fs->lock);
    list.max_entries = doubted ? ITEMS_MAX / 2 : ENTRIES_FEW;
    ret = volume_call(fs->volume, &list, &answer);
    ret = ret == 0 ? gather_keys(fs, &answer.result, key, &doubts) : ret;
    if (ret == 0 && doubted) {
        mutex_lock(&fs->lock);
        ret = gather_made(fs, dir, NULL, &doubts);
        mutex_unlock(&fs->lock);
    }
    if (ret != 0) {
        return ret;
    }
    ask(fs, &doubts);
    for (size_t i = 0; i < doubts.count; i++) {
        ret = doubts.items[i].exists ? -ENOTEMPTY : ret;
    }
    return ret == 0 && doubts.count > 0 && answer.result.truncated ? -ENOTEMPTY : ret;
}

bool doubts_listed(struct fs *fs, uint32_t parent, const char *name, const struct remote *listed)
{
    const struct node *node = fs_child(fs, parent, name);

    if (node == NULL) {
        return fs_removed_lately(fs, parent, name, listed->is_dir);
    }
    return !S_ISDIR(fs_rec(fs, node)->mode) && fs_lately(node->touched_s) &&
           strcmp(fs_rec(fs, node)->etag, listed->info.etag) != 0;
}

int doubts_find_dir(struct fs *fs, const struct op *op, const char *key, struct remote *remote)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(buf_done) struct buf marker = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct objstore_request head = {.op = OBJSTORE_HEAD, .timeout_ms = META_TIMEOUT_MS};
    uint64_t asked = remote->asked;
    const struct node *node;
    bool doubted;
    int ret;

    mutex_lock(&fs->lock);
    node = fs_child(fs, (uint32_t)op->ino, op->name);
    doubted = node != NULL && S_ISDIR(fs_rec(fs, node)->mode) && changed_lately(fs, node) &&
              (fs_rec(fs, node)->flags & INODE_MARKER) != 0;
    mutex_unlock(&fs->lock);
    if (!doubted) {
        return 0;
    }
    buf_addstr(&marker, key);
    buf_addstr(&marker, "/");
    head.key = buf_str(&marker);
    (void)volume_call(fs->volume, &head, &answer);
    remote_done(remote);
    ret = remote_interpret(fs, buf_str(&marker), &answer.result, remote);
    remote->marker = ret == 0 && remote->exists;
    remote->asked = asked;
    return ret;
}
