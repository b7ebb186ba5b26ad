/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "util/log.h"
#include "util/random.h"

#define FOLDER VOLUME_RESERVED "open/"
enum { ID_LEN = 16, SWEEP_TIMEOUT_MS = 30000, ENTRIES_MAX = 100000 };
static const int64_t ns_per_ms = 1000000;

struct sweep {
    bool running;
    bool used;         /* a key has been made here */
    bool shown;        /* that we live */
    uint64_t alive_ms; /* when to show that we live; */
    uint64_t look_ms;  /* when to look for what is dead */
};

/* ---- keys ---- */

static struct sweep *sweep_of(struct fs *fs) REQUIRES(&fs->lock)
{
    if (fs->sweep == NULL) {
        fs->sweep = calloc(1, sizeof(*fs->sweep));
        if (fs->sweep != NULL) {
            fs->sweep->used = state_adopted(fs->state); /* or so it may be */
            fs->sweep->look_ms = fs_now_ms() + fs->options.recover_ms;
        }
    }
    return fs->sweep;
}

void sweep_key(struct fs *fs, char ret[SWEEP_KEY])
{
    struct sweep *sweep = sweep_of(fs);
    char random[RANDOM_ID_SIZE];

    random_id(random);
    (void)snprintf(ret, SWEEP_KEY, FOLDER "%016" PRIx64 "-%s", state_mount_id(fs->state), random);
    if (sweep != NULL) {
        sweep->used = true;
    }
}

static void alive_key(const struct fs *fs, char ret[SWEEP_KEY])
{
    (void)snprintf(ret, SWEEP_KEY, FOLDER "%016" PRIx64 ".alive", state_mount_id(fs->state));
}

uint64_t sweep_owner(const char *key)
{
    const char *name = key + strlen(FOLDER);
    char *end;
    uint64_t id;

    if (strncmp(key, FOLDER, strlen(FOLDER)) != 0 || strspn(name, "0123456789abcdef") != ID_LEN) {
        return 0;
    }
    id = strtoull(name, &end, 16);
    return *end == '-' || strcmp(end, ".alive") == 0 ? id : 0;
}

void sweep_judge(struct sweep_entry *entries, size_t count, uint64_t own, int64_t oldest_ns)
{
    size_t first = 0;

    while (first < count) {
        uint64_t id = sweep_owner(entries[first].key);
        size_t end = first;
        bool dead = id != 0;

        for (; end < count && sweep_owner(entries[end].key) == id; end++) {
            dead = dead && entries[end].mtime_ns < oldest_ns;
        }
        for (; first < end; first++) {
            entries[first].dead = id == own ? id != 0 && entries[first].mtime_ns < oldest_ns : dead;
        }
    }
}

/* ---- the store's part ---- */

struct found {
    struct sweep_entry *items;
    size_t count, cap;
};

static void found_done(struct found *found)
{
    free(found->items);
}

static int add(struct found *found, const struct objstore_entry *e)
{
    struct sweep_entry *entry;

    if (strlen(e->key) >= SWEEP_KEY) {
        return 0;
    }
    if (found->count == found->cap) {
        size_t cap = found->cap == 0 ? 16 : 2 * found->cap;
        struct sweep_entry *items = realloc(found->items, cap * sizeof(*items));

        if (items == NULL) {
            return -ENOMEM;
        }
        found->items = items;
        found->cap = cap;
    }
    entry = &found->items[found->count++];
    *entry = (struct sweep_entry){.mtime_ns = e->info.mtime_ns};
    (void)snprintf(entry->key, sizeof(entry->key), "%s", e->key);
    return 0;
}

static int look(struct fs *fs, struct found *found)
{
    char *token = NULL;
    int ret;

    do {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {
            .op = OBJSTORE_LIST, .key = FOLDER, .token = token, .timeout_ms = SWEEP_TIMEOUT_MS};

        ret = volume_call_internal(fs->volume, &list, &answer);
        for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
            ret = add(found, &answer.result.entries[i]);
        }
        free(token);
        token = NULL;
        if (ret == 0 && answer.result.next_token != NULL) {
            token = strdup(answer.result.next_token);
            ret = token == NULL ? -ENOMEM : found->count > ENTRIES_MAX ? -E2BIG : 0;
        }
    } while (ret == 0 && token != NULL);
    free(token);
    return ret;
}

static int show_life(struct fs *fs)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    char key[SWEEP_KEY];
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .key = key, .timeout_ms = SWEEP_TIMEOUT_MS, .source = {.data = ""}};

    alive_key(fs, key);
    return volume_call_internal(fs->volume, &put, &answer);
}

/* Is there an open file whose bytes are there? NULL: at all. */
static bool is_used(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    for (uint32_t ino = STATE_ROOT + 1; ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec = state_inode(fs->state, ino);

        if (rec != NULL && rec->hidden != 0 &&
            (key == NULL || state_text_equal(fs->state, rec->hidden, key))) {
            return true;
        }
    }
    return false;
}

