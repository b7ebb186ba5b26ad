/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/journal_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/crc32c.h"

enum { CHECKED = 20 }; /* bytes of the foot under its own checksum */
const char journal_head[JOURNAL_HEAD_SIZE + 1] = "skyvol journal\r\n";
static const char foot_magic[] = "skyvjend";

static void put(unsigned char *at, uint64_t n, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        at[i] = (unsigned char)(n >> (8 * i));
    }
}

static uint64_t get(const unsigned char *at, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        n |= (uint64_t)at[i] << (8 * i);
    }
    return n;
}

void journal_foot_encode(const struct journal_foot *foot, unsigned char ret[JOURNAL_FOOT_SIZE])
{
    put(ret, foot->index_at, 8);
    put(ret + 8, foot->index_len, 4);
    put(ret + 12, JOURNAL_VERSION, 4);
    put(ret + 16, foot->index_crc, 4);
    put(ret + CHECKED, crc32c(0, ret, CHECKED), 4);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): eight bytes, no text */
    memcpy(ret + 24, foot_magic, 8);
}

static int read_exactly(int fd, uint64_t at, void *buffer, size_t len)
{
    char *p = buffer;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EBADMSG; /* shorter than it was */
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_foot(int fd, uint64_t size, struct journal_foot *ret, struct error *err)
{
    unsigned char foot[JOURNAL_FOOT_SIZE];
    char first[JOURNAL_HEAD_SIZE];
    int r;

    if (size < JOURNAL_HEAD_SIZE + JOURNAL_FOOT_SIZE) {
        return error_set(err, -EBADMSG, "it is too short to be whole");
    }
    r = read_exactly(fd, 0, first, sizeof(first));
    r = r == 0 ? read_exactly(fd, size - JOURNAL_FOOT_SIZE, foot, sizeof(foot)) : r;
    if (r < 0) {
        return error_set(err, r, "it cannot be read: %s", strerror(-r));
    }
    if (memcmp(first, journal_head, JOURNAL_HEAD_SIZE) != 0 ||
        memcmp(foot + 24, foot_magic, 8) != 0 ||
        get(foot + CHECKED, 4) != crc32c(0, foot, CHECKED)) {
        return error_set(err, -EBADMSG, "its beginning or end is damaged, or it was cut off");
    }
    if (get(foot + 12, 4) != JOURNAL_VERSION) {
        return error_set(err, -EBADMSG, "it is of version %u, which this program does not know",
                         (unsigned)get(foot + 12, 4));
    }
    *ret = (struct journal_foot){.index_at = get(foot, 8),
                                 .index_len = (uint32_t)get(foot + 8, 4),
                                 .index_crc = (uint32_t)get(foot + 16, 4)};
    if (ret->index_len > JOURNAL_INDEX_MAX || ret->index_at < JOURNAL_HEAD_SIZE ||
        ret->index_at > size ||
        size - ret->index_at != ret->index_len + (uint64_t)JOURNAL_FOOT_SIZE) {
        return error_set(err, -EBADMSG, "its end does not fit its length");
    }
    return 0;
}

static int read_index(struct journal_file *file, const struct journal_foot *foot, struct error *err)
{
    AUTOFREE char *index = malloc(foot->index_len > 0 ? foot->index_len : 1);
    const struct journal_bytes bytes = {index, foot->index_len, JOURNAL_HEAD_SIZE};
    uint64_t end = 0;
    int r =
        index == NULL ? -ENOMEM : read_exactly(file->fd, foot->index_at, index, foot->index_len);

    if (r < 0) {
        return error_set(err, r, "its index cannot be read: %s", strerror(-r));
    }
    if (crc32c(0, index, foot->index_len) != foot->index_crc) {
        return error_set(err, -EBADMSG, "its index is damaged");
    }
    r = journal_entry_decode(&bytes, &file->arena, &file->entry, &end, err);
    if (r == 0 && end != foot->index_at) {
        r = error_set(err, -EBADMSG, "its index does not fit its length");
    }
    return r;
}

int journal_file_piece(const struct journal_file *file, const struct journal_piece *piece,
                       char *buffer)
{
    int r = read_exactly(file->fd, piece->at, buffer, piece->len);

    return r == 0 && crc32c(0, buffer, piece->len) != piece->crc ? -EBADMSG : r;
}

static int check_pieces(const struct journal_file *file, struct error *err)
{
    AUTOFREE char *buffer = malloc(JOURNAL_PIECE_MAX);
    int r = buffer == NULL ? -ENOMEM : 0;

    for (uint32_t i = 0; r == 0 && i < file->entry.pieces_count; i++) {
        r = journal_file_piece(file, &file->entry.pieces[i], buffer);
        if (r == -EBADMSG) {
            return error_set(err, r, "the bytes of '%s' from %llu on are damaged", file->entry.path,
                             (unsigned long long)file->entry.pieces[i].offset);
        }
    }
    return r;
}

int journal_file_open(int fd, struct journal_file *ret, struct error *err)
{
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
    struct journal_foot foot = {0};
    struct stat st;
    int r;

    file.fd = fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return error_set(err, -EBADMSG, "it is not a regular file");
    }
    file.bytes = (uint64_t)st.st_size;
    file.mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
    r = read_foot(fd, file.bytes, &foot, err);
    r = r == 0 ? read_index(&file, &foot, err) : r;
    r = r == 0 ? check_pieces(&file, err) : r;
    if (r == 0) {
        *ret = file;
        file = (struct journal_file)JOURNAL_FILE_INIT;
    }
    return r;
}

void journal_file_done(struct journal_file *file)
{
    arena_done(&file->arena);
    cleanup_close(&file->fd);
    *file = (struct journal_file)JOURNAL_FILE_INIT;
}
