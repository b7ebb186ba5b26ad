/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/seen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "objstore/objstore_call.h"
#include "util/log.h"

#define NOTES VOLUME_RESERVED "attrs/"
enum {
    META_TIMEOUT_MS = 50000,
    START_TIMEOUT_MS = 3000,
    KINDS = 2,
    OWNERS_MAX = 4,
    NAME_SIZE = 64,
};

struct owner {
    uint32_t mode, uid, gid;
};

/* Of files and of directories. */
struct kind {
    struct owner owners[OWNERS_MAX];
    size_t count;
};

struct notes {
    bool complete, special, other;
    struct kind kinds[KINDS]; /* 0: files */
};

/* A note on its way to the store, for all who want it there. In the memory of who puts it. */
struct putting {
    LIST_ENTRY(putting) link;
    const char *name;
    unsigned users; /* who waits for it */
    bool done;
    int result;
};

/* Changed under fs->lock and, inside it, `lock`: either is enough to read. */
struct seen {
    struct mutex lock;
    struct cond put; /* with `lock`: one of `putting` is done, or nobody waits for it */
    LIST_HEAD(, putting) putting; /* under `lock` */
    struct notes notes;
    bool known; /* the notes have been read */
    uint64_t read_ms;
};

static const char *const kind_names[KINDS] = {"file", "dir"};

static bool same(const struct owner *a, const struct owner *b)
{
    return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

static bool has(const struct kind *kind, const struct owner *owner)
{
    for (size_t i = 0; i < kind->count; i++) {
        if (same(&kind->owners[i], owner)) {
            return true;
        }
    }
    return false;
}

static void add(struct notes *notes, size_t k, const struct owner *owner)
{
    struct kind *kind = &notes->kinds[k];

    if (has(kind, owner)) {
        return;
    }
    if (kind->count == OWNERS_MAX) {
        notes->other = true;
    } else {
        kind->owners[kind->count++] = *owner;
    }
}

static void take(struct notes *notes, const char *name)
{
    if (strcmp(name, "complete") == 0) {
        notes->complete = true;
    } else if (strcmp(name, "special") == 0) {
        notes->special = true;
    } else if (strcmp(name, "other") == 0) {
        notes->other = true;
    }
    for (size_t k = 0; k < KINDS; k++) {
        size_t len = strlen(kind_names[k]);
        struct owner owner;

        if (strncmp(name, kind_names[k], len) == 0 &&
            /* NOLINTNEXTLINE(cert-err34-c): a number too large makes a note of no harm */
            sscanf(name + len, "-%o-%u-%u", &owner.mode, &owner.uid, &owner.gid) == 3) {
            add(notes, k, &owner);
        }
    }
}

static int read_notes(struct fs *fs, uint32_t timeout_ms, struct notes *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST, .key = NOTES, .timeout_ms = timeout_ms};
    int r = volume_call_internal(fs->volume, &list, &answer);

    *ret = (struct notes){0};
    for (size_t i = 0; r == 0 && i < answer.result.count; i++) {
        const char *key = answer.result.entries[i].key;

        take(ret, strncmp(key, NOTES, strlen(NOTES)) == 0 ? key + strlen(NOTES) : "");
    }
    ret->other = ret->other || answer.result.truncated;
    return r;
}

static int put_note(struct fs *fs, const char *name, uint32_t timeout_ms)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    char key[128];
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .key = key, .source = {.data = ""}, .timeout_ms = timeout_ms};

    (void)snprintf(key, sizeof(key), NOTES "%s", name);
    return volume_call_internal(fs->volume, &put, &answer);
}

static struct putting *find_putting(struct seen *seen, const char *name) REQUIRES(&seen->lock)
{
    struct putting *it;

    LIST_FOREACH (it, &seen->putting, link) {
        if (strcmp(it->name, name) == 0) {
            return it;
        }
    }
    return NULL;
}

static int wait_putting(struct seen *seen, struct putting *it) REQUIRES(&seen->lock)
{
    int ret;

    it->users++;
    while (!it->done) { /* its request has a deadline */
        cond_wait(&seen->put, &seen->lock);
    }
    ret = it->result;
    it->users--;
    cond_broadcast(&seen->put);
    return ret;
}

