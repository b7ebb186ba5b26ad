/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/cors.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "s3/xml_walk.h"
#include "util/arena.h"

enum kind { ORIGINS, METHODS, HEADERS, EXPOSED, KINDS };

struct entries {
    const char *text[S3_CORS_ENTRIES_MAX];
    size_t count;
};

struct rule {
    struct entries entries[KINDS];
    const char *max_age; /* NULL: none */
};

struct s3_cors {
    struct arena arena;
    struct rule *rules[S3_CORS_RULES_MAX];
    size_t count;
};

struct reader {
    struct s3_cors *cors;
    struct s3_fault *fault;
};

#define ROOT "CORSConfiguration"
#define RULE ROOT "/CORSRule"

static bool known_method(struct slice method)
{
    static const char *const methods[] = {"GET", "PUT", "HEAD", "POST", "DELETE"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_eq_str(method, methods[i])) {
            return true;
        }
    }
    return false;
}

/* A token of RFC 9110, in which '*' may stand. */
static bool header_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];

        if (c == '\0' || c > 0x7e || (isalnum(c) == 0 && strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return name.len > 0;
}

static size_t stars(struct slice text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++) {
        count += text.data[i] == '*' ? 1 : 0;
    }
    return count;
}

/* ---- reading ---- */

static int check_entry(enum kind kind, struct slice text, struct s3_fault *fault)
{
    int len = text.len < 100 ? (int)text.len : 100;

    if (kind == METHODS) {
        return known_method(text) ? 0
                                  : s3_fault_set(fault, S3_INVALID_REQUEST,
                                                 "Found unsupported HTTP method in CORS config. "
                                                 "Unsupported method is %.*s",
                                                 len, text.data);
    }
    if (kind != ORIGINS && !header_name(text)) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "AllowedHeader \"%.*s\" contains invalid character.", len, text.data);
    }
    if (stars(text) > (kind == EXPOSED ? 0 : 1)) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "%s \"%.*s\" can not have more than %s wildcard.",
                            kind == ORIGINS   ? "AllowedOrigin"
                            : kind == HEADERS ? "AllowedHeader"
                                              : "ExposeHeader",
                            len, text.data, kind == EXPOSED ? "no" : "one");
    }
    return text.len > 0 ? 0 : -EINVAL;
}

static int cors_open(void *arg, const char *path, const char *type)
{
    const struct reader *reader = arg;
    struct s3_cors *cors = reader->cors;

    (void)type;
    if (strchr(path, '/') == NULL) {
        return strcmp(path, ROOT) == 0 ? 0 : -EINVAL;
    }
    if (strcmp(path, RULE) != 0) {
        return strncmp(path, RULE "/", sizeof(RULE)) == 0 ? 0 : -EINVAL;
    }
    if (cors->count == S3_CORS_RULES_MAX) {
        return -EINVAL;
    }
    cors->rules[cors->count] = arena_alloc(&cors->arena, sizeof(struct rule));
    return cors->rules[cors->count++] != NULL ? 0 : -ENOMEM;
}

static int add_entry(const struct reader *reader, enum kind kind, struct slice text)
{
    struct s3_cors *cors = reader->cors;
    struct entries *entries = &cors->rules[cors->count - 1]->entries[kind];
    int ret = check_entry(kind, text, reader->fault);

    if (ret != 0 || entries->count == S3_CORS_ENTRIES_MAX) {
        return ret != 0 ? ret : -EINVAL;
    }
    entries->text[entries->count] = arena_strndup(&cors->arena, text.data, text.len);
    return entries->text[entries->count++] != NULL ? 0 : -ENOMEM;
}

static int add_age(const struct reader *reader, struct slice text)
{
    struct s3_cors *cors = reader->cors;
    struct rule *rule = cors->rules[cors->count - 1];
    size_t sign = text.len > 0 && text.data[0] == '-' ? 1 : 0;

    for (size_t i = sign; i < text.len; i++) {
        if (isdigit((unsigned char)text.data[i]) == 0) {
            return -EINVAL;
        }
    }
    if (text.len == sign || text.len > 10 || rule->max_age != NULL) {
        return -EINVAL;
    }
    rule->max_age = arena_strndup(&cors->arena, text.data, text.len);
    return rule->max_age != NULL ? 0 : -ENOMEM;
}

static int cors_text(void *arg, const char *path, struct slice text)
{
    static const char *const names[KINDS] = {RULE "/AllowedOrigin", RULE "/AllowedMethod",
                                             RULE "/AllowedHeader", RULE "/ExposeHeader"};
    const struct reader *reader = arg;

    for (enum kind kind = ORIGINS; kind < KINDS; kind++) {
        if (strcmp(path, names[kind]) == 0) {
            return add_entry(reader, kind, text);
        }
    }
    if (strcmp(path, RULE "/MaxAgeSeconds") == 0) {
        return add_age(reader, text);
    }
    if (strcmp(path, RULE) == 0) {
        const struct rule *rule = reader->cors->rules[reader->cors->count - 1];

        return rule->entries[ORIGINS].count > 0 && rule->entries[METHODS].count > 0 ? 0 : -EINVAL;
    }
    if (strcmp(path, RULE "/ID") == 0) {
        return text.len <= 255 ? 0 : -EINVAL;
    }
    return strcmp(path, ROOT) == 0 ? 0 : -EINVAL;
}

