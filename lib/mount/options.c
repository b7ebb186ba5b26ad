/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/options.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mount/json_text.h"
#include "mount/options_hand.h"
#include "mount/options_range.h"
#include "mount/options_table.h"
#include "util/address.h"
#include "util/cleanup.h"
#include "util/slice.h"
#include "util/url.h"

enum { NAME_MAX_ = 64, SHOWN_MAX = 64, TEXT_LIMIT = 64 * 1024 };

/* One option as it was written. */
struct setting {
    char name[NAME_MAX_]; /* without dashes before it, '-' as '_' */
    struct slice value;   /* data NULL: none */
    enum mount_options_source source;
    struct error *err;
};

void mount_options_done(struct mount_options *o)
{
    for (size_t i = 0; i < o->count; i++) {
        free(o->items[i].value);
    }
    o->count = 0;
    free(o->fsname);
    o->fsname = NULL;
    o->note[0] = '\0';
}

const char *mount_options_get(const struct mount_options *o, const char *name)
{
    for (size_t i = 0; i < o->count; i++) {
        if (strcmp(o->items[i].name, name) == 0) {
            return o->items[i].value;
        }
    }
    return NULL;
}

bool mount_options_true(const struct mount_options *o, const char *name)
{
    const char *value = mount_options_get(o, name);

    return value != NULL && strcmp(value, "true") == 0;
}

static int store(struct mount_options *o, const char *name, const char *value)
{
    char *copy = strdup(value);

    if (copy == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < o->count; i++) {
        if (strcmp(o->items[i].name, name) == 0) {
            free(o->items[i].value);
            o->items[i].value = copy;
            return 0;
        }
    }
    if (o->count == MOUNT_OPTIONS_MAX) {
        free(copy);
        return -E2BIG;
    }
    o->items[o->count++] = (struct mount_option){.name = name, .value = copy};
    return 0;
}

/* Values. Each turns text into its canonical form in `ret` and says whether it is one. */

enum { CANONICAL_MAX = MOUNT_OPTION_VALUE_MAX };

static bool parse_bool(const char *text, char *ret)
{
    static const char *const yes[] = {"", "true", "on", "yes", "1"};
    static const char *const no[] = {"false", "off", "no", "0"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            (void)snprintf(ret, CANONICAL_MAX, "true");
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        if (strcasecmp(text, no[i]) == 0) {
            (void)snprintf(ret, CANONICAL_MAX, "false");
            return true;
        }
    }
    return false;
}

static bool parse_number(const char *text, int base, uint64_t max, uint64_t *ret, const char **rest)
{
    char *end;
    unsigned long long n;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    n = strtoull(text, &end, base);
    if (errno != 0 || n > max) {
        return false;
    }
    *ret = n;
    *rest = end;
    return true;
}

static bool parse_id(const char *text, char *ret)
{
    uint64_t n;
    const char *rest;

    if (!parse_number(text, 10, UINT32_MAX - 1, &n, &rest) || *rest != '\0') {
        return false;
    }
    (void)snprintf(ret, CANONICAL_MAX, "%llu", (unsigned long long)n);
    return true;
}

static bool parse_count(const char *text, char *ret)
{
    uint64_t n;
    const char *rest;

    if (!parse_number(text, 10, INT32_MAX, &n, &rest) || *rest != '\0' || n == 0) {
        return false;
    }
    (void)snprintf(ret, CANONICAL_MAX, "%llu", (unsigned long long)n);
    return true;
}

static bool parse_mode(const char *text, char *ret)
{
    uint64_t n;
    const char *rest;

    if (!parse_number(text, 8, 07777, &n, &rest) || *rest != '\0') {
        return false;
    }
    (void)snprintf(ret, CANONICAL_MAX, "%04llo", (unsigned long long)n);
    return true;
}

