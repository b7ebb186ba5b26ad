/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/source.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mount/keys_file.h"
#include "util/cleanup.h"
#include "util/options.h"
#include "util/url.h"

enum { PREFIX_MAX = 512, BUCKET_MIN = 3, BUCKET_MAX = 63, WISH_MAX = 1 << 20 };

void csi_source_done(struct csi_source *source)
{
    free(source->bucket);
    free(source->prefix);
    free(source->location);
    free(source->wish);
    mount_options_done(&source->options);
    mount_credentials_done(&source->credentials);
    free(source->sts_endpoint);
    free(source->role_arn);
    *source = (struct csi_source)CSI_SOURCE_INIT;
}

/* ---- Names ---- */

static bool bucket_possible(const char *bucket, size_t len)
{
    if (len < BUCKET_MIN || len > BUCKET_MAX || !isalnum((unsigned char)bucket[0])) {
        return false;
    }
    for (size_t i = 0; i < len; i++) { /* older buckets have capitals and '_' */
        if (!isalnum((unsigned char)bucket[i]) && strchr("-._", bucket[i]) == NULL) {
            return false;
        }
        if (i > 0 && bucket[i] == '.' && bucket[i - 1] == '.') {
            return false;
        }
    }
    return true;
}

/* One part of a prefix: not empty, not "." or "..", no control characters, not ours. */
static bool part_possible(const char *part, size_t len)
{
    if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)part[i] < 0x20 || part[i] == 0x7f) {
            return false;
        }
    }
    return len != 7 || memcmp(part, ".skyvol", 7) != 0;
}

/* `text` without slashes at its ends, each part checked, a slash added; "" stays "". */
static int make_prefix(const char *text, char **ret, struct error *err)
{
    size_t len;
    char *prefix;

    text += strspn(text, "/");
    len = strlen(text);
    while (len > 0 && text[len - 1] == '/') {
        len--;
    }
    if (len > PREFIX_MAX) {
        return error_set(err, -EINVAL, "prefix is too long: %zu bytes, at most %d are possible",
                         len, PREFIX_MAX);
    }
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(text + at, '/', len - at);
        size_t part = slash != NULL ? (size_t)(slash - text) - at : len - at;

        if (!part_possible(text + at, part)) {
            return error_set(err, -EINVAL,
                             "prefix '%.128s': no part of it may be empty, '.', '..' or '.skyvol'",
                             url_shown(text));
        }
        at += part + 1;
    }
    prefix = calloc(1, len + 2);
    if (prefix == NULL) {
        return -ENOMEM;
    }
    memcpy(prefix, text, len);
    prefix[len] = len > 0 ? '/' : '\0';
    *ret = prefix;
    return 0;
}

int csi_bucket_split(const char *text, char **ret_bucket, char **ret_prefix, struct error *err)
{
    const char *slash = strchrnul(text, '/');
    AUTOFREE char *bucket = NULL;
    int r;

    if (!bucket_possible(text, (size_t)(slash - text))) {
        return error_set(err, -EINVAL,
                         "'%.128s' names no bucket: use bucket or bucket/prefix as volumeHandle, "
                         "or set the attribute bucket",
                         url_shown(text));
    }
    bucket = strndup(text, (size_t)(slash - text));
    if (bucket == NULL) {
        return -ENOMEM;
    }
    r = make_prefix(slash, ret_prefix, err);
    if (r == 0) {
        *ret_bucket = TAKE(bucket);
    }
    return r;
}

int csi_size_parse(const char *text, uint64_t *ret)
{
    static const char units[] = "KMGTPE";
    char *end;
    double number;
    double unit = 1;

    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    number = strtod(text, &end);
    if ((size_t)(end - text) != strspn(text, "0123456789.")) { /* no hex, no exponent */
        return -EINVAL;
    }
    if (*end != '\0') {
        const char *at = strchr(units, toupper((unsigned char)*end));
        bool binary = end[1] == 'i';

        if (at == NULL || (end[1] != '\0' && (!binary || end[2] != '\0'))) {
            return -EINVAL;
        }
        for (const char *p = units; p <= at; p++) {
            unit *= binary ? 1024.0 : 1000.0;
        }
    }
    if (number * unit >= 9223372036854775807.0) {
        return -ERANGE;
    }
    *ret = (uint64_t)(number * unit);
    return 0;
}

