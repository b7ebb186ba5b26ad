/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/hold.h"

#include <sys/stat.h>

enum {
    FILE_MS = 60,
    DIR_MS = 200,
    DIR_MOST_MS = 10000,
    STEP_MS = 5, /* not for each of them a turn of its own */
    FILES_MOST = 512,
    DIRS_MOST = 4096,
    DEPTH_MAX = 1024,
};

/* Both lists are by hold_ms. */
static struct holding *list_of(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    return S_ISDIR(fs_rec(fs, node)->mode) ? &fs->held_dirs : &fs->held_files;
}

static void begin(struct fs *fs, struct node *node, uint64_t ms) REQUIRES(&fs->lock)
{
    struct holding *list = list_of(fs, node);

    if (fs->held_files.count + fs->held_dirs.count == 0) {
        cond_broadcast(&fs->end); /* the flusher sleeps for longer than that */
    }
    node->held = true;
    node->hold_ms = fs_now_ms() + ms;
    list->count++;
    TAILQ_INSERT_TAIL(&list->nodes, node, ready_link);
}

void hold_end(struct fs *fs, struct node *node)
{
    struct holding *list = list_of(fs, node);

    if (node->held) {
        node->held = false;
        list->count--;
        TAILQ_REMOVE(&list->nodes, node, ready_link);
    }
}

static bool is_pressed(struct fs *fs) REQUIRES(&fs->lock)
{
    return fs->held_files.count > FILES_MOST || !TAILQ_EMPTY(&fs->thirsty) ||
           state_pool_used(fs->state) > state_pool_size(fs->state) / 4;
}

void hold_file(struct fs *fs, uint32_t ino)
{
    struct node *node;
    bool now = false;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL && !node->queued && !node->held && publish_is_wanted(fs, node)) {
        begin(fs, node, FILE_MS);
        now = is_pressed(fs);
        if (now) {
            publish_queue(fs, TAILQ_FIRST(&fs->held_files.nodes));
        }
    }
    mutex_unlock(&fs->lock);
    if (now) {
        publish_next(fs);
    }
}

/* Unless it has waited for so long already. */
static void renew(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    uint64_t until = fs_now_ms() + DIR_MS;

    if (node->held && until <= node->hold_most_ms && until > node->hold_ms) {
        node->hold_ms = until;
        TAILQ_REMOVE(&fs->held_dirs.nodes, node, ready_link);
        TAILQ_INSERT_TAIL(&fs->held_dirs.nodes, node, ready_link);
    }
}

void hold_longer(struct fs *fs, struct node *dir)
{
    for (int depth = 0;
         depth < DEPTH_MAX && fs->held_dirs.count > 0 && dir != NULL && dir->ino != STATE_ROOT;
         depth++) {
        renew(fs, dir);
        dir = fs_node(fs, fs_rec(fs, dir)->parent);
    }
}

void hold_dir(struct fs *fs, uint32_t ino)
{
    struct node *node;
    bool now = false;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL && !node->queued && publish_is_wanted(fs, node)) {
        if (!node->held) {
            begin(fs, node, DIR_MS);
            node->hold_most_ms = fs_now_ms() + DIR_MOST_MS;
        }
        hold_longer(fs, node);
        now = fs->held_dirs.count > DIRS_MOST;
        if (now) {
            publish_queue(fs, TAILQ_FIRST(&fs->held_dirs.nodes));
        }
    }
    mutex_unlock(&fs->lock);
    if (now) {
        publish_next(fs);
    }
}

static uint64_t first_ms(const struct holding *list)
{
    const struct node *node = TAILQ_FIRST(&list->nodes);

    return node != NULL ? node->hold_ms : UINT64_MAX;
}

uint64_t hold_left_ms(const struct fs *fs, uint64_t most)
{
    uint64_t files = first_ms(&fs->held_files);
    uint64_t dirs = first_ms(&fs->held_dirs);
    uint64_t first = files < dirs ? files : dirs;
    uint64_t now = fs_now_ms();
    uint64_t left = first > now ? first - now : 0;

    left = left < STEP_MS ? STEP_MS : left;
    return left < most ? left : most;
}

/* Those of one list. True: some are queued. */
static bool run(struct fs *fs, struct holding *list) REQUIRES(&fs->lock)
{
    uint64_t now = fs_now_ms();
    struct node *node;
    bool any = false;

    while ((node = TAILQ_FIRST(&list->nodes)) != NULL && node->hold_ms <= now) {
        if (node->writers > 0) {
            hold_end(fs, node); /* it comes again with its next close */
        } else {
            publish_queue(fs, node);
            any = true;
        }
    }
    return any;
}

void hold_run(struct fs *fs)
{
    bool files;
    bool dirs;

    mutex_lock(&fs->lock);
    files = run(fs, &fs->held_files);
    dirs = run(fs, &fs->held_dirs);
    mutex_unlock(&fs->lock);
    if (files || dirs) {
        publish_next(fs);
    }
}
