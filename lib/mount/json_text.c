/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/json_text.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

void json_add_text(struct buf *out, const char *text)
{
    cJSON *string = cJSON_CreateString(text);
    char *printed = string != NULL ? cJSON_PrintUnformatted(string) : NULL;

    if (printed == NULL) {
        out->error = out->error == 0 ? -ENOMEM : out->error;
    } else {
        buf_addstr(out, printed);
        explicit_bzero(printed, strlen(printed));
    }
    if (string != NULL) {
        explicit_bzero(string->valuestring, strlen(string->valuestring));
    }
    cJSON_free(printed);
    cJSON_Delete(string);
}
