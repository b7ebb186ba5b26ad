/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore_process.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "objstore/objstore_backend.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/container.h"

enum { SLOTS = 16, SLOT_BYTES = 32 << 20, WAIT_S = 30 };

/* One call under way. The caller's process writes up to `asked`, the other from there to
 * `answered`. */
struct slot {
    sem_t free, asked, answered;
    bool end;
    struct objstore_request request;
    struct objstore_result result;
    size_t body_len;
    char *body;
    size_t used;
    char room[SLOT_BYTES];
};

struct process_store {
    struct objstore base;
    struct slot *slots; /* shared */
    atomic_uint next;
    pid_t pid;
};

static struct objstore *served; /* the other process's handle */

static void *keep(struct slot *s, const void *bytes, size_t len)
{
    void *at = s->room + s->used;

    if (bytes == NULL) {
        return NULL;
    }
    if (len > SLOT_BYTES - s->used) {
        print_error("%zu bytes do not fit between the two processes\n", len);
        _exit(2);
    }
    memcpy(at, bytes, len);
    s->used += (len + 15) & ~(size_t)15;
    return at;
}

static char *keep_text(struct slot *s, const char *text)
{
    return keep(s, text, text != NULL ? strlen(text) + 1 : 0);
}

/* ---- the other process ---- */

static void keep_meta(struct slot *s, struct objstore_meta *meta)
{
    struct objstore_pair *user = keep(s, meta->user, meta->user_count * sizeof(*user));

    for (size_t i = 0; i < meta->user_count; i++) {
        user[i].name = keep_text(s, user[i].name);
        user[i].value = keep_text(s, user[i].value);
    }
    meta->user = user;
    meta->content_type = keep_text(s, meta->content_type);
    meta->content_encoding = keep_text(s, meta->content_encoding);
    meta->content_language = keep_text(s, meta->content_language);
    meta->content_disposition = keep_text(s, meta->content_disposition);
    meta->cache_control = keep_text(s, meta->cache_control);
    meta->expires = keep_text(s, meta->expires);
    meta->storage_class = keep_text(s, meta->storage_class);
}

static void keep_result(struct slot *s, const struct objstore_answer *answer)
{
    struct objstore_result *r = &s->result;
    struct objstore_entry *entries;
    struct objstore_bucket_entry *buckets;

    *r = answer->result;
    keep_meta(s, &r->info.meta);
    entries = keep(s, r->entries, r->count * sizeof(*entries));
    for (size_t i = 0; entries != NULL && i < r->count; i++) {
        entries[i].key = keep_text(s, entries[i].key);
        keep_meta(s, &entries[i].info.meta);
    }
    buckets = keep(s, r->buckets, r->count * sizeof(*buckets));
    for (size_t i = 0; buckets != NULL && i < r->count; i++) {
        buckets[i].name = keep_text(s, buckets[i].name);
    }
    r->entries = entries;
    r->buckets = buckets;
    r->document = keep_text(s, r->document);
    r->tags = keep_text(s, r->tags);
    r->owner = keep_text(s, r->owner);
    r->next_token = keep_text(s, r->next_token);
    r->next_marker = keep_text(s, r->next_marker);
    r->next_marker2 = keep_text(s, r->next_marker2);
    s->body_len = buf_len(&answer->body);
    s->body = keep(s, buf_str(&answer->body), s->body_len + 1);
}

static void *serve(void *arg)
{
    struct slot *s = arg;

    for (;;) {
        struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

        while (sem_wait(&s->asked) != 0) {
        }
        if (s->end) {
            return NULL;
        }
        (void)objstore_call(served, &s->request, &answer);
        keep_result(s, &answer);
        objstore_answer_done(&answer);
        (void)sem_post(&s->answered);
    }
}

