/* SPDX-License-Identifier: Apache-2.0 */
/* Which answers of the store are too old, and the numbers of inodes that programs see. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/graves.h"
#include "util/container.h"
#include "util/hash.h"

enum { LATELY_S = 60 }; /* listings of no store that is known lag longer */

/* ---- which answers of the store are too old ---- */

static uint64_t hash_key(const char *key)
{
    return hash_bytes(key, strlen(key));
}

/*
 * A file and a directory may have one name, each with its own key. False: it has no key, so that
 * nothing was asked of it.
 */
static bool hash_name(struct fs *fs, uint32_t parent, const char *name, bool is_dir, uint64_t *ret)
    REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (fs_child_key(fs, parent, name, &key) != 0) {
        return false;
    }
    buf_addstr(&key, is_dir ? "/" : "");
    *ret = hash_key(buf_str(&key));
    return buf_error(&key) == 0;
}

uint64_t fs_turn(struct fs *fs)
{
    return ++fs->turn;
}

uint64_t fs_asked(struct fs *fs)
{
    uint64_t now;

    mutex_lock(&fs->lock);
    now = fs->clock;
    mutex_unlock(&fs->lock);
    return now;
}

static uint32_t now_s(void)
{
    return (uint32_t)(fs_now_ms() / 1000) + 1;
}

void fs_touch(struct fs *fs, struct node *node)
{
    node->changed = ++fs->clock;
    node->touched_s = fs->touched_s = now_s();
}

bool fs_lately(uint32_t touched_s)
{
    return touched_s != 0 && now_s() < touched_s + LATELY_S;
}

static void note_gone(struct fs *fs, const struct gone *what) REQUIRES(&fs->lock)
{
    struct gone_set *set = &fs->gone[what->key % GONE_SETS];
    struct gone *oldest = &set->ways[0];

    for (size_t i = 0; i < GONE_WAYS; i++) {
        struct gone *way = &set->ways[i];

        if (way->key == what->key && way->when != 0) {
            way->removed = what->when > way->when ? what->removed : way->removed;
            way->when = what->when > way->when ? what->when : way->when;
            way->touched_s = what->touched_s > way->touched_s ? what->touched_s : way->touched_s;
            return;
        }
        oldest = way->when < oldest->when ? way : oldest;
    }
    set->floor = oldest->when > set->floor ? oldest->when : set->floor;
    *oldest = *what;
}

static void note_removed(struct fs *fs, uint64_t key) REQUIRES(&fs->lock)
{
    fs->removed = ++fs->clock;
    fs->removed_s = now_s();
    note_gone(fs, &(const struct gone){
                      .key = key, .when = fs->clock, .touched_s = fs->removed_s, .removed = true});
}

void fs_gone_at(struct fs *fs, uint32_t parent, const char *name, bool is_dir,
                const struct node *node)
{
    uint64_t key;

    if (hash_name(fs, parent, name, is_dir, &key)) {
        note_gone(fs, &(const struct gone){
                          .key = key, .when = node->changed, .touched_s = node->touched_s});
    }
}

void fs_gone(struct fs *fs, uint32_t parent, const char *name, bool is_dir)
{
    uint64_t key;

    if (hash_name(fs, parent, name, is_dir, &key)) {
        note_removed(fs, key);
    }
}

void fs_gone_key(struct fs *fs, const char *key)
{
    note_removed(fs, hash_key(key));
}

bool fs_outdated(const struct fs *fs, const struct node *node, uint64_t asked)
{
    return asked < fs->moved || asked < node->changed;
}

/* "a" may be absent where ".%file%a" is not, though their key is the same. */
static uint64_t hash_absent(uint32_t parent, const char *name)
{
    return hash_more(hash_bytes(&parent, sizeof(parent)), name, strlen(name));
}

/* By its hash alone: who makes a name that is wrongly thought absent is told when it is published.
 */
void fs_note_absent(struct fs *fs, uint32_t parent, const char *name)
{
    uint64_t hash = hash_absent(parent, name);

    fs->absent[hash % FS_ABSENT] = (struct absent){hash, fs_now_ms() + fs->options.attr_timeout_ms};
}

bool fs_known_absent(struct fs *fs, uint32_t parent, const char *name)
{
    uint64_t hash = hash_absent(parent, name);
    const struct absent *absent = &fs->absent[hash % FS_ABSENT];

    return absent->name == hash && fs_now_ms() < absent->until_ms;
}

