/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/webhook/inject.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kube/kube.h"
#include "s3/names.h"

#define TOKEN_DIR "/var/run/secrets/skyvol.io/s3"
#define STORE_DIR "/etc/skyvol/store"
#define TRUST_DIR "/etc/skyvol/trust"
#define TRUST_MEMBER "ca-certificates.crt" /* as in the ConfigMap of components/trust-bundle */

enum {
    CONTAINERS_MAX = 256,
    NAME_LONGEST = 253,
    PATH_MAX_ = 128,
    PORT_FIRST = 9000, /* the sidecar's: S3, credentials, status */
    PORT_LAST = 9002,
};

/* What the containers' SDKs look for. */
static const char *const environment[][2] = {
    {"AWS_ENDPOINT_URL", "http://127.0.0.1:9000"},
    {"AWS_REGION", "us-east-1"},
    {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9001/credentials"},
    {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN_DIR "/token"},
};

struct injection {
    const struct inject_config *config;
    const cJSON *spec;
    const char *bucket;
    char secret[NAME_LONGEST + 1];
    char trust[NAME_LONGEST + 1]; /* a ConfigMap; "": the system's authorities */
    char trust_member[NAME_LONGEST + 1];
    cJSON *patch;
    bool failed; /* no memory */
};

/* ---- what is asked for ---- */

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    bool good = len > 0 && len <= NAME_LONGEST && strchr("-.", text[0]) == NULL &&
                strchr("-.", text[len - 1]) == NULL;

    return good && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* "NAME" or "NAME/MEMBER"; both have room for NAME_LONGEST and the end. */
static bool split_trust(const char *text, char *ret_name, char *ret_member)
{
    size_t len = strcspn(text, "/");
    const char *member = text[len] == '/' ? text + len + 1 : TRUST_MEMBER;
    size_t member_len = strlen(member);

    if (len > NAME_LONGEST || member_len == 0 || member_len > NAME_LONGEST ||
        strspn(member, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") !=
            member_len ||
        strcmp(member, ".") == 0 || strncmp(member, "..", 2) == 0) {
        return false;
    }
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    memcpy(ret_member, member, member_len + 1);
    return is_name(ret_name);
}

/* An empty annotation is a wish, too: the system's authorities, whatever the operator's word is. */
static int read_trust(struct injection *in, const cJSON *annotations, struct error *err)
{
    const char *text = cJSON_GetStringValue(get(annotations, INJECT_TRUST_ANNOTATION));

    text = text != NULL ? text : in->config->trust;
    if (text != NULL && text[0] != '\0' && !split_trust(text, in->trust, in->trust_member)) {
        return error_set(
            err, -EINVAL,
            "annotation " INJECT_TRUST_ANNOTATION
            ": the name of a ConfigMap is needed, or NAME/MEMBER; the member is " TRUST_MEMBER
            " if none is named");
    }
    return 0;
}

static int read_wish(struct injection *in, const cJSON *annotations, struct error *err)
{
    const char *secret = cJSON_GetStringValue(get(annotations, INJECT_SECRET_ANNOTATION));
    char own[NAME_LONGEST + 1];

    in->bucket = cJSON_GetStringValue(get(annotations, INJECT_ANNOTATION));
    if (in->bucket == NULL || !s3_bucket_valid(slice_of(in->bucket))) {
        return error_set(err, -EINVAL,
                         "annotation " INJECT_ANNOTATION
                         ": the name of a claim is needed that can be a bucket's: " S3_BUCKET_RULE
                         "; no address, no two dots side by side, and none that AWS keeps for "
                         "itself (xn--...)");
    }
    (void)snprintf(own, sizeof(own), "%s-s3", in->bucket);
    secret = secret != NULL ? secret : own;
    if (!is_name(secret)) {
        return error_set(err, -EINVAL,
                         "annotation " INJECT_SECRET_ANNOTATION ": this is no name of a Secret");
    }
    (void)snprintf(in->secret, sizeof(in->secret), "%s", secret);
    return read_trust(in, annotations, err);
}

/* One of the two would not come up, and which one is chance. */
static int check_ports(const struct injection *in, const char *kind, struct error *err)
{
    const cJSON *container, *port;

    cJSON_ArrayForEach(container, get(in->spec, kind))
    {
        const char *name = cJSON_GetStringValue(get(container, "name"));

        if (name != NULL && strcmp(name, INJECT_NAME) == 0) {
            continue;
        }
        cJSON_ArrayForEach(port, get(container, "ports"))
        {
            double number = cJSON_GetNumberValue(get(port, "containerPort"));

            if (number >= PORT_FIRST && number <= PORT_LAST) {
                return error_set(err, -EINVAL,
                                 INJECT_ANNOTATION ": container %.63s has the port %d, but those "
                                                   "from %d to %d are the sidecar's",
                                 name != NULL ? name : "?", (int)number, PORT_FIRST, PORT_LAST);
            }
        }
    }
    return 0;
}

static int check_pod(const struct injection *in, struct error *err)
{
    int r;

    if (!cJSON_IsObject(in->spec) || cJSON_GetArraySize(get(in->spec, "containers")) < 1 ||
        cJSON_GetArraySize(get(in->spec, "containers")) > CONTAINERS_MAX ||
        cJSON_GetArraySize(get(in->spec, "initContainers")) > CONTAINERS_MAX) {
        return error_set(err, -EINVAL, "this is no pod with 1 to %d containers", CONTAINERS_MAX);
    }
    if (cJSON_IsTrue(get(in->spec, "hostNetwork"))) {
        return error_set(err, -EINVAL,
                         INJECT_ANNOTATION ": a pod in the node's network would open its bucket to "
                                           "all programs of the node: leave hostNetwork out");
    }
    r = check_ports(in, "initContainers", err);
    return r < 0 ? r : check_ports(in, "containers", err);
}

/* ---- operations ---- */

static void add_operation(struct injection *in, const char *path, cJSON *value)
{
    cJSON *operation = cJSON_CreateObject();

    if (cJSON_AddStringToObject(operation, "op", "add") == NULL ||
        cJSON_AddStringToObject(operation, "path", path) == NULL || value == NULL ||
        !cJSON_AddItemToObject(operation, "value", value)) {
        cJSON_Delete(value);
        cJSON_Delete(operation);
        in->failed = true;
    } else if (!cJSON_AddItemToArray(in->patch, operation)) {
        cJSON_Delete(operation);
        in->failed = true;
    }
}

static const cJSON *find(const cJSON *list, const char *member, const char *value)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        const char *text = cJSON_GetStringValue(get(one, member));

        if (text != NULL && strcmp(text, value) == 0) {
            return one;
        }
    }
    return NULL;
}