static void serve_all(struct slot *slots)
{
    pthread_t threads[SLOTS];

    for (int i = 0; i < SLOTS; i++) {
        if (pthread_create(&threads[i], NULL, serve, &slots[i]) != 0) {
            _exit(1);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    objstore_free(served);
    _exit(0);
}

/* ---- the caller's ---- */

static void wait_for(sem_t *what)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    while (sem_timedwait(what, &until) != 0) {
        if (errno != EINTR) {
            print_error("the other process does not answer\n");
            _exit(2);
        }
    }
}

static bool can_pass(const struct objstore_request *r)
{
    return r->meta == NULL && r->parts_count == 0 && r->victims_count == 0 &&
           r->source.read == NULL && r->source_key == NULL && r->upload_id == NULL;
}

static void ask(struct slot *s, const struct objstore_request *from)
{
    struct objstore_request *r = &s->request;

    s->used = 0;
    *r = *from;
    memset(r->store_private, 0, sizeof(r->store_private));
    memset(&r->sink, 0, sizeof(r->sink));
    r->bucket = keep_text(s, r->bucket);
    r->key = keep_text(s, r->key);
    r->version_id = keep_text(s, r->version_id);
    r->if_match = keep_text(s, r->if_match);
    r->if_none_match = keep_text(s, r->if_none_match);
    r->content_md5 = keep_text(s, r->content_md5);
    r->delimiter = keep_text(s, r->delimiter);
    r->start_after = keep_text(s, r->start_after);
    r->token = keep_text(s, r->token);
    r->marker = keep_text(s, r->marker);
    r->marker2 = keep_text(s, r->marker2);
    r->source.data = keep(s, r->source.data, (size_t)r->source.size);
    (void)sem_post(&s->asked);
}

static void process_submit(struct objstore *base, struct objstore_request *request)
{
    struct process_store *store = container_of(base, struct process_store, base);
    struct slot *s = &store->slots[atomic_fetch_add(&store->next, 1) % SLOTS];
    struct objstore_result result;

    if (!can_pass(request)) {
        objstore_fail(request, -ENOTSUP, "not passed on to another process");
        return;
    }
    wait_for(&s->free);
    ask(s, request);
    wait_for(&s->answered);
    result = s->result;
    if (result.status == 0 && request->op == OBJSTORE_GET && request->sink.info != NULL) {
        result.status = request->sink.info(
            request, &result.info, (struct objstore_range){.offset = 0, .len = s->body_len});
    }
    if (result.status == 0 && request->op == OBJSTORE_GET && s->body_len > 0) {
        result.status = request->sink.write(request, s->body, s->body_len);
    }
    request->done(request, &result); /* copies what it keeps */
    (void)sem_post(&s->free);
}

static void process_nothing(struct objstore *base UNUSED, struct objstore_request *request UNUSED)
{
}

static void process_free(struct objstore *base)
{
    struct process_store *store = container_of(base, struct process_store, base);
    int status = -1;

    for (int i = 0; i < SLOTS; i++) {
        wait_for(&store->slots[i].free);
        store->slots[i].end = true;
        (void)sem_post(&store->slots[i].asked);
    }
    assert_int_equal(waitpid(store->pid, &status, 0), store->pid);
    assert_int_equal(status, 0);
    (void)munmap(store->slots, SLOTS * sizeof(*store->slots));
    objstore_base_done(&store->base);
    free(store);
}

static const struct objstore_ops process_ops = {
    .submit = process_submit,
    .cancel = process_nothing,
    .resume = process_nothing,
    .free = process_free,
};

struct objstore *objstore_process_new(struct objstore *(*open)(const char *root), const char *root)
{
    struct process_store *store = calloc(1, sizeof(*store));

    assert_non_null(store);
    store->slots = mmap(NULL, SLOTS * sizeof(*store->slots), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(store->slots != MAP_FAILED);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(sem_init(&store->slots[i].free, 1, 1), 0);
        assert_int_equal(sem_init(&store->slots[i].asked, 1, 0), 0);
        assert_int_equal(sem_init(&store->slots[i].answered, 1, 0), 0);
    }
    assert_int_equal(objstore_base_init(&store->base, &process_ops, "another process"), 0);
    store->pid = fork();
    assert_true(store->pid >= 0);
    if (store->pid == 0) {
        served = open(root);
        serve_all(store->slots);
    }
    return &store->base;
}
