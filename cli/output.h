/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - tables for people, JSON for programs, a bar for long work. One thread.
 *
 *     struct table table = TABLE_INIT("NAME", "SIZE");
 *     table_row(&table, "v1", "1.0 GiB");
 *     table_print(&table, stdout);
 *     table_done(&table);
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "util/arena.h"

enum { TABLE_COLUMNS_MAX = 8, TABLE_ROWS_MAX = 100000, TABLE_BYTES_MAX = 64 << 20 };

struct table {
    const char *titles[TABLE_COLUMNS_MAX]; /* NULL after the last */
    const char **cells;                    /* rows of as many as there are titles */
    size_t rows;
    struct arena arena;
};

#define TABLE_INIT(...)                                                                            \
    {                                                                                              \
        .titles = {__VA_ARGS__}, .arena = ARENA_INIT(TABLE_BYTES_MAX)                              \
    }

/* A text for each title, copied; NULL prints as "-". 0, -ENOMEM, -E2BIG. */
int table_row(struct table *table, ...) __attribute__((warn_unused_result));
void table_print(const struct table *table, FILE *out);
void table_done(struct table *table);

/* "1.5 GiB", "17 B"; of `size` bytes in text, at least 16. */
void output_bytes(uint64_t bytes, char *text, size_t size);

/* Indented, with a newline; the JSON is freed. NULL prints what memory lacks. Exit status. */
int output_json(cJSON *json);

/* Redraw "label [#####     ] 52% detail" on stderr, if that is a terminal; else nothing. total 0:
 * only what was done is shown. progress_end() ends the line. */
void progress_show(const char *label, uint64_t done, uint64_t total);
void progress_end(void);

#endif