/* To the list at `path`, at its end or as its first; `there`: the list as it is, or NULL. */
static void add_to_list(struct injection *in, const char *path, const cJSON *there, bool first,
                        cJSON *item)
{
    char place[PATH_MAX_];
    cJSON *list;

    if (item == NULL) {
        in->failed = true;
        return;
    }
    if (cJSON_IsArray(there)) {
        (void)snprintf(place, sizeof(place), "%s/%s", path, first ? "0" : "-");
        add_operation(in, place, item);
        return;
    }
    list = cJSON_CreateArray();
    if (!cJSON_AddItemToArray(list, item)) {
        cJSON_Delete(item);
        in->failed = true;
    }
    add_operation(in, path, list);
}

/* A list that is not there is made with its first item; then there is one. */
struct list {
    char path[PATH_MAX_];
    const cJSON *there;
    cJSON *mark; /* an empty array, once made */
};

static void append(struct injection *in, struct list *list, cJSON *item)
{
    add_to_list(in, list->path, list->mark != NULL ? list->mark : list->there, false, item);
    if (!cJSON_IsArray(list->there) && list->mark == NULL) {
        list->mark = cJSON_CreateArray();
        in->failed = in->failed || list->mark == NULL;
    }
}

/* ---- the containers ---- */

static cJSON *parse(const char *text)
{
    return cJSON_Parse(text);
}

static cJSON *variable(const char *name, const char *value)
{
    cJSON *one = cJSON_CreateObject();

    if (cJSON_AddStringToObject(one, "name", name) == NULL ||
        cJSON_AddStringToObject(one, "value", value) == NULL) {
        cJSON_Delete(one);
        return NULL;
    }
    return one;
}

static void change_container(struct injection *in, const cJSON *container, const char *path)
{
    struct list env = {.there = get(container, "env")};
    struct list mounts = {.there = get(container, "volumeMounts")};

    (void)snprintf(env.path, sizeof(env.path), "%s/env", path);
    (void)snprintf(mounts.path, sizeof(mounts.path), "%s/volumeMounts", path);
    for (size_t i = 0; i < sizeof(environment) / sizeof(environment[0]); i++) {
        if (find(env.there, "name", environment[i][0]) == NULL) {
            append(in, &env, variable(environment[i][0], environment[i][1]));
        }
    }
    if (find(mounts.there, "mountPath", TOKEN_DIR) == NULL) {
        append(in, &mounts,
               parse("{\"name\":\"" INJECT_NAME "-token\",\"mountPath\":\"" TOKEN_DIR
                     "\",\"readOnly\":true}"));
    }
    cJSON_Delete(env.mark);
    cJSON_Delete(mounts.mark);
}

