/* SPDX-License-Identifier: Apache-2.0 */
/* Names that do not tell their key component: see longs.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "objstore/objstore_call.h"

int fs_name_allowed(uint64_t parent, const char *name)
{
    char component[NAMES_COMPONENT_MAX + 1];
    bool beside;

    if (strlen(name) > NAMES_MAX) {
        return -ENAMETOOLONG;
    }
    if (longs_beside(name, &beside) != 0) {
        return -EINVAL;
    }
    return parent == STATE_ROOT && names_to_key(name, &beside, component) == 0 &&
                   strcmp(component, ".skyvol") == 0
               ? -EACCES
               : 0;
}

int fs_set_component(struct fs *fs, struct inode_rec *rec, const char *name)
{
    CLEANUP(buf_done) struct buf component = BUF_INIT(OBJSTORE_KEY_MAX + 1);
    uint32_t old = rec->component;
    uint32_t cell = 0;
    struct slice begin;
    bool beside;
    int r = 0;

    if (longs_is(name, &beside, &begin)) {
        r = longs_find(fs->longs, name, &component);
        r = r == 0 ? state_text_new(fs->state, buf_str(&component), buf_len(&component), &cell) : r;
    }
    if (r == 0 && cell != old) {
        STATE_SET(fs->state, rec->component, cell);
        state_text_release(fs->state, old);
    }
    return r;
}

int fs_learn_name(struct fs *fs, uint32_t parent, const char *name)
{
    CLEANUP(buf_done) struct buf prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf found = BUF_INIT(OBJSTORE_KEY_MAX + 1);
    AUTOFREE char *token = NULL;
    char candidate[NAMES_MAX + 1];
    struct slice begin;
    size_t dir_len;
    bool beside;
    bool more = true;
    int r = 0;

    if (!longs_is(name, &beside, &begin) || longs_find(fs->longs, name, &found) == 0) {
        return 0;
    }
    mutex_lock(&fs->lock);
    r = fs_node(fs, parent) != NULL ? fs_key(fs, parent, &prefix) : -ESTALE;
    mutex_unlock(&fs->lock);
    dir_len = buf_len(&prefix);
    buf_add(&prefix, begin.data, begin.len);
    while (r == 0 && more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {
            .op = OBJSTORE_LIST, .key = buf_str(&prefix), .delimiter = "/", .token = token};

        r = volume_call(fs->volume, &list, &answer);
        for (size_t i = 0; r == 0 && i < answer.result.count; i++) {
            const struct objstore_entry *e = &answer.result.entries[i];
            struct slice component = slice_of(e->key + dir_len);

            component.len -= e->prefix ? 1 : 0;
            r = component.len > 0 ? longs_name(fs->longs, component, beside, candidate) : 0;
        }
        more = r == 0 && longs_find(fs->longs, name, &found) != 0 && answer.result.truncated &&
               answer.result.next_token != NULL;
        free(token);
        token = more ? strdup(answer.result.next_token) : NULL;
        r = more && token == NULL ? -ENOMEM : r;
    }
    return r;
}