/* 512, 512K, 512Ki, 512KiB, 512MB: all binary, as all four programs have it. */
static bool parse_size(const char *text, uint64_t unit, char *ret)
{
    static const char letters[] = "KMGT";
    uint64_t n;
    const char *rest;
    const char *letter;

    if (!parse_number(text, 10, UINT64_MAX, &n, &rest)) {
        return false;
    }
    letter = *rest != '\0' ? strchr(letters, *rest >= 'a' ? *rest - 'a' + 'A' : *rest) : NULL;
    if (letter != NULL) {
        unit = 1ULL << (10 * (letter - letters + 1));
        rest++;
        rest += *rest == 'i';
        rest += *rest == 'B';
    } else if (*rest == 'B' || *rest == 'b') {
        unit = 1;
        rest++;
    }
    if (*rest != '\0' || __builtin_mul_overflow(n, unit == 0 ? 1 : unit, &n) || n > INT64_MAX) {
        return false;
    }
    (void)snprintf(ret, CANONICAL_MAX, "%llu", (unsigned long long)n);
    return true;
}

static uint64_t duration_unit_ms(const char **at)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t len = strlen(units[i].name);

        if (strncmp(*at, units[i].name, len) == 0) {
            *at += len;
            return units[i].ms;
        }
    }
    return 0;
}

static bool parse_seconds(const char *text, char *ret)
{
    enum { YEAR_S = 31536000 };
    uint64_t total_ms = 0;
    const char *at = text;

    if (strcmp(text, "-1") == 0 || strcmp(text, "indefinite") == 0) {
        (void)snprintf(ret, CANONICAL_MAX, "%d", YEAR_S);
        return true;
    }
    if (strcmp(text, "minimal") == 0) {
        (void)snprintf(ret, CANONICAL_MAX, "1");
        return true;
    }
    while (*at != '\0') {
        uint64_t n;
        uint64_t tenths = 0;
        uint64_t unit;

        if (!parse_number(at, 10, YEAR_S, &n, &at)) {
            return false;
        }
        if (at[0] == '.' && at[1] >= '0' && at[1] <= '9') {
            tenths = (uint64_t)(at[1] - '0');
            at += 2 + strspn(at + 2, "0123456789");
        }
        unit = *at == '\0' ? 1000 : duration_unit_ms(&at);
        if (unit == 0) {
            return false;
        }
        total_ms += n * unit + tenths * unit / 10;
    }
    if (at == text || total_ms > YEAR_S * 1000ULL) {
        return false;
    }
    if (total_ms % 1000 == 0) {
        (void)snprintf(ret, CANONICAL_MAX, "%llu", (unsigned long long)(total_ms / 1000));
    } else {
        (void)snprintf(ret, CANONICAL_MAX, "%llu.%03llu", (unsigned long long)(total_ms / 1000),
                       (unsigned long long)(total_ms % 1000));
    }
    return true;
}

static bool parse_word(const char *text, char *ret)
{
    size_t len = strlen(text);

    if (len == 0 || len > 256 ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._/-") !=
            len) {
        return false;
    }
    memcpy(ret, text, len + 1);
    return true;
}

static bool parse_choice(const char *text, const char *choices, char *ret)
{
    size_t len = strlen(text);

    for (const char *at = choices; *at != '\0';) {
        size_t n = strcspn(at, " ");

        if (n == len && strncmp(at, text, n) == 0) {
            memcpy(ret, text, len + 1);
            return true;
        }
        at += n + (at[n] == ' ');
    }
    return false;
}

static bool parse_path(const char *text, char *ret)
{
    if (text[0] != '/' || strlen(text) >= CANONICAL_MAX || strstr(text, "/../") != NULL) {
        return false;
    }
    memcpy(ret, text, strlen(text) + 1);
    return true;
}

/* Endpoints */

/* What leads to the node itself or to a cloud's metadata service. inet_aton() reads every form.
 * What a name resolves to is looked at when it is connected to: see the option public_only. */
static bool is_forbidden_host(const char *host)
{
    static const char *const names[] = {"localhost", "metadata", "metadata.google.internal",
                                        "instance-data"};
    size_t len = strlen(host);
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_aton(host, &v4) != 0) {
        return address_v4_is_internal(ntohl(v4.s_addr));
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return address_v6_is_internal(&v6);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t n = strlen(names[i]);

        if (strncasecmp(host, names[i], n) == 0 && (len == n || (len == n + 1 && host[n] == '.'))) {
            return true;
        }
    }
    return len >= 10 && strcasecmp(host + len - 10, ".localhost") == 0;
}

