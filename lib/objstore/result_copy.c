/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/result_copy.h"

#include <errno.h>
#include <string.h>

/* One failed copy is found out at the end: the flag keeps the copying code straight. */
struct copier {
    struct arena *arena;
    bool failed;
};

static const char *copy_text(struct copier *c, const char *text)
{
    const char *copy = arena_strdup(c->arena, text);

    c->failed |= copy == NULL && text != NULL;
    return copy;
}

static void *copy_array(struct copier *c, const void *from, size_t count, size_t size)
{
    void *copy;

    if (from == NULL || count == 0) {
        return NULL;
    }
    copy = arena_array(c->arena, count, size);
    if (copy == NULL) {
        c->failed = true;
        return NULL;
    }
    memcpy(copy, from, count * size);
    return copy;
}

static void copy_meta(struct copier *c, const struct objstore_meta *from, struct objstore_meta *ret)
{
    struct objstore_pair *user = copy_array(c, from->user, from->user_count, sizeof(*user));

    *ret = (struct objstore_meta){
        .content_type = copy_text(c, from->content_type),
        .content_encoding = copy_text(c, from->content_encoding),
        .content_language = copy_text(c, from->content_language),
        .content_disposition = copy_text(c, from->content_disposition),
        .cache_control = copy_text(c, from->cache_control),
        .expires = copy_text(c, from->expires),
        .storage_class = copy_text(c, from->storage_class),
        .user = user,
        .user_count = user != NULL ? from->user_count : 0,
    };
    for (size_t i = 0; user != NULL && i < from->user_count; i++) {
        user[i].name = copy_text(c, user[i].name);
        user[i].value = copy_text(c, user[i].value);
    }
}

static void copy_entries(struct copier *c, const struct objstore_result *from,
                         struct objstore_result *ret)
{
    struct objstore_entry *entries = copy_array(c, from->entries, from->count, sizeof(*entries));

    for (size_t i = 0; entries != NULL && i < from->count; i++) {
        entries[i].key = copy_text(c, entries[i].key);
        memset(&entries[i].info.meta, 0, sizeof(entries[i].info.meta));
    }
    ret->entries = entries;
}

static void copy_names(struct copier *c, const struct objstore_result *from,
                       struct objstore_result *ret)
{
    struct objstore_bucket_entry *buckets =
        copy_array(c, from->buckets, from->count, sizeof(*buckets));
    struct objstore_upload_entry *uploads =
        copy_array(c, from->uploads, from->count, sizeof(*uploads));

    for (size_t i = 0; buckets != NULL && i < from->count; i++) {
        buckets[i].name = copy_text(c, buckets[i].name);
    }
    for (size_t i = 0; uploads != NULL && i < from->count; i++) {
        uploads[i].key = copy_text(c, uploads[i].key);
        uploads[i].upload_id = copy_text(c, uploads[i].upload_id);
    }
    ret->buckets = buckets;
    ret->uploads = uploads;
}

int objstore_meta_copy(struct arena *arena, const struct objstore_meta *from,
                       struct objstore_meta *ret)
{
    struct copier c = {.arena = arena};

    copy_meta(&c, from, ret);
    return c.failed ? -ENOMEM : 0;
}

int objstore_result_copy(struct arena *arena, const struct objstore_result *from,
                         struct objstore_result *ret)
{
    struct copier c = {.arena = arena};

    *ret = *from;
    copy_meta(&c, &from->info.meta, &ret->info.meta);
    copy_entries(&c, from, ret);
    copy_names(&c, from, ret);
    ret->upload_id = copy_text(&c, from->upload_id);
    ret->document = copy_text(&c, from->document);
    ret->tags = copy_text(&c, from->tags);
    ret->owner = copy_text(&c, from->owner);
    ret->parts = copy_array(&c, from->parts, from->count, sizeof(*from->parts));
    ret->caps = copy_array(&c, from->caps, 1, sizeof(*from->caps));
    ret->next_token = copy_text(&c, from->next_token);
    ret->next_marker = copy_text(&c, from->next_marker);
    ret->next_marker2 = copy_text(&c, from->next_marker2);
    return c.failed ? -ENOMEM : 0;
}