/* ---- Endpoints ---- */

static bool endpoint_matches(const char *pattern, const char *endpoint)
{
    const char *host = strstr(endpoint, "://");
    size_t host_len;
    size_t name_len;
    size_t len = strlen(pattern);

    if (strstr(pattern, "://") != NULL) {
        return strncasecmp(pattern, endpoint, len) == 0 &&
               (endpoint[len] == '\0' || strcmp(endpoint + len, "/") == 0);
    }
    host = host != NULL ? host + 3 : endpoint;
    host_len = strcspn(host, "/?#");
    if (memchr(host, '@', host_len) != NULL) {
        return false;
    }
    name_len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (pattern[0] == '*' && pattern[1] == '.') {
        return name_len > len - 1 &&
               strncasecmp(host + name_len - (len - 1), pattern + 1, len - 1) == 0;
    }
    return (len == name_len || len == host_len) && strncasecmp(pattern, host, len) == 0;
}

static bool endpoint_listed(const struct csi_policy *policy, const char *endpoint)
{
    for (size_t i = 0; i < policy->endpoint_count; i++) {
        if (endpoint_matches(policy->endpoints[i], endpoint)) {
            return true;
        }
    }
    return false;
}

int csi_policy_check(const struct csi_policy *policy, const char *endpoint, struct error *err)
{
    if (policy->endpoint_count == 0 || endpoint_listed(policy, endpoint)) {
        return 0;
    }
    return error_set(err, -EACCES,
                     "endpoint '%.128s' is not among those that this node allows: ask its operator "
                     "for --allow-endpoints",
                     url_shown(endpoint));
}

/* ---- Attributes ---- */

struct parse {
    const struct csi_policy *policy;
    const struct csi_source_input *input;
    struct csi_source *source;
    enum mount_options_source by;
    bool by_secret; /* the endpoint is the word of who wrote the Secret */
    struct error *err;
};

static int set_endpoint(struct parse *p, const char *endpoint, enum mount_options_source by)
{
    if (endpoint_listed(p->policy, endpoint)) {
        by = MOUNT_OPTIONS_OPERATOR;
    }

    if (endpoint[0] == '\0') {
        return 0;
    }
    if (strstr(endpoint, "://") == NULL) {
        return error_set(p->err, -EINVAL, "endpoint '%.128s': write http:// or https:// before it",
                         url_shown(endpoint));
    }
    return mount_options_set(&p->source->options, "endpoint", endpoint, by, p->err);
}

static int set_bucket(struct parse *p, const char *value)
{
    free(p->source->bucket);
    free(p->source->prefix);
    p->source->bucket = NULL;
    p->source->prefix = NULL;
    return csi_bucket_split(value, &p->source->bucket, &p->source->prefix, p->err);
}

static int check_mounter(struct parse *p, const char *value)
{
    static const char *const known[] = {"",       "skyvol",     "geesefs",      "s3fs",
                                        "rclone", "mountpoint", "mountpoint-s3"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(value, known[i]) == 0) {
            return 0;
        }
    }
    return error_set(p->err, -EINVAL,
                     "mounter '%.64s' is unknown: leave it out (options of geesefs, s3fs, rclone "
                     "and mountpoint-s3 are understood)",
                     url_shown(value));
}

static bool same_key(const char *key, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcasecmp(key, *names) == 0) {
            return true;
        }
    }
    return false;
}

#define IS(key, ...) same_key(key, (const char *const[]){__VA_ARGS__, NULL})

static int take_attribute(struct parse *p, const char *key, const char *value)
{
    if (strncmp(key, "csi.storage.k8s.io/", 19) == 0 ||
        strncmp(key, "storage.kubernetes.io/", 22) == 0 || strncmp(key, "skyvol.io/", 10) == 0 ||
        IS(key, "bucket", "bucketName", "prefix", "capacity", "usePrefix")) {
        return 0; /* looked at elsewhere, or says nothing here */
    }
    if (IS(key, "mounter")) {
        return check_mounter(p, value);
    }
    if (IS(key, "options", "mountOptions")) {
        return mount_options_parse(&p->source->options, value, p->by, p->err);
    }
    if (IS(key, "endpoint", "endpointURL")) {
        return set_endpoint(p, value, p->by);
    }
    if (IS(key, "region")) {
        return value[0] == '\0'
                   ? 0
                   : mount_options_set(&p->source->options, "region", value, p->by, p->err);
    }
    return error_set(p->err, -EINVAL,
                     "attribute '%.64s' is unknown: bucket, prefix, options, endpoint and region "
                     "are possible, in a StorageClass store and adopt too",
                     url_shown(key));
}