static bool host_of(const char *url, char *ret, size_t size)
{
    const char *at;
    const char *port;
    size_t len;

    if (strncasecmp(url, "http://", 7) == 0) {
        at = url + 7;
    } else if (strncasecmp(url, "https://", 8) == 0) {
        at = url + 8;
    } else {
        return false;
    }
    if (*at == '[') {
        at++;
        len = strcspn(at, "]/");
        if (at[len] != ']') {
            return false;
        }
    } else {
        len = strcspn(at, ":/?#");
    }
    port = at + len + (at[len] == ']');
    if (*port == ':') {
        port += 1 + strspn(port + 1, "0123456789");
    }
    if (*port != '/' && *port != '\0') {
        return false;
    }
    if (len == 0 || len >= size || strpbrk(at, "@?#\\ \t\r\n") != NULL) {
        return false;
    }
    memcpy(ret, at, len);
    ret[len] = '\0';
    return true;
}

static bool parse_url(const char *text, char *ret)
{
    char host[256];

    if (strlen(text) >= CANONICAL_MAX || !host_of(text, host, sizeof(host))) {
        return false;
    }
    memcpy(ret, text, strlen(text) + 1);
    return true;
}

/* The table's use */

/* Edits to get from a to b; small strings only. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_ + 1];
    size_t b_len = strlen(b);

    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[b_len];
}

static int refuse_unknown(const struct setting *s)
{
    const char *nearest = NULL;
    size_t half = (strlen(s->name) + 1) / 2; /* half a word is no slip of the fingers */
    size_t least = half < 4 ? half : 4;

    for (size_t i = 0; i < mount_option_table_count; i++) {
        size_t d = distance(s->name, mount_option_table[i].spelling);

        if (d < least) {
            least = d;
            nearest = mount_option_table[i].spelling;
        }
    }
    if (nearest != NULL) {
        return error_set(s->err, -EINVAL, "mount option '%s' is unknown; did you mean '%s'?",
                         url_shown(s->name), nearest);
    }
    return error_set(s->err, -EINVAL, "mount option '%s' is unknown%s", url_shown(s->name),
                     strcmp(s->name, "size") == 0 ? ": it is the argument --size" : "");
}

static const struct mount_option_row *find_row(const char *name)
{
    for (size_t i = 0; i < mount_option_table_count; i++) {
        if (strcmp(mount_option_table[i].spelling, name) == 0) {
            return &mount_option_table[i];
        }
    }
    return NULL;
}

static bool parse_value(const struct mount_option_row *row, const char *text, char *ret)
{
    switch (row->kind) {
    case MOUNT_OPTION_BOOL:
        return parse_bool(text, ret);
    case MOUNT_OPTION_ID:
        return parse_id(text, ret);
    case MOUNT_OPTION_MODE:
        return parse_mode(text, ret);
    case MOUNT_OPTION_SIZE:
        return parse_size(text, row->unit, ret);
    case MOUNT_OPTION_SECONDS:
        return parse_seconds(text, ret);
    case MOUNT_OPTION_COUNT:
        return parse_count(text, ret);
    case MOUNT_OPTION_WORD:
        return parse_word(text, ret);
    case MOUNT_OPTION_CHOICE:
        return parse_choice(text, row->choices, ret);
    case MOUNT_OPTION_URL:
        return parse_url(text, ret);
    case MOUNT_OPTION_ENDPOINT:
        return strstr(text, "://") != NULL ? parse_url(text, ret) : parse_word(text, ret);
    case MOUNT_OPTION_PATH:
        return parse_path(text, ret);
    case MOUNT_OPTION_FIXED:
        (void)snprintf(ret, CANONICAL_MAX, "%s", row->choices);
        return true;
    default:
        break;
    }
    return false;
}

