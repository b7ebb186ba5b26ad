/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/cleanup.h"

enum { LOG_LINE_MAX = 16 * 1024 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int current_level = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_parse_level(const char *name, enum log_level *ret)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void add_time(struct buf *b)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_addf(b, "time=%s.%03ldZ", text, now.tv_nsec / 1000000);
}

static bool needs_quotes(const char *value)
{
    if (*value == '\0') {
        return true;
    }
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p == 0x7f) {
            return true;
        }
    }
    return false;
}

static void add_value(struct buf *b, const char *value)
{
    if (value == NULL || !needs_quotes(value)) {
        buf_addstr(b, value != NULL ? value : "\"\"");
        return;
    }
    buf_addstr(b, "\"");
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            buf_addf(b, "\\%c", *p);
        } else if (*p < ' ' || *p == 0x7f) {
            buf_addf(b, "\\x%02x", *p);
        } else {
            buf_add(b, p, 1);
        }
    }
    buf_addstr(b, "\"");
}

void log_line(enum log_level level, const char *message, ...)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LOG_LINE_MAX);
    va_list args;
    const char *key;

    if (level > log_get_level()) {
        return;
    }
    add_time(&b);
    buf_addf(&b, " level=%s msg=", level_names[level]);
    add_value(&b, message);
    va_start(args, message);
    while ((key = va_arg(args, const char *)) != NULL) {
        buf_addf(&b, " %s=", key);
        add_value(&b, va_arg(args, const char *));
    }
    va_end(args);
    buf_addstr(&b, "\n");
    if (buf_len(&b) > 0) {
        ssize_t written = write(STDERR_FILENO, buf_str(&b), buf_len(&b));
        (void)written; /* nowhere left to report it */
    }
}

const char *log_num_into(struct log_number *room, int64_t n)
{
    (void)snprintf(room->text, sizeof(room->text), "%lld", (long long)n);
    return room->text;
}
