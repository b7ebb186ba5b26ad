/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/journal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "util/clock.h"
#include "util/crc32c.h"
#include "util/encode.h"
#include "util/file.h"
#include "util/mutex.h"

enum { NAME_SIZE = 32, OTHERS_MS = 10000, FLUSHERS = 16 };
static const char description[] = "volume.json";

struct journal {
    char *dir;  /* of all volumes */
    char *path; /* of this one */
    char name[JOURNAL_NAME_MAX];
    int fd; /* of `path`; locked */
    uint64_t max_bytes;

    struct mutex lock;
    uint64_t bytes GUARDED_BY(lock);  /* of our files, and of what is being written */
    uint64_t others GUARDED_BY(lock); /* of other volumes, when it was looked at */
    uint64_t others_ms GUARDED_BY(lock);
    uint32_t files GUARDED_BY(lock);
    uint32_t next GUARDED_BY(lock);
    uint64_t sequence GUARDED_BY(lock);
};

struct journal_writer {
    struct journal *journal;
    uint32_t number;
    int fd;
    uint64_t at; /* bytes written */
    struct journal_piece *pieces;
    uint32_t count, cap;
};

static void name_of(uint32_t number, const char *ending, char ret[NAME_SIZE])
{
    (void)snprintf(ret, NAME_SIZE, "%08x.%s", number, ending);
}

/* The number of "0000001f.jrn"; false: another kind of name. */
static bool number_of(const char *name, const char *ending, uint32_t *ret)
{
    char again[NAME_SIZE];

    *ret = (uint32_t)strtoul(name, NULL, 16);
    name_of(*ret, ending, again);
    return strcmp(name, again) == 0;
}

/* ---- where ---- */

int journal_volume_name(const struct mount_config *config, char ret[JOURNAL_NAME_MAX])
{
    enum { READABLE = 80, DIGITS = 16 };
    CLEANUP(buf_done) struct buf text = BUF_INIT(JOURNAL_INDEX_MAX);
    CLEANUP(buf_done) struct buf hex = BUF_INIT(256);
    const char *endpoint = mount_options_get(&config->options, "endpoint");
    const char *shown = config->name != NULL ? config->name : strstr(config->location, "://");
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    size_t n = 0;

    buf_addf(&text, "%s\n%s", config->location, endpoint != NULL ? endpoint : "");
    if (EVP_Digest(buf_str(&text), buf_len(&text), digest, &len, EVP_sha256(), NULL) != 1) {
        return -ENOMEM;
    }
    encode_hex(&hex, digest, len);
    shown = shown == NULL ? config->location : shown + (config->name == NULL ? 3 : 0);
    for (; *shown != '\0' && n < READABLE; shown++) {
        bool plain = isalnum((unsigned char)*shown) || (n > 0 && strchr("-.", *shown) != NULL);

        ret[n] = '_';
        if (plain) {
            ret[n] = *shown;
        }
        n++;
    }
    (void)snprintf(ret + n, JOURNAL_NAME_MAX - n, "-%.*s", DIGITS, buf_str(&hex));
    return buf_error(&text) != 0 ? buf_error(&text) : buf_error(&hex);
}

/* Ours alone, and a directory. */
static int check_owner(int fd, const char *path, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    }
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        return error_set(err, -EPERM,
                         "%s: a journal's directory must belong to who writes it, and nobody else "
                         "may write there",
                         path);
    }
    return 0;
}