/* What would have been possible. */
static const char *wanted(const struct mount_option_row *row)
{
    switch (row->kind) {
    case MOUNT_OPTION_BOOL:
        return "on or off, true or false, yes or no, or nothing";
    case MOUNT_OPTION_ID:
        return "a number";
    case MOUNT_OPTION_MODE:
        return "octal, 0 to 7777";
    case MOUNT_OPTION_SIZE:
        return "bytes, or as 64M, 1GiB";
    case MOUNT_OPTION_SECONDS:
        return "seconds, or as 500ms, 1m30s, 2h, up to a year";
    case MOUNT_OPTION_COUNT:
        return "a number from 1";
    case MOUNT_OPTION_WORD:
        return "letters, digits and :._/-";
    case MOUNT_OPTION_CHOICE:
        return row->choices;
    case MOUNT_OPTION_URL:
    case MOUNT_OPTION_ENDPOINT:
        return "http://HOST[:PORT] or https://HOST[:PORT]";
    case MOUNT_OPTION_PATH:
        return "a path that begins with /";
    default:
        break;
    }
    return "nothing";
}

static int check_user(const struct setting *s, const struct mount_option_row *row,
                      const char *value)
{
    char host[256];

    if (row->owner == MOUNT_OPTION_OF_OPERATOR) {
        return error_set(s->err, -EINVAL, "mount option '%s' is the operator's to set (%s)",
                         s->name,
                         row->kind == MOUNT_OPTION_PATH ? "it names a path of the host"
                                                        : "in the StorageClass or the volume");
    }
    if ((row->kind == MOUNT_OPTION_URL || row->kind == MOUNT_OPTION_ENDPOINT) &&
        host_of(value, host, sizeof(host)) && is_forbidden_host(host)) {
        return error_set(s->err, -EINVAL,
                         "mount option '%s': '%s' is on the node itself or link-local", s->name,
                         host);
    }
    return 0;
}

/* It was understood as a number: no secret. */
static int shown_len(const struct setting *s)
{
    return (int)(s->value.len < SHOWN_MAX ? s->value.len : SHOWN_MAX);
}

static void note_most(struct mount_options *o, const struct setting *s, const char *most)
{
    size_t len = strlen(o->note);

    (void)snprintf(o->note + len, sizeof(o->note) - len,
                   "%smount option '%s': '%.*s' is more than is possible, %s is taken",
                   len > 0 ? "; " : "", s->name, shown_len(s), s->value.data, most);
}

/* Into the range of ours, which `value` may be changed for. */
static int fit(struct mount_options *o, const struct setting *s, const struct mount_option_row *row,
               char *value)
{
    const struct mount_option_row *ours = find_row(row->ours);
    enum mount_option_fit fits = ours != NULL ? mount_option_fit(ours, value) : MOUNT_OPTION_FITS;
    CLEANUP(buf_done) struct buf text = BUF_INIT(64);

    if (fits == MOUNT_OPTION_FITS) {
        return 0;
    }
    if (fits == MOUNT_OPTION_TOO_MUCH && row != ours) {
        (void)snprintf(value, CANONICAL_MAX, "%llu", (unsigned long long)ours->most);
        mount_option_number(ours->kind, ours->most, &text);
        note_most(o, s, buf_str(&text));
        return 0;
    }
    mount_option_range(ours, &text);
    return error_set(s->err, -EINVAL, "mount option '%s': '%.*s' is too %s (possible: %s)", s->name,
                     shown_len(s), s->value.data, fits == MOUNT_OPTION_TOO_MUCH ? "much" : "little",
                     buf_str(&text));
}