static void change_containers(struct injection *in, const char *kind)
{
    const cJSON *one;
    int index = 0;

    cJSON_ArrayForEach(one, get(in->spec, kind))
    {
        const char *name = cJSON_GetStringValue(get(one, "name"));
        char path[64];

        (void)snprintf(path, sizeof(path), "/spec/%s/%d", kind, index++);
        if (cJSON_IsObject(one) && (name == NULL || strcmp(name, INJECT_NAME) != 0)) {
            change_container(in, one, path);
        }
    }
}

/* ---- volumes ---- */

static cJSON *store_volume(const struct injection *in)
{
    cJSON *volume = parse("{\"name\":\"" INJECT_NAME "-store\",\"secret\":{\"defaultMode\":288,"
                          "\"items\":[{\"key\":\"credentials\",\"path\":\"credentials\"}]}}");

    if (cJSON_AddStringToObject(cJSON_GetObjectItem(volume, "secret"), "secretName", in->secret) ==
        NULL) {
        cJSON_Delete(volume);
        return NULL;
    }
    return volume;
}

static cJSON *trust_volume(const struct injection *in)
{
    cJSON *volume = parse("{\"name\":\"" INJECT_NAME "-trust\",\"configMap\":{\"items\":[{\"path\":"
                          "\"ca.crt\"}]}}");
    cJSON *map = cJSON_GetObjectItem(volume, "configMap");
    cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(map, "items"), 0);

    if (cJSON_AddStringToObject(map, "name", in->trust) == NULL ||
        cJSON_AddStringToObject(item, "key", in->trust_member) == NULL) {
        cJSON_Delete(volume);
        return NULL;
    }
    return volume;
}

static void change_volumes(struct injection *in)
{
    static const char *const plain[] = {
        "{\"name\":\"" INJECT_NAME "-token\",\"projected\":{\"sources\":[{\"serviceAccountToken\":"
        "{\"audience\":\"" INJECT_NAME "\",\"expirationSeconds\":3600,\"path\":\"token\"}}]}}",
        "{\"name\":\"" INJECT_NAME "-run\",\"emptyDir\":{\"medium\":\"Memory\"}}",
        "{\"name\":\"" INJECT_NAME "-tmp\",\"emptyDir\":{}}",
    };
    struct list volumes = {.path = "/spec/volumes", .there = get(in->spec, "volumes")};

    if (find(volumes.there, "name", INJECT_NAME "-store") == NULL) {
        append(in, &volumes, store_volume(in));
    }
    if (in->trust[0] != '\0' && find(volumes.there, "name", INJECT_NAME "-trust") == NULL) {
        append(in, &volumes, trust_volume(in));
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        cJSON *volume = parse(plain[i]);
        const char *name = cJSON_GetStringValue(get(volume, "name"));

        if (name != NULL && find(volumes.there, "name", name) != NULL) {
            cJSON_Delete(volume);
        } else {
            append(in, &volumes, volume);
        }
    }
    cJSON_Delete(volumes.mark);
}

/* ---- the sidecar ---- */

/* The Secret's files are root's, and readable by its group: hence group 0, which may do nothing
 * else without capabilities. */
static const char sidecar_text[] =
    "{\"name\":\"" INJECT_NAME "\",\"restartPolicy\":\"Always\","
    "\"args\":[\"--sidecar\",\"--store-credentials-file=" STORE_DIR "/credentials\","
    "\"--identity-token-file=" TOKEN_DIR "/token\",\"--run-dir=/run/skyvol/s3\","
    "\"--status=:9002\"],"
    "\"startupProbe\":{\"httpGet\":{\"path\":\"/healthz\",\"port\":9002},\"periodSeconds\":1,"
    "\"failureThreshold\":60},"
    "\"resources\":{\"requests\":{\"cpu\":\"10m\",\"memory\":\"32Mi\"},"
    "\"limits\":{\"memory\":\"256Mi\"}},"
    "\"securityContext\":{\"runAsNonRoot\":true,\"runAsUser\":65532,\"runAsGroup\":0,"
    "\"privileged\":false,\"allowPrivilegeEscalation\":false,\"readOnlyRootFilesystem\":true,"
    "\"capabilities\":{\"drop\":[\"ALL\"]},\"seccompProfile\":{\"type\":\"RuntimeDefault\"}},"
    "\"volumeMounts\":["
    "{\"name\":\"" INJECT_NAME "-store\",\"mountPath\":\"" STORE_DIR "\",\"readOnly\":true},"
    "{\"name\":\"" INJECT_NAME "-token\",\"mountPath\":\"" TOKEN_DIR "\",\"readOnly\":true},"
    "{\"name\":\"" INJECT_NAME "-run\",\"mountPath\":\"/run/skyvol\"},"
    "{\"name\":\"" INJECT_NAME "-tmp\",\"mountPath\":\"/tmp\"}]}";

