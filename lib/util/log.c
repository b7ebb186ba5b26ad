/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/cleanup.h"

enum { LOG_LINE_MAX = 16 * 1024 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int current_level = LOG_INFO;

/* Written before syslog_socket is set, and never again. */
static struct sockaddr_un syslog_address = {.sun_family = AF_UNIX};
static char syslog_name[32];
static atomic_int syslog_socket = -1;

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

int log_to_syslog(const char *path, const char *name)
{
    int s;

    if (atomic_load(&syslog_socket) >= 0) {
        return -EALREADY;
    }
    if (strlen(path) >= sizeof(syslog_address.sun_path) || strlen(name) >= sizeof(syslog_name)) {
        return -ENAMETOOLONG;
    }
    s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0) {
        return -errno;
    }
    memcpy(syslog_address.sun_path, path, strlen(path) + 1);
    memcpy(syslog_name, name, strlen(name) + 1);
    atomic_store(&syslog_socket, s);
    return 0;
}

/* As syslog(3) has it, which would wait for a syslogd that has stopped. */
static void send_syslog(int s, enum log_level level, const char *text, size_t len)
{
    enum { FACILITY_DAEMON = 3 << 3 };
    static const int severities[] = {3, 4, 6, 7}; /* of error, warn, info and debug */
    CLEANUP(buf_done) struct buf b = BUF_INIT(LOG_LINE_MAX + 128);
    time_t now = time(NULL);
    struct tm tm;
    char when[32] = "";

    if (localtime_r(&now, &tm) != NULL) {
        (void)strftime(when, sizeof(when), "%b %e %T", &tm);
    }
    buf_addf(&b, "<%d>%s %s[%ld]: ", FACILITY_DAEMON | severities[level], when, syslog_name,
             (long)getpid());
    buf_add(&b, text, len);
    if (buf_error(&b) == 0) {
        (void)!sendto(s, buf_str(&b), buf_len(&b), MSG_NOSIGNAL,
                      (const struct sockaddr *)&syslog_address, sizeof(syslog_address));
    }
}

static void send_line(enum log_level level, const char *line, size_t len, size_t time_len)
{
    int s = atomic_load(&syslog_socket);

    if (s >= 0) {
        send_syslog(s, level, line + time_len, len - time_len);
    } else {
        (void)!write(STDERR_FILENO, line, len); /* nowhere left to report it */
    }
}

void log_line(enum log_level level, const char *message, ...)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LOG_LINE_MAX);
    va_list args;
    const char *key;
    size_t time_len;

    if (level > log_get_level()) {
        return;
    }
    add_time(&b);
    buf_addstr(&b, " ");
    time_len = buf_len(&b);
    buf_addf(&b, "level=%s msg=", level_names[level]);
    add_value(&b, message);
    va_start(args, message);
    while ((key = va_arg(args, const char *)) != NULL) {
        buf_addf(&b, " %s=", key);
        add_value(&b, va_arg(args, const char *));
    }
    va_end(args);
    buf_addstr(&b, "\n");
    if (buf_len(&b) > time_len) {
        send_line(level, buf_str(&b), buf_len(&b), time_len);
    }
}

const char *log_num_into(struct log_number *room, int64_t n)
{
    (void)snprintf(room->text, sizeof(room->text), "%lld", (long long)n);
    return room->text;
}