static int apply(struct mount_options *o, const struct setting *s)
{
    const struct mount_option_row *row = find_row(s->name);
    AUTOFREE char *text = NULL;
    AUTOFREE char *value = NULL;
    int r = 0;

    if (row == NULL) {
        return strncasecmp(s->name, "x_", 2) == 0 ? 0
                                                  : refuse_unknown(s); /* x-systemd.* and so on */
    }
    if (s->value.len >= MOUNT_OPTION_VALUE_MAX) {
        return error_set(s->err, -EINVAL, "mount option '%s': too long", s->name);
    }
    if (row->kind == MOUNT_OPTION_IGNORED || row->kind == MOUNT_OPTION_SKIPPED) {
        return 0;
    }
    if (row->kind == MOUNT_OPTION_KERNEL || row->kind == MOUNT_OPTION_SOURCE ||
        row->kind == MOUNT_OPTION_REFUSED) {
        return mount_option_hand(o, row, s->value, s->source, s->err);
    }
    if (s->value.data == NULL && row->bare != NULL) {
        return store(o, row->ours, row->bare);
    }
    text = strndup(s->value.data != NULL ? s->value.data : "", s->value.len);
    value = calloc(1, CANONICAL_MAX);
    if (text == NULL || value == NULL) {
        return -ENOMEM;
    }
    if (row->kind == MOUNT_OPTION_ENDPOINT && strstr(text, "://") == NULL &&
        strpbrk(text, ":./") != NULL) { /* s3fs has its region here, which has none of these */
        return error_set(s->err, -EINVAL,
                         "mount option '%s': write http:// or https:// before '%.64s'", s->name,
                         text);
    }
    if (!parse_value(row, text, value)) {
        return error_set(s->err, -EINVAL, "mount option '%s': '%.64s' is not possible (write: %s)",
                         s->name, url_shown(text), wanted(row));
    }
    if (s->source == MOUNT_OPTIONS_USER) {
        r = check_user(s, row, value);
    }
    r = r < 0 ? r : fit(o, s, row, value);
    if (r < 0) {
        return r;
    }
    if (row->kind == MOUNT_OPTION_ENDPOINT && strstr(value, "://") == NULL) {
        return store(o, "region", value);
    }
    return store(o, row->ours, value);
}

static int name_setting(struct setting *s, struct slice name)
{
    while (name.len > 0 && name.data[0] == '-') {
        name.data++;
        name.len--;
    }
    if (name.len == 0 || name.len >= sizeof(s->name)) {
        return error_set(s->err, -EINVAL,
                         "an option is unknown: its name is empty or longer than %d bytes",
                         NAME_MAX_ - 1);
    }
    for (size_t i = 0; i < name.len; i++) {
        s->name[i] = name.data[i];
        if (s->name[i] == '-') {
            s->name[i] = '_';
        }
    }
    s->name[name.len] = '\0';
    return 0;
}

int mount_options_set(struct mount_options *o, const char *name, const char *value,
                      enum mount_options_source source, struct error *err)
{
    struct setting s = {.source = source, .err = err};
    int r = name_setting(&s, slice_of(name));

    if (value != NULL) {
        s.value = slice_of(value);
    }
    return r < 0 ? r : apply(o, &s);
}

/* Text */

/* "a,b=c": what mount -o takes. */
static int parse_list(struct mount_options *o, struct slice list, enum mount_options_source source,
                      struct error *err)
{
    while (list.len > 0) {
        const char *comma = memchr(list.data, ',', list.len);
        size_t len = comma != NULL ? (size_t)(comma - list.data) : list.len;
        const char *equal = memchr(list.data, '=', len);
        size_t name_len = equal != NULL ? (size_t)(equal - list.data) : len;
        struct setting s = {.source = source, .err = err};

        if (len > 0) {
            int r = name_setting(&s, (struct slice){list.data, name_len});

            if (equal != NULL) {
                s.value = (struct slice){equal + 1, len - name_len - 1};
            }
            r = r < 0 ? r : apply(o, &s);
            if (r < 0) {
                return r;
            }
        }
        list.data += len + (comma != NULL);
        list.len -= len + (comma != NULL);
    }
    return 0;
}

static struct slice next_word(const char **at)
{
    struct slice word;

    *at += strspn(*at, " \t\r\n");
    word = (struct slice){*at, strcspn(*at, " \t\r\n")};
    *at += word.len;
    return word;
}

/* Whether an option written as "--name" takes the next word. */
static bool takes_value(const char *name)
{
    const struct mount_option_row *row = find_row(name);

    return row != NULL && row->kind != MOUNT_OPTION_BOOL && row->kind != MOUNT_OPTION_FIXED &&
           row->kind != MOUNT_OPTION_IGNORED && row->kind != MOUNT_OPTION_KERNEL &&
           row->kind != MOUNT_OPTION_REFUSED;
}

/* "--name value" or "--name=value"; `*at` is behind the word. */
static int parse_flag(struct mount_options *o, struct slice word, const char **at,
                      enum mount_options_source source, struct error *err)
{
    const char *equal = memchr(word.data, '=', word.len);
    struct setting s = {.source = source, .err = err};
    int r;

