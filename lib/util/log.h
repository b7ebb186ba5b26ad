/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line of key=value pairs on stderr, or to syslogd.
 *
 *     log_info("volume created", "volume", id, "bucket", bucket, NULL);
 *     time=2026-11-21T10:00:00.123Z level=info msg="volume created" volume=v1 bucket=b1
 *
 * Fields are pairs of C strings and end with NULL; values are quoted where they need it, and a
 * value of NULL prints as "". Library code logs at debug level only; the function that decides
 * what happens logs, once. Never pass a secret. Numbers: log_num(). Any thread may log; a line is
 * one write(2), so lines do not mix.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped; the default is LOG_INFO. Safe from a signal handler. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error", "warn", "info" or "debug"; returns 0 or -EINVAL. */
int log_parse_level(const char *name, enum log_level *ret) __attribute__((warn_unused_result));

/*
 * From here on lines go to the datagram socket of syslogd ("/dev/log") instead of stderr, as `name`
 * and facility daemon, without their time. Nothing is waited for: what cannot be taken at once, or
 * by nobody, is dropped. Once in a process. -ENAMETOOLONG, -EALREADY, or what socket(2) says.
 */
int log_to_syslog(const char *path, const char *name) __attribute__((warn_unused_result));

void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_get_level() >= LOG_DEBUG) {                                                        \
            log_line(LOG_DEBUG, __VA_ARGS__);                                                      \
        }                                                                                          \
    } while (false)

/* Room for a number as text: `log_num((struct log_number){0}.text, n)` lives to the statement's
 * end. */
struct log_number {
    char text[24];
};
const char *log_num_into(struct log_number *room, int64_t n);
#define log_num(n) log_num_into(&(struct log_number){{0}}, (int64_t)(n))

#endif
