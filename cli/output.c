/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - columns are as wide as their widest cell, counted in characters, not bytes. */
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 40, GAP = 2 };

static size_t columns_of(const struct table *table)
{
    size_t n = 0;

    while (n < TABLE_COLUMNS_MAX && table->titles[n] != NULL) {
        n++;
    }
    return n;
}

/* Characters of UTF-8: all bytes but the continuing ones. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

int table_row(struct table *table, ...)
{
    size_t columns = columns_of(table);
    const char **cells;
    va_list texts;
    int r = 0;

    if (table->rows == TABLE_ROWS_MAX) {
        return -E2BIG;
    }
    cells = reallocarray(table->cells, (table->rows + 1) * columns, sizeof(*cells));
    if (cells == NULL) {
        return -ENOMEM;
    }
    table->cells = cells;
    va_start(texts, table);
    for (size_t i = 0; i < columns; i++) {
        const char *text = va_arg(texts, const char *);

        cells[table->rows * columns + i] =
            arena_strdup(&table->arena, text != NULL && text[0] != '\0' ? text : "-");
        if (cells[table->rows * columns + i] == NULL) {
            r = -ENOMEM;
        }
    }
    va_end(texts);
    table->rows += r == 0 ? 1 : 0;
    return r;
}

static void print_row(FILE *out, const char *const *cells, size_t columns, const size_t *widths)
{
    for (size_t i = 0; i < columns; i++) {
        (void)fputs(cells[i], out);
        if (i + 1 < columns) {
            (void)fprintf(out, "%*s", (int)(widths[i] - width_of(cells[i]) + GAP), "");
        }
    }
    (void)fputc('\n', out);
}

void table_print(const struct table *table, FILE *out)
{
    size_t columns = columns_of(table);
    size_t widths[TABLE_COLUMNS_MAX] = {0};

    for (size_t i = 0; i < columns; i++) {
        widths[i] = width_of(table->titles[i]);
        for (size_t row = 0; row < table->rows; row++) {
            size_t width = width_of(table->cells[row * columns + i]);

            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    print_row(out, table->titles, columns, widths);
    for (size_t row = 0; row < table->rows; row++) {
        print_row(out, &table->cells[row * columns], columns, widths);
    }
}

void table_done(struct table *table)
{
    free(table->cells);
    table->cells = NULL;
    table->rows = 0;
    arena_done(&table->arena);
}

void output_bytes(uint64_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double n = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(text, size, "%" PRIu64 " B", bytes);
        return;
    }
    while (n >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        n /= 1024;
        unit++;
    }
    (void)snprintf(text, size, "%.1f %s", n, units[unit]);
}

int output_json(cJSON *json)
{
    char *text = json != NULL ? cJSON_Print(json) : NULL;
    int status = 1;

    if (text != NULL) {
        status = puts(text) < 0 ? 1 : 0;
    } else {
        (void)fputs("skyvolctl: out of memory\n", stderr);
    }
    cJSON_free(text);
    cJSON_Delete(json);
    return status;
}

void progress_show(const char *label, uint64_t done, uint64_t total)
{
    size_t filled;

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    if (total == 0) {
        (void)fprintf(stderr, "\r%s %" PRIu64 " done", label, done);
        return;
    }
    done = done > total ? total : done;
    filled = (size_t)((double)done / (double)total * BAR_WIDTH);
    (void)fprintf(stderr, "\r%s [%.*s%*s] %3.0f%% %" PRIu64 "/%" PRIu64, label, (int)filled,
                  "########################################", (int)(BAR_WIDTH - filled), "",
                  (double)done / (double)total * 100, done, total);
}

void progress_end(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fputc('\n', stderr);
    }
}