static bool has_note(const struct notes *notes, const char *name)
{
    struct notes with = *notes;

    take(&with, name);
    return with.complete == notes->complete && with.special == notes->special &&
           with.other == notes->other && with.kinds[0].count == notes->kinds[0].count &&
           with.kinds[1].count == notes->kinds[1].count;
}

/* Who wants a note that somebody puts just now waits for that one. */
static int put_note_once(struct fs *fs, const char *name)
{
    struct seen *seen = fs->seen;
    struct putting mine = {.name = name};
    struct putting *other;
    bool noted;
    int ret = 0;

    mutex_lock(&seen->lock);
    noted = has_note(&seen->notes, name);
    other = noted ? NULL : find_putting(seen, name);
    if (other != NULL) {
        ret = wait_putting(seen, other);
    } else if (!noted) {
        LIST_INSERT_HEAD(&seen->putting, &mine, link);
    }
    mutex_unlock(&seen->lock);
    if (noted || other != NULL) {
        return ret;
    }
    ret = put_note(fs, name, META_TIMEOUT_MS);
    mutex_lock(&fs->lock);
    mutex_lock(&seen->lock);
    if (ret == 0) {
        take(&seen->notes, name);
    }
    mutex_unlock(&fs->lock);
    mine.result = ret;
    mine.done = true;
    LIST_REMOVE(&mine, link);
    cond_broadcast(&seen->put);
    while (mine.users > 0) {
        cond_wait(&seen->put, &seen->lock);
    }
    mutex_unlock(&seen->lock);
    return ret;
}

static bool is_empty(struct fs *fs)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_LIST, .max_entries = 1, .timeout_ms = START_TIMEOUT_MS};

    return volume_call(fs->volume, &list, &answer) == 0 && answer.result.count == 0 &&
           !answer.result.truncated;
}

int seen_new(struct fs *fs, bool adopted, struct seen **ret)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    struct notes notes;
    int r;

    *ret = seen;
    if (seen == NULL) {
        return -ENOMEM;
    }
    mutex_init(&seen->lock);
    cond_init(&seen->put);
    if (adopted || fs->options.attrs == ATTRS_LIST) {
        return 0; /* read when they are needed */
    }
    r = read_notes(fs, START_TIMEOUT_MS, &notes);
    if (r == 0 && !notes.complete && !fs->options.read_only && is_empty(fs)) {
        notes.complete = put_note(fs, "complete", START_TIMEOUT_MS) == 0;
    }
    if (r == 0) { /* nobody else knows it yet */
        seen->notes = notes;
        seen->known = true;
        seen->read_ms = fs_now_ms();
    }
    return 0; /* not to know is to ask for every file */
}

void seen_free(struct seen *seen)
{
    if (seen != NULL) {
        cond_done(&seen->put);
        mutex_done(&seen->lock);
        free(seen);
    }
}

void seen_refresh(struct fs *fs)
{
    struct seen *seen = fs->seen;
    struct notes notes;
    bool old;
    int r;

    mutex_lock(&fs->lock);
    old = fs->options.attrs != ATTRS_LIST &&
          (!seen->known || fs_now_ms() >= seen->read_ms + fs->options.attr_timeout_ms);
    if (old) {
        seen->read_ms = fs_now_ms(); /* others need not ask, too */
    }
    mutex_unlock(&fs->lock);
    if (!old) {
        return;
    }
    r = read_notes(fs, META_TIMEOUT_MS, &notes);
    mutex_lock(&fs->lock);
    mutex_lock(&seen->lock);
    if (r == 0 && !seen->known) {
        seen->notes = notes;
        seen->known = true;
    } else if (r == 0) { /* what we have put since stays */
        seen->notes.special |= notes.special;
        seen->notes.other |= notes.other;
        for (size_t k = 0; k < KINDS; k++) {
            for (size_t i = 0; i < notes.kinds[k].count; i++) {
                add(&seen->notes, k, &notes.kinds[k].owners[i]);
            }
        }
    }
    mutex_unlock(&seen->lock);
    mutex_unlock(&fs->lock);
}

/* What objects without attributes have, as the mount was told. */
static struct owner told(const struct fs *fs, bool is_dir)
{
    return (struct owner){is_dir ? fs->options.dir_mode : fs->options.file_mode, fs->options.uid,
                          fs->options.gid};
}