static void remove_dead(struct fs *fs, const struct found *found)
{
    char own[SWEEP_KEY];
    long long removed = 0;

    alive_key(fs, own);
    for (size_t i = 0; i < found->count; i++) {
        const struct sweep_entry *e = &found->items[i];
        bool keep = !e->dead || strcmp(e->key, own) == 0;

        if (!keep) {
            mutex_lock(&fs->lock);
            keep = fs->ending || is_used(fs, e->key);
            mutex_unlock(&fs->lock);
        }
        removed += !keep && remote_delete(fs, e->key) == 0;
    }
    if (removed > 0) {
        log_info("objects of open files of mounts that are gone were removed", "objects",
                 log_num(removed), NULL);
    }
}

/* What is ours shows how late it is in the store, and how old the rest. */
static void sweep_run(struct fs *fs)
{
    struct found found = {0};
    int64_t limit_ns = (int64_t)(fs->options.recover_ms * SWEEP_DEAD) * ns_per_ms;
    int64_t now = 0;
    char own[SWEEP_KEY];

    alive_key(fs, own);
    if (look(fs, &found) == 0 && found.count > 0 && show_life(fs) == 0) {
        found_done(&found);
        found = (struct found){0};
        if (look(fs, &found) == 0) {
            for (size_t i = 0; i < found.count; i++) {
                now = strcmp(found.items[i].key, own) == 0 ? found.items[i].mtime_ns : now;
            }
        }
        mutex_lock(&fs->lock);
        fs->sweep->shown = true;
        mutex_unlock(&fs->lock);
        if (now != 0) {
            sweep_judge(found.items, found.count, state_mount_id(fs->state), now - limit_ns);
            remove_dead(fs, &found);
        }
    }
    found_done(&found);
}

static void run(void *arg)
{
    struct fs *fs = arg;
    struct sweep *sweep;
    char key[SWEEP_KEY];
    bool used;
    bool looks;
    bool shown;

    mutex_lock(&fs->lock);
    sweep = fs->sweep;
    looks = fs_now_ms() >= sweep->look_ms;
    mutex_unlock(&fs->lock);
    if (looks) {
        sweep_run(fs);
    }
    mutex_lock(&fs->lock);
    used = sweep->used = is_used(fs, NULL);
    shown = sweep->shown;
    mutex_unlock(&fs->lock);
    alive_key(fs, key);
    if (used) {
        (void)!show_life(fs);
    } else if (shown) {
        (void)!remote_delete(fs, key);
    }
    mutex_lock(&fs->lock);
    sweep->shown = used;
    sweep->alive_ms = fs_now_ms() + fs->options.recover_ms;
    if (looks) {
        sweep->look_ms = fs_now_ms() + fs->options.recover_ms * SWEEP_DEAD;
    }
    sweep->running = false;
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

/* Of files that are closed; the kernel forgets nothing by itself when it unmounts. */
static void drop_closed(struct fs *fs)
{
    for (uint32_t ino = STATE_ROOT + 1; ino < state_inode_limit(fs->state); ino++) {
        CLEANUP(buf_done) struct buf key = BUF_INIT(SWEEP_KEY);
        struct inode_rec *rec;
        uint32_t hidden = 0;

        mutex_lock(&fs->lock);
        rec = fs_node(fs, ino) != NULL ? state_inode(fs->state, ino) : NULL;
        if (rec != NULL && rec->opens == 0) {
            hidden = rec->hidden;
            state_text_get(fs->state, hidden, &key);
        }
        mutex_unlock(&fs->lock);
        if (hidden != 0 && remote_delete(fs, buf_str(&key)) == 0) {
            mutex_lock(&fs->lock);
            state_begin(fs->state);
            STATE_SET(fs->state, rec->hidden, 0U);
            state_text_release(fs->state, hidden);
            state_commit(fs->state);
            mutex_unlock(&fs->lock);
        }
    }
}

void sweep_end(struct fs *fs)
{
    uint64_t until = fs_now_ms() + SWEEP_TIMEOUT_MS;
    uint64_t now;
    char key[SWEEP_KEY];
    bool left;

    mutex_lock(&fs->lock);
    while (fs->sweep != NULL && fs->sweep->running && (now = fs_now_ms()) < until) {
        cond_wait_ms(&fs->changed, &fs->lock, until - now);
    }
    mutex_unlock(&fs->lock);
    drop_closed(fs);
    mutex_lock(&fs->lock);
    left = fs->sweep != NULL && fs->sweep->shown && !is_used(fs, NULL);
    mutex_unlock(&fs->lock);
    alive_key(fs, key);
    if (left && remote_delete(fs, key) == 0) {
        mutex_lock(&fs->lock);
        fs->sweep->shown = false;
        fs->sweep->alive_ms = 0; /* should it be used again */
        mutex_unlock(&fs->lock);
    }
}

void sweep_tick(struct fs *fs)
{
    struct sweep *sweep;
    bool due;

    if (fs->options.read_only) {
        return;
    }
    mutex_lock(&fs->lock);
    sweep = sweep_of(fs);
    due = sweep != NULL && !sweep->running &&
          (fs_now_ms() >= sweep->look_ms || (sweep->used && fs_now_ms() >= sweep->alive_ms));
    if (due) {
        sweep->running = true;
    }
    mutex_unlock(&fs->lock);
    if (due && tasks_add(fs->tasks, run, fs) != 0) {
        mutex_lock(&fs->lock);
        sweep->running = false;
        mutex_unlock(&fs->lock);
    }
}