static const struct gone *find_gone(const struct fs *fs, uint64_t key) REQUIRES(&fs->lock)
{
    const struct gone_set *set = &fs->gone[key % GONE_SETS];

    for (size_t i = 0; i < GONE_WAYS; i++) {
        if (set->ways[i].key == key && set->ways[i].when != 0) {
            return &set->ways[i];
        }
    }
    return NULL;
}

bool fs_name_outdated(struct fs *fs, uint32_t parent, const char *name, uint64_t asked)
{
    for (int is_dir = 0; is_dir < 2 && asked >= fs->moved; is_dir++) {
        const struct gone *gone;
        uint64_t key;

        if (hash_name(fs, parent, name, is_dir != 0, &key)) {
            gone = find_gone(fs, key);
            if (asked < (gone != NULL ? gone->when : fs->gone[key % GONE_SETS].floor)) {
                return true;
            }
        }
    }
    return asked < fs->moved;
}

bool fs_name_hidden(struct fs *fs, uint32_t parent, const char *name, bool is_dir, uint64_t asked)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (fs_child_key(fs, parent, name, &key) != 0) {
        return false;
    }
    buf_addstr(&key, is_dir ? "/" : "");
    return fs_key_hidden(fs, buf_str(&key), asked);
}

bool fs_key_hidden(struct fs *fs, const char *key, uint64_t asked)
{
    const struct gone *gone;

    if (graves_has(fs, key)) {
        return true;
    }
    gone = fs->removed > asked ? find_gone(fs, hash_key(key)) : NULL;
    return gone != NULL && gone->removed && asked < gone->when;
}

static bool removed_lately(const struct fs *fs, uint64_t key) REQUIRES(&fs->lock)
{
    const struct gone *gone = find_gone(fs, key);

    return gone != NULL && gone->removed && fs_lately(gone->touched_s);
}

bool fs_removed_lately(struct fs *fs, uint32_t parent, const char *name, bool is_dir)
{
    uint64_t key;

    return fs_lately(fs->removed_s) && hash_name(fs, parent, name, is_dir, &key) &&
           removed_lately(fs, key);
}

bool fs_key_removed_lately(struct fs *fs, const char *key)
{
    return fs_lately(fs->removed_s) && removed_lately(fs, hash_key(key));
}

bool fs_touched_lately(struct fs *fs, uint32_t parent, const char *name)
{
    bool ret = false;

    for (int is_dir = 0; is_dir < 2 && !ret && fs_lately(fs->touched_s); is_dir++) {
        const struct gone *gone = NULL;
        uint64_t key;

        if (hash_name(fs, parent, name, is_dir != 0, &key)) {
            gone = find_gone(fs, key);
        }
        ret = gone != NULL && !gone->removed && fs_lately(gone->touched_s);
    }
    return ret;
}

/* ---- st_ino ---- */

static bool number_is_free(struct fs *fs, uint64_t number) REQUIRES(&fs->lock)
{
    for (struct chain *c = chained_first(&fs->numbers, number); c != NULL; c = c->next) {
        if (container_of(c, struct node, number_chain)->number == number) {
            return false;
        }
    }
    return number > STATE_ROOT;
}

static uint64_t number_of(struct chain *chain)
{
    return container_of(chain, struct node, number_chain)->number;
}

int fs_numbers_init(struct fs *fs)
{
    return chained_init(&fs->numbers, number_of);
}

uint64_t fs_number_first(const char *key)
{
    return hash_key(key);
}

uint64_t fs_number_of_key(struct fs *fs, const char *key)
{
    uint64_t number = hash_key(key);

    while (!number_is_free(fs, number)) { /* by one that has been moved, or is open still */
        number = hash_more(number, "x", 1);
    }
    return number;
}

uint64_t fs_number_choose(struct fs *fs, const struct fs_new_inode *what)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if ((what->flags & INODE_LINKED) != 0) { /* it tells its own: see hard.h */
        uint64_t number = strtoull(what->name + strlen(VOLUME_LINKS), NULL, 16);

        if (number_is_free(fs, number)) {
            return number;
        }
    }
    if (fs_child_key(fs, what->parent, what->name, &key) == 0 && S_ISDIR(what->attr.mode)) {
        buf_addstr(&key, "/");
    }
    return fs_number_of_key(fs, buf_str(&key));
}

void fs_number_add(struct fs *fs, struct node *node)
{
    node->number = fs_rec(fs, node)->number;
    if (node->ino != STATE_ROOT) {
        chained_add(&fs->numbers, &node->number_chain);
        node->numbered = true;
    }
}

void fs_number_drop(struct fs *fs, struct node *node)
{
    if (node->numbered) {
        chained_remove(&fs->numbers, &node->number_chain);
        node->numbered = false;
    }
}