    if (equal != NULL) {
        s.value = (struct slice){equal + 1, word.len - (size_t)(equal - word.data) - 1};
        word.len = (size_t)(equal - word.data);
    }
    r = name_setting(&s, word);
    if (r == 0 && equal == NULL && takes_value(s.name)) {
        s.value = next_word(at);
        if (s.value.len == 0) {
            return error_set(err, -EINVAL, "mount option '%s' needs a value", s.name);
        }
    }
    return r < 0 ? r : apply(o, &s);
}

int mount_options_parse(struct mount_options *o, const char *text, enum mount_options_source source,
                        struct error *err)
{
    const char *at = text;
    int r = 0;

    if (strlen(text) > TEXT_LIMIT) {
        return error_set(err, -E2BIG, "mount options: more than %d bytes", TEXT_LIMIT);
    }
    while (r == 0) {
        struct slice word = next_word(&at);

        if (word.len == 0) {
            break;
        }
        if (slice_eq_str(word, "-o")) {
            r = parse_list(o, next_word(&at), source, err);
        } else if (word.data[0] == '-') {
            r = parse_flag(o, word, &at, source, err);
        } else {
            r = parse_list(o, word, source, err);
        }
    }
    return r;
}

/* Output */

static int by_name(const void *a, const void *b)
{
    const struct mount_option *x = a;
    const struct mount_option *y = b;

    return strcmp(x->name, y->name);
}

void mount_options_json(const struct mount_options *o, struct buf *out)
{
    struct mount_option sorted[MOUNT_OPTIONS_MAX];

    memcpy(sorted, o->items, sizeof(sorted));
    qsort(sorted, o->count, sizeof(sorted[0]), by_name);
    buf_addstr(out, "{");
    for (size_t i = 0; i < o->count; i++) {
        buf_addstr(out, i > 0 ? "," : "");
        json_add_text(out, sorted[i].name);
        buf_addstr(out, ":");
        json_add_text(out, sorted[i].value);
    }
    buf_addstr(out, "}");
}

/* What follows the name of an option: "=close|fsync", "=SIZE"; nothing for one that is on or off.
 */
static void add_form(const struct mount_option_row *row, struct buf *out)
{
    static const char *const forms[] = {
        [MOUNT_OPTION_BOOL] = "",       [MOUNT_OPTION_ID] = "=NUMBER",
        [MOUNT_OPTION_MODE] = "=OCTAL", [MOUNT_OPTION_SECONDS] = "=TIME",
        [MOUNT_OPTION_SIZE] = "=SIZE",  [MOUNT_OPTION_COUNT] = "=NUMBER",
        [MOUNT_OPTION_PATH] = "=PATH",  [MOUNT_OPTION_URL] = "=URL",
        [MOUNT_OPTION_WORD] = "=WORD",  [MOUNT_OPTION_ENDPOINT] = "=URL",
    };

    if (row->choices != NULL) {
        buf_addstr(out, "=");
        for (const char *c = row->choices; *c != '\0'; c++) {
            buf_add(out, *c == ' ' ? "|" : c, 1);
        }
    } else if ((size_t)row->kind < sizeof(forms) / sizeof(forms[0]) && forms[row->kind] != NULL) {
        buf_addstr(out, forms[row->kind]);
    }
}

void mount_options_help(struct buf *out)
{
    enum { COLUMN = 26 };

    for (size_t i = 0; i < mount_option_table_count; i++) {
        const struct mount_option_row *row = &mount_option_table[i];
        CLEANUP(buf_done) struct buf form = BUF_INIT(256);

        if (row->help == NULL) {
            continue;
        }
        buf_addstr(&form, row->spelling);
        add_form(row, &form);
        if (buf_len(&form) < COLUMN) {
            buf_addf(out, "  %-*s ", COLUMN, buf_str(&form));
        } else {
            buf_addf(out, "  %s\n   %*s", buf_str(&form), COLUMN, "");
        }
        buf_addf(out, "%s%s", row->help, row->most != 0 ? "; " : "");
        mount_option_range(row, out);
        buf_addstr(out, row->owner == MOUNT_OPTION_OF_OPERATOR ? " [operator]\n" : "\n");
    }
}
