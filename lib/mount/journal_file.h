/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_file.h - one file of a journal (mount/journal.h) as bytes: its ends, and reading it.
 *
 *     16 bytes   "skyvol journal\r\n"
 *     pieces     one after the other, up to 64 KiB each, each under a CRC32C in the index
 *     index      the entry (mount/journal_entry.h)
 *     32 bytes   where the index is and how long, the version, the CRC32C of the index, the CRC32C
 *                of the 20 bytes before, "skyvjend"
 *
 * So no byte is without a check. No state: any thread, a file is one thread's.
 */
#ifndef MOUNT_JOURNAL_FILE_H
#define MOUNT_JOURNAL_FILE_H

#include "mount/journal_entry.h"

enum { JOURNAL_HEAD_SIZE = 16, JOURNAL_FOOT_SIZE = 32, JOURNAL_VERSION = 1 };
extern const char journal_head[JOURNAL_HEAD_SIZE + 1];

struct journal_foot {
    uint64_t index_at;
    uint32_t index_len, index_crc;
};
void journal_foot_encode(const struct journal_foot *foot, unsigned char ret[JOURNAL_FOOT_SIZE]);

struct journal_file {
    struct arena arena;
    struct journal_entry entry;
    uint64_t bytes; /* of the file */
    int64_t mtime_ns;
    int fd;
};
#define JOURNAL_FILE_INIT                                                                          \
    {                                                                                              \
        .arena = ARENA_INIT(4ULL * JOURNAL_INDEX_MAX), .fd = -1                                    \
    }

/*
 * Takes the descriptor of a regular file, also when it fails, and checks every byte. -EBADMSG:
 * damaged, cut off or of another version, and err says which; -EIO, -ENOMEM.
 */
int journal_file_open(int fd, struct journal_file *ret, struct error *err)
    __attribute__((warn_unused_result));
/* `buffer` has room for JOURNAL_PIECE_MAX. Checked again: -EBADMSG. */
int journal_file_piece(const struct journal_file *file, const struct journal_piece *piece,
                       char *buffer) __attribute__((warn_unused_result));
void journal_file_done(struct journal_file *file);

#endif
