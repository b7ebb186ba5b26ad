/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/listing.h"

enum { DEPTH_MAX = 32, CHILDREN_MAX = 20000 };

struct child {
    uint64_t number;
    char *key; /* a directory's ends in '/' */
    char *etag;
    uint64_t size;
};

/* The children of one directory, by number. Shared by counting. */
struct level {
    uint32_t users;
    size_t count, cap;
    struct child *children;
    char dir[];
};

struct place {
    struct level *level;
    size_t at; /* the child that the walk is at, or below */
};

struct walk {
    size_t depth;
    struct place places[DEPTH_MAX];
};

static void level_unref(struct level *level)
{
    if (--level->users > 0) {
        return;
    }
    for (size_t i = 0; i < level->count; i++) {
        free(level->children[i].key);
        free(level->children[i].etag);
    }
    free(level->children);
    free(level);
}

static int by_number(const void *a, const void *b)
{
    const struct child *x = a;
    const struct child *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static bool add_child(struct level *level, const char *key, size_t len,
                      const struct known_entry *file)
{
    struct child *child;

    if (level->count == level->cap) {
        size_t cap = level->cap == 0 ? 16 : 2 * level->cap;
        struct child *children =
            cap <= CHILDREN_MAX ? realloc(level->children, cap * sizeof(*children)) : NULL;

        if (children == NULL) {
            return false;
        }
        level->children = children;
        level->cap = cap;
    }
    child = &level->children[level->count];
    *child = (struct child){.key = strndup(key, len)};
    if (file != NULL) {
        child->etag = strdup(file->etag);
        child->size = file->size;
    }
    if (child->key == NULL || (file != NULL && child->etag == NULL)) {
        free(child->key);
        free(child->etag);
        return false;
    }
    child->number = fs_number_first(child->key);
    level->count++;
    return true;
}

/* From where on keys are to be looked at next. */
static bool seek_on(struct fs *fs, const char *key, size_t len, const char *suffix,
                    struct known_position *pos) REQUIRES(&fs->lock)
{
    static const struct known_oldest any = {0};
    CLEANUP(buf_done) struct buf from = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    buf_add(&from, key, len);
    buf_addstr(&from, suffix);
    return buf_error(&from) == 0 && known_seek(fs->known, buf_str(&from), &any, pos);
}

/* False: not all of its keys are known, or they are too many. */
static bool fill_level(struct fs *fs, struct level *level) REQUIRES(&fs->lock)
{
    struct known_position pos;
    struct known_entry entry;
    size_t dir_len = strlen(level->dir);

    if (!seek_on(fs, level->dir, dir_len, "", &pos)) {
        return false;
    }
    for (;;) {
        const char *slash;

        if (!known_next(&pos, &entry)) {
            if (known_ends(&pos, level->dir)) {
                return true;
            }
            if (!seek_on(fs, pos.end, strlen(pos.end), "", &pos)) {
                return false;
            }
            continue;
        }
        if (strncmp(entry.key, level->dir, dir_len) != 0) {
            return true;
        }
        if (entry.key[dir_len] == '\0') {
            continue; /* its marker */
        }
        slash = strchr(entry.key + dir_len, '/');
        if (slash == NULL) {
            if (!add_child(level, entry.key, strlen(entry.key), &entry)) {
                return false;
            }
            continue;
        }
        if (!add_child(level, entry.key, (size_t)(slash + 1 - entry.key), NULL) ||
            !seek_on(fs, level->children[level->count - 1].key, (size_t)(slash + 1 - entry.key),
                     KNOWN_LAST, &pos)) {
            return false;
        }
    }
}

/* The same from what was shown to who has read the directory. */
static bool fill_from(struct level *level, const struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        const struct listing_entry *e = &listing->entries[i];
        struct known_entry file = {.etag = listing->text + e->etag, .size = e->size};
        CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
        char component[NAMES_COMPONENT_MAX + 1];
        bool beside;

        if (names_to_key(listing_name(listing, e), &beside, component) != 0 || beside ||
            (!e->is_dir && !e->told)) {
            continue;
        }
        buf_addf(&key, "%s%s%s", level->dir, component, e->is_dir ? "/" : "");
        if (buf_error(&key) != 0 ||
            !add_child(level, buf_str(&key), buf_len(&key), e->is_dir ? NULL : &file)) {
            return false;
        }
    }
    return true;
}

static struct level *level_alloc(const char *dir, size_t len)
{
    struct level *level = calloc(1, sizeof(*level) + len + 1);

    if (level != NULL) {
        level->users = 1;
        memcpy(level->dir, dir, len);
    }
    return level;
}