static int open_dir(const struct journal_config *config, struct journal *j, struct error *err)
{
    AUTOCLOSE int above = -1;
    int r = config->volume != NULL ? file_make_dir(config->dir, 0700) : 0;

    above = r == 0 ? open(config->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (above < 0) {
        r = r < 0 ? r : -errno;
        return error_set(err, r, "the journal's directory %s: %s", config->dir, strerror(-r));
    }
    r = check_owner(above, config->dir, err);
    if (r < 0) {
        return r;
    }
    if (config->volume != NULL && mkdirat(above, j->name, 0700) < 0 && errno != EEXIST) {
        return error_set(err, -errno, "%s: %s", j->path, strerror(errno));
    }
    j->fd = openat(above, j->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (j->fd < 0) {
        return error_set(err, -errno, "%s: %s", j->path, strerror(errno));
    }
    r = check_owner(j->fd, j->path, err);
    if (r == 0 && config->volume != NULL && fsync(above) < 0) {
        r = error_set(err, -errno, "%s: %s", config->dir, strerror(errno));
    }
    return r;
}

static int take_lock(const struct journal *j, uint64_t wait_ms, struct error *err)
{
    enum { PAUSE_MS = 20 };

    for (uint64_t waited = 0;; waited += PAUSE_MS) {
        if (flock(j->fd, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return error_set(err, -errno, "%s: %s", j->path, strerror(errno));
        }
        if (waited >= wait_ms) {
            return error_set(err, -EBUSY, "%s is in use by another process", j->path);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

/* Who had it before may have removed it when it was empty, between our opening and locking it. */
static int open_and_lock(const struct journal_config *config, struct journal *j, struct error *err)
{
    enum { TRIES = 10 };
    struct stat st;
    int r = 0;

    for (int i = 0; r == 0 && i < TRIES; i++) {
        r = open_dir(config, j, err);
        r = r == 0 ? take_lock(j, config->wait_ms, err) : r;
        if (r != 0 || (fstat(j->fd, &st) == 0 && st.st_nlink > 0)) {
            return r;
        }
        cleanup_close(&j->fd);
        j->fd = -1;
    }
    return r != 0 ? r : error_set(err, -EBUSY, "%s comes and goes", j->path);
}

/* volume.json, if it is not the same already. */
static int describe(const struct journal *j, const struct mount_config *volume, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    CLEANUP(buf_done) struct buf old = BUF_INIT(1 << 20);
    AUTOFREE char *path = NULL;
    int r;

    mount_config_format(volume, &text);
    r = buf_error(&text);
    if (r == 0 && asprintf(&path, "%s/%s", j->path, description) < 0) {
        path = NULL;
        r = -ENOMEM;
    }
    if (r == 0 && (file_read(path, &old) != 0 || strcmp(buf_str(&old), buf_str(&text)) != 0)) {
        r = file_replace(path, buf_str(&text), buf_len(&text), 0600);
    }
    return r == 0 ? 0 : error_set(err, r, "%s: %s", path != NULL ? path : j->path, strerror(-r));
}

/* A directory's names, one after the other, without moving the descriptor that others use. */
static DIR *open_names(int fd)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again >= 0 ? fdopendir(again) : NULL;

    if (dir == NULL && again >= 0) {
        (void)close(again);
    }
    return dir;
}

static uint64_t size_at(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
               ? (uint64_t)st.st_size
               : 0;
}

/* What is there; what a predecessor was writing when it died goes. */
static int take_stock(struct journal *j) REQUIRES(&j->lock)
{
    DIR *dir = open_names(j->fd);
    const struct dirent *d;

    if (dir == NULL) {
        return -errno;
    }
    j->next = 1;
    while ((d = readdir(dir)) != NULL) {
        uint32_t number;

        if (number_of(d->d_name, "tmp", &number)) {
            (void)unlinkat(j->fd, d->d_name, 0);
        } else if (number_of(d->d_name, "jrn", &number) || number_of(d->d_name, "bad", &number)) {
            j->files += strstr(d->d_name, ".jrn") != NULL;
            j->bytes += size_at(j->fd, d->d_name);
            j->next = number >= j->next ? number + 1 : j->next;
        }
    }
    (void)closedir(dir);
    j->sequence = (uint64_t)clock_realtime_ns(clock_real());
    return 0;
}

LOCK_UNCHECKED
int journal_open(const struct journal_config *config, struct journal **ret, struct error *err)
{
    CLEANUP(journal_free_p) struct journal *j = calloc(1, sizeof(*j));
    int r = 0;

    if (j == NULL) {
        return -ENOMEM;
    }
    j->fd = -1;
    mutex_init(&j->lock);
    j->max_bytes = config->max_bytes != 0 ? config->max_bytes : journal_max_default;
    if (config->volume != NULL) {
        r = journal_volume_name(config->volume, j->name);
    } else if (strchr(config->name, '/') != NULL || config->name[0] == '.' ||
               strlen(config->name) >= sizeof(j->name)) {
        r = -ENOENT;
    } else {
        (void)snprintf(j->name, sizeof(j->name), "%s", config->name);
    }
    j->dir = strdup(config->dir);
    if (asprintf(&j->path, "%s/%s", config->dir, j->name) < 0) {
        j->path = NULL;
    }
    r = r == 0 && (j->dir == NULL || j->path == NULL) ? -ENOMEM : r;
    if (r < 0) {
        return error_set(err, r, "the journal in %s: %s", config->dir, strerror(-r));
    }
    r = open_and_lock(config, j, err);
    r = r == 0 && config->volume != NULL ? describe(j, config->volume, err) : r;
    if (r == 0 && take_stock(j) < 0) {
        r = error_set(err, -EIO, "%s cannot be read", j->path);
    }
    if (r == 0) {
        *ret = TAKE(j);
    }
    return r;
}

/* Only volume.json is there: what has nothing to upload needs no directory. */
static void remove_empty(struct journal *j)
{
    DIR *dir = open_names(j->fd);
    const struct dirent *d;
    bool empty = dir != NULL;

    while (dir != NULL && (d = readdir(dir)) != NULL) {
        empty = empty && (d->d_name[0] == '.' || strcmp(d->d_name, description) == 0);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    if (empty) {
        (void)unlinkat(j->fd, description, 0);
        (void)rmdir(j->path);
    }
}

LOCK_UNCHECKED
void journal_free(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    if (journal->fd >= 0) {
        if (flock(journal->fd, LOCK_EX | LOCK_NB) == 0 && journal->files == 0) {
            remove_empty(journal);
        }
        (void)close(journal->fd);
    }
    mutex_done(&journal->lock);
    free(journal->dir);
    free(journal->path);
    free(journal);
}

const char *journal_path(const struct journal *journal)
{
    return journal->path;
}

uint64_t journal_bytes(struct journal *journal)
{
    uint64_t bytes;

    mutex_lock(&journal->lock);
    bytes = journal->bytes;
    mutex_unlock(&journal->lock);
    return bytes;
}

uint32_t journal_files(struct journal *journal)
{
    uint32_t files;

    mutex_lock(&journal->lock);
    files = journal->files;
    mutex_unlock(&journal->lock);
    return files;
}

uint32_t journal_number(struct journal *journal)
{
    uint32_t number;

    mutex_lock(&journal->lock);
    number = journal->next++;
    mutex_unlock(&journal->lock);
    return number;
}

/* ---- the limit ---- */

static uint64_t bytes_of(int above, const char *name)
{
    AUTOCLOSE int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? open_names(fd) : NULL;
    const struct dirent *d;
    uint64_t bytes = 0;

    while (dir != NULL && (d = readdir(dir)) != NULL) {
        bytes += size_at(fd, d->d_name);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return bytes;
}

static uint64_t bytes_of_others(const struct journal *j)
{
    DIR *dir = opendir(j->dir);
    const struct dirent *d;
    uint64_t bytes = 0;

    while (dir != NULL && (d = readdir(dir)) != NULL) {
        if (d->d_name[0] != '.' && strcmp(d->d_name, j->name) != 0) {
            bytes += bytes_of(dirfd(dir), d->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return bytes;
}

/* May `more` bytes be written? They count from now on. */
static int reserve(struct journal *j, uint64_t more)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    bool look;
    int r;

    mutex_lock(&j->lock);
    look = j->others_ms == 0 || now - j->others_ms > OTHERS_MS;
    mutex_unlock(&j->lock);
    if (look) {
        uint64_t others = bytes_of_others(j);

        mutex_lock(&j->lock);
        j->others = others;
        j->others_ms = now;
        mutex_unlock(&j->lock);
    }
    mutex_lock(&j->lock);
    r = j->bytes + j->others + more > j->max_bytes ? -ENOSPC : 0;
    j->bytes += r == 0 ? more : 0;
    mutex_unlock(&j->lock);
    return r;
}

static void give_back(struct journal *j, uint64_t bytes)
{
    mutex_lock(&j->lock);
    j->bytes -= bytes < j->bytes ? bytes : j->bytes;
    mutex_unlock(&j->lock);
}

/* ---- writing ---- */

static int write_at(struct journal_writer *w, const void *bytes, size_t len)
{
    const char *p = bytes;
    int r = reserve(w->journal, len);

    while (r == 0 && len > 0) {
        ssize_t n = pwrite(w->fd, p, len, (off_t)w->at);

        if (n < 0 && errno != EINTR) {
            r = -errno;
            give_back(w->journal, len); /* what was written before counts by w->at */
        } else if (n > 0) {
            p += n;
            len -= (size_t)n;
            w->at += (uint64_t)n;
        }
    }
    return r;
}

int journal_begin(struct journal *journal, uint32_t number, struct journal_writer **ret)
{
    struct journal_writer *w = calloc(1, sizeof(*w));
    char name[NAME_SIZE];
    int r;

    if (w == NULL) {
        return -ENOMEM;
    }
    name_of(number, "tmp", name);
    (void)unlinkat(journal->fd, name, 0);
    w->journal = journal;
    w->number = number;
    w->fd = openat(journal->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    r = w->fd < 0 ? -errno : write_at(w, journal_head, JOURNAL_HEAD_SIZE);
    if (r < 0) {
        journal_drop(w);
        return r;
    }
    *ret = w;
    return 0;
}

static int add_piece(struct journal_writer *w, const struct journal_piece *piece)
{
    if (w->count == JOURNAL_PIECES_MAX) {
        return -EFBIG;
    }
    if (w->count == w->cap) {
        uint32_t cap = w->cap == 0 ? 64 : 2 * w->cap;
        struct journal_piece *pieces = realloc(w->pieces, cap * sizeof(*pieces));

        if (pieces == NULL) {
            return -ENOMEM;
        }
        w->pieces = pieces;
        w->cap = cap;
    }
    w->pieces[w->count++] = *piece;
    return 0;
}

int journal_add(struct journal_writer *w, uint64_t offset, const void *bytes, size_t len)
{
    const char *p = bytes;
    int r = 0;

    while (r == 0 && len > 0) {
        size_t here = len < JOURNAL_PIECE_MAX ? len : JOURNAL_PIECE_MAX;
        struct journal_piece piece = {
            .offset = offset, .at = w->at, .len = (uint32_t)here, .crc = crc32c(0, p, here)};

        r = write_at(w, p, here);
        r = r == 0 ? add_piece(w, &piece) : r;
        offset += here;
        p += here;
        len -= here;
    }
    return r;
}

int journal_end(struct journal_writer *w, const struct journal_entry *entry)
{
    CLEANUP(buf_done) struct buf index = BUF_INIT(JOURNAL_INDEX_MAX);
    struct journal_entry whole = *entry;
    struct journal_foot foot = {.index_at = w->at};
    unsigned char end[JOURNAL_FOOT_SIZE];
    int r;

    mutex_lock(&w->journal->lock);
    whole.sequence = ++w->journal->sequence;
    mutex_unlock(&w->journal->lock);
    whole.pieces = w->pieces;
    whole.pieces_count = w->count;
    journal_entry_encode(&whole, &index);
    r = buf_error(&index);
    if (r < 0) {
        return r;
    }
    foot.index_len = (uint32_t)buf_len(&index);
    foot.index_crc = crc32c(0, buf_str(&index), buf_len(&index));
    journal_foot_encode(&foot, end);
    r = write_at(w, buf_str(&index), buf_len(&index));
    r = r == 0 ? write_at(w, end, sizeof(end)) : r;
    if (r == 0) { /* begin now; the commit waits for all of them */
        (void)sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    return r;
}

static int name_it(struct journal *journal, const struct journal_writer *w)
{
    char temp[NAME_SIZE];
    char name[NAME_SIZE];
    uint64_t old;

    name_of(w->number, "tmp", temp);
    name_of(w->number, "jrn", name);
    old = size_at(journal->fd, name);
    if (renameat(journal->fd, temp, journal->fd, name) < 0) {
        return -errno;
    }
    mutex_lock(&journal->lock);
    journal->bytes -= old < journal->bytes ? old : journal->bytes;
    journal->files += old == 0;
    mutex_unlock(&journal->lock);
    return 0;
}

static void free_writer(struct journal_writer *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    free(w->pieces);
    free(w);
}

/* One of several threads: every file system makes one flush of the disk of flushes that are asked
 * for at the same time, and one after the other it is one each. */
struct flush {
    struct journal_writer **writers;
    size_t count, step, first;
    pthread_t thread;
    int result;
    bool started;
};

static void *flush_some(void *arg)
{
    struct flush *flush = arg;

    for (size_t i = flush->first; flush->result == 0 && i < flush->count; i += flush->step) {
        flush->result = fdatasync(flush->writers[i]->fd) < 0 ? -errno : 0;
    }
    return NULL;
}

static int flush_all(struct journal_writer **writers, size_t count)
{
    struct flush flushes[FLUSHERS];
    size_t step = count < FLUSHERS ? count : FLUSHERS;
    int r = 0;

    for (size_t i = 0; i < step; i++) {
        flushes[i] = (struct flush){.writers = writers, .count = count, .step = step, .first = i};
        flushes[i].started =
            i > 0 && pthread_create(&flushes[i].thread, NULL, flush_some, &flushes[i]) == 0;
    }
    for (size_t i = 0; i < step; i++) {
        if (!flushes[i].started) {
            (void)flush_some(&flushes[i]);
        }
    }
    for (size_t i = 0; i < step; i++) {
        if (flushes[i].started) {
            (void)pthread_join(flushes[i].thread, NULL);
        }
        r = r == 0 ? flushes[i].result : r;
    }
    return r;
}

int journal_commit(struct journal *journal, struct journal_writer **writers, size_t count)
{
    int r = flush_all(writers, count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        r = name_it(journal, writers[i]);
        if (r == 0) {
            free_writer(TAKE(writers[i]));
        }
    }
    if (r == 0 && fsync(journal->fd) < 0) {
        r = -errno;
    }
    return r;
}

void journal_drop(struct journal_writer *w)
{
    char name[NAME_SIZE];

    if (w == NULL) {
        return;
    }
    if (w->fd >= 0) {
        name_of(w->number, "tmp", name);
        (void)unlinkat(w->journal->fd, name, 0);
        give_back(w->journal, w->at);
    }
    free_writer(w);
}

int journal_remove(struct journal *journal, uint32_t number)
{
    char name[NAME_SIZE];
    uint64_t size;

    name_of(number, "jrn", name);
    size = size_at(journal->fd, name);
    if (unlinkat(journal->fd, name, 0) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    mutex_lock(&journal->lock);
    journal->bytes -= size < journal->bytes ? size : journal->bytes;
    journal->files -= journal->files > 0;
    mutex_unlock(&journal->lock);
    return 0;
}

int journal_set_aside(struct journal *journal, uint32_t number)
{
    char name[NAME_SIZE];
    char aside[NAME_SIZE];

    name_of(number, "jrn", name);
    name_of(number, "bad", aside);
    if (renameat(journal->fd, name, journal->fd, aside) < 0) {
        return -errno;
    }
    mutex_lock(&journal->lock);
    journal->files -= journal->files > 0;
    mutex_unlock(&journal->lock);
    return fsync(journal->fd) < 0 ? -errno : 0;
}

/* ---- reading ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

int journal_list(struct journal *journal, uint32_t **ret, size_t *ret_count)
{
    DIR *dir = open_names(journal->fd);
    const struct dirent *d;
    uint32_t *list = NULL;
    size_t count = 0;
    size_t cap = 0;

    if (dir == NULL) {
        return -EIO;
    }
    while ((d = readdir(dir)) != NULL) {
        uint32_t number;

        if (!number_of(d->d_name, "jrn", &number)) {
            continue;
        }
        if (count == cap) {
            uint32_t *more = realloc(list, (cap = cap == 0 ? 64 : 2 * cap) * sizeof(*more));

            if (more == NULL) {
                free(list);
                (void)closedir(dir);
                return -ENOMEM;
            }
            list = more;
        }
        list[count++] = number;
    }
    (void)closedir(dir);
    if (count > 0) {
        qsort(list, count, sizeof(*list), compare);
    }
    *ret = list;
    *ret_count = count;
    return 0;
}

int journal_read(struct journal *journal, uint32_t number, struct journal_file *ret,
                 struct error *err)
{
    char name[NAME_SIZE];
    int fd;
    int r;

    name_of(number, "jrn", name);
    fd = openat(journal->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return error_set(err, -errno, "%s/%s: %s", journal->path, name, strerror(errno));
    }
    r = journal_file_open(fd, ret, err);
    if (r < 0) {
        (void)error_prefix(err, "%s/%s", journal->path, name);
    }
    return r;
}
