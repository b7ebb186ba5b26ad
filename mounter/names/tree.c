/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/moves.h"
#include "objstore/objstore_call.h"

/* So often none of a page may be what its listing said: then no conditions, or it never ends. */
enum { IDLE_MAX = 8 };
enum { AT_ONCE = 64, COPY_TIMEOUT_MS = 300000, META_TIMEOUT_MS = 50000 };

/* Keys of a page that are copied, and then removed. */
struct page {
    struct fs *fs;
    const struct tree *tree;
    const struct objstore_entry **entries;
    size_t count;
    size_t moved; /* of these: the others have changed since they were listed */
};

/* On condition of this, where what is removed has it, too; or NULL. */
static const char *etag_of(const struct page *page, const struct objstore_entry *entry)
{
    bool known = page->fs->caps.conditional_batch && page->tree->idle < IDLE_MAX;

    return known && entry->info.etag[0] != '\0' ? entry->info.etag : NULL;
}

static void add_name(const struct tree *tree, const char *key, struct buf *out)
{
    buf_addstr(out, tree->to);
    buf_addstr(out, key + strlen(tree->from));
}

/* Beyond what one COPY takes. */
static int copy_alone(struct page *page, const struct objstore_entry *entry)
{
    CLEANUP(buf_done) struct buf name = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct copy_what what = {.from = entry->key, .size = entry->info.size};
    char etag[STATE_ETAG_SIZE];

    add_name(page->tree, entry->key, &name);
    what.to = buf_str(&name);
    return remote_copy(page->fs, &what, etag);
}

/* A source that has changed since it was listed stays, and is found by the next listing: its entry
 * becomes NULL. */
static int copy_some(struct page *page, const struct objstore_entry **const *entries, size_t count)
{
    AUTOFREE struct objstore_request *requests = calloc(count, sizeof(*requests));
    AUTOFREE struct objstore_answer *answers = calloc(count, sizeof(*answers));
    AUTOFREE struct buf *names = calloc(count, sizeof(*names));
    int ret = 0;

    if (requests == NULL || answers == NULL || names == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = (struct buf)BUF_INIT(2 * OBJSTORE_KEY_MAX);
        add_name(page->tree, (*entries[i])->key, &names[i]);
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        requests[i] = (struct objstore_request){.op = OBJSTORE_COPY,
                                                .key = buf_str(&names[i]),
                                                .source_key = (*entries[i])->key,
                                                .source_if_match = etag_of(page, *entries[i]),
                                                .timeout_ms = COPY_TIMEOUT_MS};
    }
    (void)volume_call_many_internal(page->fs->volume, requests, answers, count);
    for (size_t i = 0; i < count; i++) {
        int status = answers[i].result.status;

        if (status == -ESTALE) {
            *entries[i] = NULL;
        } else if (status != -ENOENT) { /* gone meanwhile: whoever has removed it needs no copy */
            ret = ret == 0 ? status : ret;
        }
        objstore_answer_done(&answers[i]);
        buf_done(&names[i]);
    }
    return ret;
}

static int copy_page(struct page *page)
{
    const struct objstore_entry **small[AT_ONCE];
    size_t count = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < page->count; i++) {
        const struct objstore_entry *entry = page->entries[i];

        if (entry->info.size > page->fs->caps.copy_max) {
            ret = copy_alone(page, entry);
        } else {
            small[count++] = &page->entries[i];
        }
        if (ret == 0 && count > 0 && (count == AT_ONCE || i + 1 == page->count)) {
            ret = copy_some(page, small, count);
            count = 0;
        }
    }
    return ret == 0 && count > 0 ? copy_some(page, small, count) : ret;
}

/* Only after every copy of the page is there. */
static int remove_page(struct page *page)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE struct objstore_victim *victims = calloc(page->count, sizeof(*victims));
    struct objstore_request batch = {.op = OBJSTORE_DELETE_BATCH,
                                     .victims = victims,
                                     .match_is_checked = true,
                                     .timeout_ms = META_TIMEOUT_MS};
    int ret = 0;

    if (victims == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < page->count; i++) {
        const struct objstore_entry *entry = page->entries[i];

        if (entry != NULL) {
            victims[batch.victims_count++] =
                (struct objstore_victim){.key = entry->key, .match.etag = etag_of(page, entry)};
            if (!page->fs->caps.batch_delete) {
                ret = ret == 0 ? remote_delete(page->fs, entry->key) : ret;
            }
        }
    }
    page->moved = batch.victims_count;
    if (page->fs->caps.batch_delete && batch.victims_count > 0) {
        ret = volume_call_internal(page->fs->volume, &batch, &answer);
        for (size_t i = 0; ret == 0 && i < batch.victims_count; i++) {
            page->moved -= victims[i].error == -ESTALE ? 1 : 0;
            ret = victims[i].error == -ENOENT || victims[i].error == -ESTALE ? 0 : victims[i].error;
        }
    }
    return ret;
}

static int move_page(struct fs *fs, struct tree *tree, const struct objstore_result *list)
{
    AUTOFREE const struct objstore_entry **entries = calloc(list->count + 1, sizeof(*entries));
    struct page page = {.fs = fs, .tree = tree, .entries = entries};
    int ret;

    if (entries == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (tree->before_ns == 0 || list->entries[i].info.mtime_ns <= tree->before_ns) {
            entries[page.count++] = &list->entries[i];
        }
    }
    ret = copy_page(&page);
    ret = ret == 0 && page.count > 0 ? remove_page(&page) : ret;
    tree->moved += ret == 0 ? page.moved : 0;
    tree->idle = page.moved > 0 ? 0 : tree->idle + (page.count > 0 ? 1 : 0);
    return ret == 0 && tree->progress != NULL ? tree->progress(tree->arg, tree->moved) : ret;
}

/* What was moved is gone from the listing: each page begins after the last, or at what is left. */
int tree_move(struct fs *fs, struct tree *tree)
{
    AUTOFREE char *after = NULL;
    bool more = true;
    int ret = 0;

    while (ret == 0 && more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {.op = OBJSTORE_LIST,
                                        .key = tree->from,
                                        .start_after = after,
                                        .timeout_ms = META_TIMEOUT_MS};

        ret = volume_call_internal(fs->volume, &list, &answer);
        more = ret == 0 && answer.result.count > 0;
        if (more) {
            ret = move_page(fs, tree, &answer.result);
        }
        if (more && ret == 0 && tree->before_ns != 0) { /* what stays must not be found again */
            free(after);
            after = strdup(answer.result.entries[answer.result.count - 1].key);
            ret = after == NULL ? -ENOMEM : 0;
        }
    }
    return ret;
}