/* `node`: of the directory, or NULL. */
static struct level *level_new(struct fs *fs, const struct node *node, const char *dir, size_t len)
    REQUIRES(&fs->lock)
{
    struct level *level = level_alloc(dir, len);
    bool good = level != NULL && fill_level(fs, level);

    if (level != NULL && !good && node != NULL && node->listed != NULL &&
        node->listed->listing != NULL) {
        level_unref(level);
        level = level_alloc(dir, len);
        good = level != NULL && fill_from(level, node->listed->listing);
    }
    if (!good) {
        if (level != NULL) {
            level_unref(level);
        }
        return NULL;
    }
    if (level->count > 0) { /* of none there is no array */
        qsort(level->children, level->count, sizeof(*level->children), by_number);
    }
    return level;
}

int walk_new(struct walk **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret != NULL ? 0 : -ENOMEM;
}

static void pop(struct walk *walk)
{
    level_unref(walk->places[--walk->depth].level);
}

static void clear(struct walk *walk)
{
    while (walk->depth > 0) {
        pop(walk);
    }
}

void walk_free(struct walk *walk)
{
    if (walk != NULL) {
        clear(walk);
        free(walk);
    }
}

bool walk_copy(struct walk *walk, const struct walk *from)
{
    clear(walk);
    *walk = *from;
    for (size_t i = 0; i < walk->depth; i++) {
        walk->places[i].level->users++;
    }
    return walk->depth > 0;
}

static bool find_child(const struct level *level, const char *key, size_t len, size_t *ret)
{
    for (size_t i = 0; i < level->count; i++) {
        if (strncmp(level->children[i].key, key, len) == 0 && level->children[i].key[len] == '\0') {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* Stand at the child of this directory: a level that was here before is kept. */
struct step {
    const struct node *dir;
    const char *key;
    size_t dir_len, child_len; /* of the key */
};

static bool enter(struct fs *fs, struct walk *walk, size_t depth, const struct step *step)
    REQUIRES(&fs->lock)
{
    const char *key = step->key;
    size_t dir_len = step->dir_len;
    struct place *place = &walk->places[depth];

    if (depth >= walk->depth || strlen(place->level->dir) != dir_len ||
        strncmp(place->level->dir, key, dir_len) != 0) {
        while (walk->depth > depth) {
            pop(walk);
        }
        place->level = level_new(fs, step->dir, key, dir_len);
        if (place->level == NULL) {
            return false;
        }
        walk->depth++;
    }
    return find_child(place->level, key, step->child_len, &place->at);
}

bool walk_seek(struct fs *fs, struct walk *walk, const struct node *node)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    uint32_t dirs[DEPTH_MAX];
    size_t count = 0;
    size_t depth = 0;
    size_t len = 0;

    if (fs_key(fs, node->ino, &key) != 0) {
        return false;
    }
    for (uint32_t ino = node->ino; ino != STATE_ROOT && count < DEPTH_MAX;) {
        ino = state_inode(fs->state, ino)->parent;
        dirs[count++] = ino;
    }
    while (count > 0) {
        const char *slash = strchr(buf_str(&key) + len, '/');
        const struct step step = {
            .dir = fs_node(fs, dirs[--count]),
            .key = buf_str(&key),
            .dir_len = len,
            .child_len =
                slash != NULL ? (size_t)(slash + 1 - buf_str(&key)) : strlen(buf_str(&key)),
        };

        if (enter(fs, walk, depth, &step)) {
            depth++;
        } else { /* what is above is not known: the walk is below it */
            clear(walk);
            depth = 0;
        }
        len = step.child_len;
    }
    while (walk->depth > depth) {
        pop(walk);
    }
    return depth > 0;
}

static bool is_dir(const struct child *child)
{
    return child->etag == NULL;
}

bool walk_next(struct fs *fs, struct walk *walk, struct known_entry *ret, const char **ret_unknown)
{
    *ret_unknown = NULL;
    while (walk->depth > 0) {
        struct place *place = &walk->places[walk->depth - 1];
        const struct child *child;

        if (place->at + 1 >= place->level->count) {
            if (walk->depth == 1) {
                return false;
            }
            pop(walk);
            continue;
        }
        child = &place->level->children[place->at + 1];
        if (is_dir(child)) {
            struct level *level = walk->depth < DEPTH_MAX
                                      ? level_new(fs, NULL, child->key, strlen(child->key))
                                      : NULL;

            if (level == NULL) {
                *ret_unknown = child->key;
                return false;
            }
            place->at++;
            walk->places[walk->depth++] = (struct place){level, SIZE_MAX}; /* + 1: the first */
            continue;
        }
        place->at++;
        *ret = (struct known_entry){.key = child->key, .etag = child->etag, .size = child->size};
        return true;
    }
    return false;
}
