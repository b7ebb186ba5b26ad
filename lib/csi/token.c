/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/token.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

#include "csi/secrets.h"

/* cJSON holds copies of its own. */
static void wipe_all(cJSON *json)
{
    cJSON *entry;

    cJSON_ArrayForEach(entry, json)
    {
        char *token = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "token"));

        if (token != NULL) {
            explicit_bzero(token, strlen(token));
        }
    }
    cJSON_Delete(json);
}

int csi_token_find(const struct csi_map *secrets, const struct csi_map *context,
                   const char *audience, char **ret, struct error *err)
{
    const char *text = csi_map_get(secrets, CSI_TOKENS_KEY);
    const char *token;
    cJSON *json;
    int r = 0;

    text = text != NULL ? text : csi_map_get(context, CSI_TOKENS_KEY);
    *ret = NULL;
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    json = strlen(text) <= CSI_TOKEN_MAX ? cJSON_Parse(text) : NULL;
    token = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(json, audience), "token"));
    if (!cJSON_IsObject(json)) {
        r = error_set(err, -EINVAL, "the pod's tokens (%s) are no JSON object", CSI_TOKENS_KEY);
    } else if (token != NULL && token[0] != '\0') {
        *ret = strdup(token);
        r = *ret == NULL ? -ENOMEM : 0;
    }
    wipe_all(json);
    return r;
}
