/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of a journal. First byte 0: the rest is a file; else the rest is an index, whose checksum
 * an attacker could make right.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "mount/journal_file.h"
#include "util/cleanup.h"

static void whole_file(const uint8_t *data, size_t size)
{
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
    struct error err = ERROR_INIT;
    char buffer[JOURNAL_PIECE_MAX];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (journal_file_open(fd, &file, &err) != 0) {
        CHECK(err.code != 0);
        return;
    }
    for (uint32_t i = 0; i < file.entry.pieces_count; i++) {
        CHECK(journal_file_piece(&file, &file.entry.pieces[i], buffer) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = ARENA_INIT(4ULL * JOURNAL_INDEX_MAX);
    struct journal_bytes bytes = {data + 1, size - 1, JOURNAL_HEAD_SIZE};
    CLEANUP(buf_done) struct buf again = BUF_INIT(JOURNAL_INDEX_MAX);
    struct journal_entry entry;
    uint64_t end = 0;

    if (size == 0) {
        return 0;
    }
    if (data[0] == 0) {
        whole_file(data + 1, size - 1);
        return 0;
    }
    if (journal_entry_decode(&bytes, &arena, &entry, &end, NULL) == 0) {
        journal_entry_encode(&entry, &again); /* what is understood is written the same again */
        CHECK(buf_error(&again) == 0 && buf_len(&again) == size - 1 &&
              memcmp(again.data, data + 1, size - 1) == 0);
        CHECK(end >= JOURNAL_HEAD_SIZE);
    }
    arena_done(&arena);
    return 0;
}
