/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a file of keys holds: both keys or none, and no value in an error's text. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "mount/keys_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mount_credentials keys = {NULL, NULL, NULL};
    struct error err = ERROR_INIT;
    char *text = malloc(size + 1);

    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (mount_keys_parse(text, &keys, &err) == 0) {
        CHECK((keys.access_key == NULL) == (keys.secret_key == NULL));
    } else {
        CHECK(keys.access_key == NULL && keys.secret_key == NULL && keys.session_token == NULL);
        CHECK(err.text[0] != '\0');
    }
    mount_credentials_done(&keys);
    free(text);
    return 0;
}
