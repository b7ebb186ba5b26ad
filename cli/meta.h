/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.h - what the commands that ask skyvol-meta have in common. One thread.
 *
 *     struct options { struct meta_options meta; ... };
 *     static const struct option_spec table[] = {META_OPTIONS(struct options, meta), ...};
 */
#ifndef CLI_META_H
#define CLI_META_H

#include <skyvol/meta/v1/meta.pb-c.h>

#include "cli/call.h"

struct meta_options {
    struct call_options call;
    struct option_list words;
    char *address;
    bool json;
};

#define META_ADDRESS "unix:/run/skyvol/meta.sock"

#define META_OPTIONS(type, member)                                                                 \
    OPTION(type, member.address, OPTION_STRING, "meta", "ADDRESS", META_ADDRESS,                   \
           "where skyvol-meta listens"),                                                           \
        OPTION(type, member.json, OPTION_BOOL, "json", NULL, NULL, "print JSON"),                  \
        CALL_OPTIONS(type, member.call)

/* A program of that table: `words` is what stands after the command's name, NULL for nothing. */
#define META_PROGRAM(type, member, name_, summary_, words_, min_, max_)                            \
    {                                                                                              \
        .name = "skyvolctl " name_, .summary = (summary_), .environment = "SKYVOLCTL_",            \
        .options = table, .count = sizeof(table) / sizeof(table[0]), .positional = (words_),       \
        .positional_min = (min_), .positional_max = (max_),                                        \
        .positional_offset = offsetof(type, member.words)                                          \
    }

/* `result`; where it means that nobody answered, err then says what to look at. */
int meta_hint(const struct meta_options *o, int result, struct error *err)
    __attribute__((warn_unused_result));

/*
 * What such a command does: parse the words into `options` (a struct whose first member is struct
 * meta_options, all zero), work, and print the reply as JSON or by print(). Exit status.
 */
typedef int meta_work_fn(const void *options, cJSON **ret, struct error *err);
typedef int meta_print_fn(const cJSON *reply);
int meta_run(const struct options_program *program, int argc, char *const *argv, void *options,
             meta_work_fn *work, meta_print_fn *print) __attribute__((warn_unused_result));

/* call_json() on a service of skyvol-meta. `in` may be NULL. */
int meta_call(const struct meta_options *o, const ProtobufCServiceDescriptor *service,
              const char *method, const cJSON *in, cJSON **ret, struct error *err)
    __attribute__((warn_unused_result));

/* An object with a fresh "idempotencyKey"; NULL: out of memory. */
cJSON *meta_new_request(void);

/* Members of an object: "" and 0 where there is none (64-bit numbers are strings in JSON). */
const char *meta_text(const cJSON *json, const char *name);
uint64_t meta_number(const cJSON *json, const char *name);
/* Set a member; NULL and 0 are left out. */
int meta_set_text(cJSON *json, const char *name, const char *text)
    __attribute__((warn_unused_result));
int meta_set_number(cJSON *json, const char *name, uint64_t n) __attribute__((warn_unused_result));
int meta_set_true(cJSON *json, const char *name, bool set) __attribute__((warn_unused_result));

/* A volume by id or, failing that, by name: the "volume" of GetVolumeResponse. */
int meta_find_volume(const struct meta_options *o, const char *text, cJSON **ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