static bool is_uniform(const struct fs *fs, bool is_dir, struct owner *ret)
{
    const struct seen *seen = fs->seen;
    const struct kind *kind = &seen->notes.kinds[is_dir];

    *ret = told(fs, is_dir);
    if (!seen->known || !seen->notes.complete || seen->notes.other || kind->count > 1) {
        return false;
    }
    if (kind->count == 1 && fs->options.owner_told && !same(&kind->owners[0], ret)) {
        return false;
    }
    *ret = kind->count == 1 ? kind->owners[0] : *ret;
    return true;
}

static bool is_unknown(const struct fs *fs)
{
    return !fs->seen->known || !fs->seen->notes.complete;
}

bool seen_enough(struct fs *fs, bool is_dir)
{
    struct owner owner;

    if (fs->options.attrs != ATTRS_AUTO) {
        return fs->options.attrs == ATTRS_LIST;
    }
    if (is_unknown(fs)) {
        return fs->options.read_only && fs->seen->known;
    }
    return is_uniform(fs, is_dir, &owner) && (is_dir || !fs->seen->notes.special);
}

bool seen_only_files(struct fs *fs)
{
    return seen_enough(fs, false) ||
           (fs->options.attrs == ATTRS_AUTO && !is_unknown(fs) && !fs->seen->notes.special);
}

void seen_defaults(struct fs *fs, bool is_dir, struct attr *ret)
{
    struct owner owner = told(fs, is_dir);

    if (fs->options.attrs == ATTRS_AUTO && fs->seen != NULL) {
        mutex_lock(&fs->seen->lock);
        (void)is_uniform(fs, is_dir, &owner);
        mutex_unlock(&fs->seen->lock);
    }
    ret->mode = owner.mode;
    ret->uid = owner.uid;
    ret->gid = owner.gid;
}

/* ---- noting ---- */

static bool is_noted(const struct notes *notes, const struct owner *owner, uint32_t type,
                     bool other)
{
    if (other && !notes->other) {
        return false;
    }
    return type == S_IFREG || type == S_IFDIR
               ? notes->other || has(&notes->kinds[type == S_IFDIR], owner)
               : notes->special;
}

bool seen_noted(struct fs *fs, const struct inode_rec *rec)
{
    const struct owner owner = {rec->mode & 07777, rec->uid, rec->gid};

    return fs->options.attrs == ATTRS_LIST ||
           (fs->seen->known && is_noted(&fs->seen->notes, &owner, rec->mode & S_IFMT,
                                        rec->xattr != 0 || (rec->flags & INODE_TIMES) != 0));
}

static bool has_other(const struct attr *attr)
{
    return attr->times_set ||
           (attr->xattr != NULL && attr->xattr[0] != '\0' && strcmp(attr->xattr, "{}") != 0);
}

/* A successor's: or it would put what is there. */
static void seen_refresh_unknown(struct fs *fs)
{
    bool known;

    mutex_lock(&fs->lock);
    known = fs->seen->known;
    mutex_unlock(&fs->lock);
    if (!known) {
        seen_refresh(fs);
    }
}

int seen_note(struct fs *fs, const struct attr *attr)
{
    const struct owner owner = {attr->mode & 07777, attr->uid, attr->gid};
    uint32_t type = attr->mode & S_IFMT;
    bool is_plain = type == S_IFREG || type == S_IFDIR;
    size_t k = type == S_IFDIR;
    bool other = has_other(attr);
    char name[NAME_SIZE];
    bool noted;
    int r = 0;

    if (fs->options.attrs == ATTRS_LIST) {
        return 0;
    }
    seen_refresh_unknown(fs);
    mutex_lock(&fs->lock);
    noted = fs->seen->known && is_noted(&fs->seen->notes, &owner, type, other);
    other = other || (is_plain && fs->seen->notes.kinds[k].count == OWNERS_MAX);
    mutex_unlock(&fs->lock);
    if (noted) {
        return 0;
    }
    if (other) {
        r = put_note_once(fs, "other");
    }
    if (r == 0 && is_plain && !other) {
        (void)snprintf(name, sizeof(name), "%s-%o-%u-%u", kind_names[k], owner.mode, owner.uid,
                       owner.gid);
        r = put_note_once(fs, name);
    } else if (r == 0 && !is_plain) {
        r = put_note_once(fs, "special");
    }
    return r;
}