int s3_cors_parse(const void *body, size_t len, struct s3_cors **ret, struct s3_fault *fault)
{
    struct s3_cors *cors = calloc(1, sizeof(*cors));
    struct reader reader = {cors, fault};
    const struct s3_xml_walker walker = {cors_open, cors_text, &reader};
    int error;

    if (cors == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    cors->arena = (struct arena)ARENA_INIT(1024 * 1024);
    error = len <= S3_CORS_TEXT_MAX ? s3_xml_walk(body, len, &walker, fault)
                                    : s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    if (error == 0 && cors->count == 0) {
        error = s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    if (error != 0) {
        s3_cors_free(cors);
        return error;
    }
    *ret = cors;
    return 0;
}

void s3_cors_free(struct s3_cors *cors)
{
    if (cors != NULL) {
        arena_done(&cors->arena);
        free(cors);
    }
}

/* ---- matching ---- */

/* The next of a list with commas between; false at its end. */
static bool next_name(struct slice *list, struct slice *ret)
{
    const char *comma;

    if (list->data == NULL) {
        return false;
    }
    comma = list->len > 0 ? memchr(list->data, ',', list->len) : NULL;
    *ret = (struct slice){list->data, comma != NULL ? (size_t)(comma - list->data) : list->len};
    *list = comma != NULL ? (struct slice){comma + 1, list->len - ret->len - 1} : (struct slice){0};
    *ret = slice_trim(*ret);
    return true;
}

int s3_cors_request_check(const struct s3_cors_request *request, struct s3_fault *fault)
{
    struct slice rest = request->headers, name;

    if (!known_method(request->method)) {
        return s3_fault_set(fault, S3_BAD_REQUEST, "Invalid Access-Control-Request-Method: %.*s",
                            request->method.len < 64 ? (int)request->method.len : 64,
                            request->method.data != NULL ? request->method.data : "null");
    }
    while (request->headers.len > 0 && next_name(&rest, &name)) {
        if (!header_name(name)) {
            return s3_fault_set(fault, S3_BAD_REQUEST,
                                "Access-Control-Request-Headers \"%.*s\" contains invalid "
                                "character.",
                                name.len < 64 ? (int)name.len : 64, name.data);
        }
    }
    return 0;
}

static bool glob(const char *pattern, struct slice text, bool fold)
{
    const char *star = strchr(pattern, '*');
    size_t before = star != NULL ? (size_t)(star - pattern) : strlen(pattern);
    size_t after = star != NULL ? strlen(star + 1) : 0;
    int (*compare)(const char *a, const char *b, size_t n) = fold ? strncasecmp : strncmp;

    if (star == NULL ? text.len != before : text.len < before + after) {
        return false;
    }
    return text.len == 0 ||
           (compare(pattern, text.data, before) == 0 &&
            (star == NULL || compare(star + 1, text.data + text.len - after, after) == 0));
}

static const char *find(const struct entries *entries, struct slice text, bool fold)
{
    for (size_t i = 0; i < entries->count; i++) {
        if (glob(entries->text[i], text, fold)) {
            return entries->text[i];
        }
    }
    return NULL;
}

static bool fits(const struct rule *rule, const struct s3_cors_request *request)
{
    struct slice rest = request->headers, name;

    if (find(&rule->entries[ORIGINS], request->origin, false) == NULL ||
        find(&rule->entries[METHODS], request->method, false) == NULL) {
        return false;
    }
    while (request->headers.len > 0 && next_name(&rest, &name)) {
        if (find(&rule->entries[HEADERS], name, true) == NULL) {
            return false;
        }
    }
    return true;
}

static void add_name(struct buf *out, const char *name)
{
    buf_add(out, name, strlen(name) + 1);
}

static void add_list(struct buf *out, const char *name, const struct entries *entries)
{
    if (entries->count == 0) {
        return;
    }
    add_name(out, name);
    for (size_t i = 0; i < entries->count; i++) {
        buf_addf(out, "%s%s", i > 0 ? ", " : "", entries->text[i]);
    }
    buf_add(out, "", 1);
}

static void add_asked(struct buf *out, struct slice headers)
{
    struct slice rest = headers, name;
    const char *between = "";

    if (headers.len == 0) {
        return;
    }
    add_name(out, "Access-Control-Allow-Headers");
    while (next_name(&rest, &name)) {
        buf_addstr(out, between);
        for (size_t i = 0; i < name.len; i++) {
            char c = (char)tolower((unsigned char)name.data[i]);

            buf_add(out, &c, 1);
        }
        between = ", ";
    }
    buf_add(out, "", 1);
}

static void write_rule(const struct rule *rule, const struct s3_cors_request *request,
                       struct buf *out)
{
    bool any = strcmp(find(&rule->entries[ORIGINS], request->origin, false), "*") == 0;

    add_name(out, "Access-Control-Allow-Origin");
    if (any) {
        add_name(out, "*");
    } else {
        buf_add(out, request->origin.data, request->origin.len);
        buf_add(out, "", 1);
        add_name(out, "Access-Control-Allow-Credentials");
        add_name(out, "true");
    }
    add_list(out, "Access-Control-Allow-Methods", &rule->entries[METHODS]);
    add_asked(out, request->headers);
    add_list(out, "Access-Control-Expose-Headers", &rule->entries[EXPOSED]);
    if (rule->max_age != NULL) {
        add_name(out, "Access-Control-Max-Age");
        add_name(out, rule->max_age);
    }
    add_name(out, "Vary");
    add_name(out, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}

bool s3_cors_match(const struct s3_cors *cors, const struct s3_cors_request *request,
                   struct buf *headers)
{
    for (size_t i = 0; i < cors->count; i++) {
        if (fits(cors->rules[i], request)) {
            write_rule(cors->rules[i], request, headers);
            return true;
        }
    }
    return false;
}