static int take_location(struct parse *p)
{
    const struct csi_map *context = &p->input->context;
    const char *bucket = csi_map_get(context, "bucket");
    const char *prefix = csi_map_get(context, "prefix");
    struct csi_source *source = p->source;
    int r;

    if (bucket == NULL) {
        bucket = csi_map_get(context, "bucketName");
    }
    r = set_bucket(p, bucket != NULL ? bucket : p->input->volume_id);
    if (r == 0 && prefix != NULL && prefix[0] != '\0') {
        free(source->prefix);
        source->prefix = NULL;
        r = make_prefix(prefix, &source->prefix, p->err);
    }
    if (r < 0) {
        return r;
    }
    if (asprintf(&source->location, "s3://%s%s%s", source->bucket,
                 source->prefix[0] != '\0' ? "/" : "", source->prefix) < 0) {
        source->location = NULL;
        return -ENOMEM;
    }
    return 0;
}

/* ---- Secrets ---- */

static int copy_to(char **slot, const char *value)
{
    free(*slot);
    *slot = strdup(value);
    return *slot != NULL ? 0 : -ENOMEM;
}

static int take_sts(struct parse *p, const char *word, const char *value)
{
    uint64_t ms;

    if (IS(word, "stsendpoint", "awsendpointurlsts")) {
        return copy_to(&p->source->sts_endpoint, value);
    }
    if (IS(word, "rolearn", "awsrolearn")) {
        return copy_to(&p->source->role_arn, value);
    }
    if (IS(word, "stsduration")) {
        if (options_parse_duration_ms(value, &ms) < 0 || ms / 1000 > UINT32_MAX) {
            return error_set(p->err, -EINVAL,
                             "stsDuration in the Secret is no duration, such as 1h");
        }
        p->source->sts_duration_s = (uint32_t)(ms / 1000);
    }
    return 0;
}

/* Whoever wrote the Secret must not have others ask hosts that they could not have as a store. */
static int check_sts(const struct parse *p)
{
    const char *sts = p->source->sts_endpoint;
    const char *endpoint = mount_options_get(&p->source->options, "endpoint");

    if (sts == NULL || (endpoint != NULL && strcasecmp(sts, endpoint) == 0) ||
        endpoint_listed(p->policy, sts) || endpoint_matches("*.amazonaws.com", sts) ||
        endpoint_matches("*.amazonaws.com.cn", sts)) {
        return 0;
    }
    return error_set(p->err, -EACCES,
                     "stsEndpoint '%.128s' is neither the Secret's endpoint nor among those that "
                     "this node allows: ask its operator for --allow-endpoints",
                     url_shown(sts));
}

static int take_secret(struct parse *p, const char *key, const char *value, bool key_id_dialect)
{
    char word[MOUNT_WORD_MAX + 1];
    int r = mount_credentials_take(&p->source->credentials, key, value, key_id_dialect);

    if (r != 0 || value[0] == '\0') {
        return r < 0 ? r : 0;
    }
    mount_key_word(key, word);
    if (IS(word, "endpoint", "endpointurl", "awsendpointurl", "awsendpointurls3")) {
        p->by_secret = true; /* it may lie in anybody's namespace: a class can name the claim's */
        return set_endpoint(p, value, MOUNT_OPTIONS_USER);
    }
    if (IS(word, "region", "awsregion", "awsdefaultregion")) {
        return mount_options_set(&p->source->options, "region", value, p->by, p->err);
    }
    return take_sts(p, word, value);
}

