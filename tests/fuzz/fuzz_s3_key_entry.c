/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of a file of access keys: a whole key or none, and no member passed over that is not
 * known to be none of its rights. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "mount/config.h"
#include "s3proxy/key_entry.h"

static bool says(const cJSON *json, const char *name)
{
    return key_entry_member(json, name) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *json = cJSON_ParseWithLength((const char *)data, size);
    struct credential key = {0};
    struct error err = ERROR_INIT;

    if (json == NULL) {
        return 0;
    }
    if (key_entry_read(json, &key, &err) == 0) {
        CHECK(key.access_key != NULL && key.secret_key != NULL);
        CHECK(!key.read_only || says(json, "readonly"));
        CHECK((key.buckets != NULL) == says(json, "buckets"));
        CHECK((key.expires_s != 0) == says(json, "expiress"));
        CHECK((key.limits.upload == KEY_LIMITS_UNTOLD) != says(json, "uploadrate"));
        CHECK(!says(json, "bucket") && !says(json, "expires"));
    } else {
        CHECK(err.code == -EINVAL && err.text[0] != '\0');
    }
    key_entry_done(&key);
    cJSON_Delete(json);
    return 0;
}
