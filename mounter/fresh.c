/* SPDX-License-Identifier: Apache-2.0 */
/* Which answers of the store are too old, and the numbers of inodes that programs see. */
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"

static const uint64_t fnv_start = UINT64_C(14695981039346656037);

/* ---- which answers of the store are too old ---- */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    return hash;
}

static uint64_t hash_name(uint32_t parent, const char *name)
{
    return hash_bytes(hash_bytes(fnv_start, &parent, sizeof(parent)), name, strlen(name));
}

uint64_t fs_asked(struct fs *fs)
{
    uint64_t now;

    mutex_lock(&fs->lock);
    now = fs->clock;
    mutex_unlock(&fs->lock);
    return now;
}

void fs_touch(struct fs *fs, struct node *node)
{
    node->changed = ++fs->clock;
}

void fs_gone_at(struct fs *fs, uint32_t parent, const char *name, uint64_t when)
{
    fs->gone[fs->gone_next++ % FS_GONE] = (struct gone){hash_name(parent, name), when};
}

void fs_gone(struct fs *fs, uint32_t parent, const char *name)
{
    fs_gone_at(fs, parent, name, ++fs->clock);
}

bool fs_outdated(const struct fs *fs, const struct node *node, uint64_t asked)
{
    return asked < fs->moved || asked < node->changed;
}

/* By its hash alone: who makes a name that is wrongly thought absent is told when it is published.
 */
void fs_note_absent(struct fs *fs, uint32_t parent, const char *name)
{
    uint64_t hash = hash_name(parent, name);

    fs->absent[hash % FS_ABSENT] = (struct absent){hash, fs_now_ms() + fs->options.attr_timeout_ms};
}

bool fs_known_absent(const struct fs *fs, uint32_t parent, const char *name)
{
    uint64_t hash = hash_name(parent, name);
    const struct absent *absent = &fs->absent[hash % FS_ABSENT];

    return absent->name == hash && fs_now_ms() < absent->until_ms;
}

bool fs_name_outdated(const struct fs *fs, uint32_t parent, const char *name, uint64_t asked)
{
    uint64_t hash = hash_name(parent, name);

    for (size_t i = 0; i < FS_GONE; i++) {
        if (asked < fs->gone[i].when && fs->gone[i].name == hash) {
            return true;
        }
    }
    return asked < fs->moved;
}

/* ---- st_ino ---- */

static bool number_is_free(struct fs *fs, uint64_t number) REQUIRES(&fs->lock)
{
    struct node *node;

    HASH_FIND(hh_number, fs->numbers, &number, sizeof(number), node);
    return node == NULL && number > STATE_ROOT;
}

uint64_t fs_number_choose(struct fs *fs, const struct fs_new_inode *what)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    uint64_t number;

    if (fs_child_key(fs, what->parent, what->name, &key) == 0 && S_ISDIR(what->attr.mode)) {
        buf_addstr(&key, "/");
    }
    number = hash_bytes(fnv_start, buf_str(&key), buf_len(&key));
    while (!number_is_free(fs, number)) { /* by one that has been moved, or is open still */
        number = hash_bytes(number, "x", 1);
    }
    return number;
}

void fs_number_add(struct fs *fs, struct node *node)
{
    node->number = fs_rec(fs, node)->number;
    if (node->ino != STATE_ROOT) {
        HASH_ADD(hh_number, fs->numbers, number, sizeof(node->number), node);
    }
}

void fs_number_drop(struct fs *fs, struct node *node)
{
    if (node->hh_number.tbl != NULL) {
        HASH_DELETE(hh_number, fs->numbers, node);
    }
}