static int take_secrets(struct parse *p)
{
    const struct csi_map *secrets = &p->input->secrets;
    const struct mount_credentials *c = &p->source->credentials;
    bool key_id_dialect =
        csi_map_get(secrets, "key_id") != NULL || csi_map_get(secrets, "key-id") != NULL;
    const char *file = csi_map_get(secrets, "credentials"); /* a whole one, as clouds' tools have */
    int r = 0;

    for (size_t i = 0; r == 0 && i < secrets->count; i++) {
        const struct csi_entry *entry = csi_map_at(secrets, i);

        r = take_secret(p, entry->key, entry->value, key_id_dialect);
    }
    if (r == 0 && file != NULL && c->access_key == NULL && c->secret_key == NULL) {
        r = mount_keys_parse(file, &p->source->credentials, p->err);
    }
    if (r == 0 && (c->access_key == NULL) != (c->secret_key == NULL)) {
        r = error_set(p->err, -EINVAL,
                      "the Secret has no %s: it must hold accessKeyID and "
                      "secretAccessKey",
                      c->access_key == NULL ? "accessKeyID" : "secretAccessKey");
    }
    return r == 0 ? check_sts(p) : r;
}

/* ---- All of it ---- */

static int take_flags(struct parse *p)
{
    const struct csi_source_input *input = p->input;
    int r = 0;

    for (size_t i = 0; r == 0 && i < input->mount_flag_count; i++) {
        r = mount_options_parse(&p->source->options, input->mount_flags[i], p->by, p->err);
    }
    if (r == 0 && input->mount_group != NULL && input->mount_group[0] != '\0') {
        r = mount_options_set(&p->source->options, "gid", input->mount_group,
                              MOUNT_OPTIONS_OPERATOR, p->err);
        r = r < 0 ? r
                  : mount_options_set(&p->source->options, "mount_group", input->mount_group,
                                      MOUNT_OPTIONS_OPERATOR, p->err);
    }
    if (r == 0 && input->read_only) {
        r = mount_options_set(&p->source->options, "ro", "true", MOUNT_OPTIONS_OPERATOR, p->err);
    }
    return r;
}

static int take_wish(struct parse *p)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(WISH_MAX);

    mount_options_json(&p->source->options, &json);
    return buf_detach(&json, &p->source->wish, NULL);
}

static bool is_true(const struct csi_map *map, const char *key)
{
    const char *value = csi_map_get(map, key);

    return value != NULL && strcmp(value, "true") == 0;
}

int csi_source_parse(const struct csi_policy *policy, const struct csi_source_input *input,
                     struct csi_source *ret, struct error *err)
{
    CLEANUP(csi_source_done) struct csi_source source = CSI_SOURCE_INIT;
    struct parse p = {.policy = policy, .input = input, .source = &source, .err = err};
    const char *endpoint;
    int r = 0;

    source.ephemeral = is_true(&input->context, CSI_EPHEMERAL_KEY);
    source.managed = !source.ephemeral && is_true(&input->context, CSI_MANAGED_KEY);
    p.by = source.ephemeral ? MOUNT_OPTIONS_USER : MOUNT_OPTIONS_OPERATOR;
    for (size_t i = 0; r == 0 && i < input->context.count; i++) {
        const struct csi_entry *entry = csi_map_at(&input->context, i);

        r = take_attribute(&p, entry->key, entry->value);
    }
    r = r < 0 ? r : take_flags(&p);
    r = r < 0 ? r : take_wish(&p);
    r = r < 0 ? r : take_secrets(&p);
    if (r == 0 && !source.managed) {
        r = take_location(&p);
    }
    endpoint = mount_options_get(&source.options, "endpoint");
    if (r == 0 && endpoint != NULL) {
        r = csi_policy_check(policy, endpoint, err);
    }
    if (r == 0 && (p.by == MOUNT_OPTIONS_USER || p.by_secret) &&
        (endpoint == NULL || !endpoint_listed(policy, endpoint))) {
        /* its name is the user's, and so is what it resolves to at any time */
        r = mount_options_set(&source.options, "public_only", "true", MOUNT_OPTIONS_OPERATOR, err);
    }
    if (r < 0) {
        return r;
    }
    csi_source_done(ret);
    *ret = source;
    source = (struct csi_source)CSI_SOURCE_INIT;
    return 0;
}