/* A variable of the Secret: where the store is, no key. */
static bool add_reference(cJSON *env, const struct injection *in, const char *name, const char *key,
                          bool optional)
{
    cJSON *one = cJSON_CreateObject();
    cJSON *from = cJSON_AddObjectToObject(one, "valueFrom");
    cJSON *reference = cJSON_AddObjectToObject(from, "secretKeyRef");

    return cJSON_AddStringToObject(one, "name", name) != NULL &&
           cJSON_AddStringToObject(reference, "name", in->secret) != NULL &&
           cJSON_AddStringToObject(reference, "key", key) != NULL &&
           cJSON_AddBoolToObject(reference, "optional", optional) != NULL &&
           cJSON_AddItemToArray(env, one);
}

static bool add_trust(cJSON *one)
{
    return cJSON_AddItemToArray(cJSON_GetObjectItem(one, "args"),
                                cJSON_CreateString("--store-ca-file=" TRUST_DIR "/ca.crt")) &&
           cJSON_AddItemToArray(cJSON_GetObjectItem(one, "volumeMounts"),
                                parse("{\"name\":\"" INJECT_NAME "-trust\",\"mountPath\":"
                                      "\"" TRUST_DIR "\",\"readOnly\":true}"));
}

static cJSON *sidecar(const struct injection *in)
{
    cJSON *one = parse(sidecar_text);
    cJSON *env = cJSON_AddArrayToObject(one, "env");
    char volume[S3_BUCKET_MAX + 64];
    cJSON *argument;

    (void)snprintf(volume, sizeof(volume), "--volume=%s=$(STORE_LOCATION)", in->bucket);
    argument = cJSON_CreateString(volume);
    if (!cJSON_AddItemToArray(cJSON_GetObjectItem(one, "args"), argument) ||
        cJSON_AddStringToObject(one, "image", in->config->image) == NULL ||
        !add_reference(env, in, "STORE_LOCATION", "location", false) ||
        !add_reference(env, in, "SKYVOL_S3_STORE_ENDPOINT", "endpoint", true) ||
        !add_reference(env, in, "SKYVOL_S3_STORE_REGION", "region", true) ||
        (in->trust[0] != '\0' && !add_trust(one))) {
        cJSON_Delete(one);
        return NULL;
    }
    return one;
}

int inject_config_check(const struct inject_config *config, struct error *err)
{
    char name[NAME_LONGEST + 1], member[NAME_LONGEST + 1];

    if (config->trust != NULL && config->trust[0] != '\0' &&
        !split_trust(config->trust, name, member)) {
        return error_set(err, -EINVAL, "trust: '%s' is no CONFIGMAP or CONFIGMAP/MEMBER",
                         config->trust);
    }
    return 0;
}

int inject_pod(const struct inject_config *config, const cJSON *pod, cJSON **ret, struct error *err)
{
    const cJSON *annotations = get(get(pod, "metadata"), "annotations");
    struct injection in = {.config = config, .spec = get(pod, "spec")};
    const cJSON *init = get(in.spec, "initContainers");
    int r;

    if (get(annotations, INJECT_ANNOTATION) == NULL) {
        return 0;
    }
    r = read_wish(&in, annotations, err);
    r = r < 0 ? r : check_pod(&in, err);
    if (r < 0) {
        return r;
    }
    in.patch = cJSON_CreateArray();
    /* The sidecar comes last: as the first of its list it moves all others. */
    change_containers(&in, "initContainers");
    change_containers(&in, "containers");
    change_volumes(&in);
    if (find(init, "name", INJECT_NAME) == NULL) {
        add_to_list(&in, "/spec/initContainers", init, true, sidecar(&in));
    }
    if (in.failed || in.patch == NULL) {
        cJSON_Delete(in.patch);
        return -ENOMEM;
    }
    if (cJSON_GetArraySize(in.patch) == 0) {
        cJSON_Delete(in.patch);
        return 0;
    }
    *ret = in.patch;
    return 1;
}
