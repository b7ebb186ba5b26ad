/* SPDX-License-Identifier: Apache-2.0 */
/* Lines: the volume id, then attributes "key=value", then, after an empty line, the Secret. */
#include <string.h>

#include "csi/source.h"
#include "fuzz.h"
#include "util/cleanup.h"

enum { ENTRIES_MAX = 32 };

static size_t take_lines(char **text, struct csi_entry *entries, struct csi_entry **list)
{
    size_t count = 0;
    char *line;

    while (count < ENTRIES_MAX && (line = strsep(text, "\n")) != NULL && line[0] != '\0') {
        char *equal = strchr(line, '=');

        entries[count].key = line;
        entries[count].value = equal != NULL ? equal + 1 : "";
        if (equal != NULL) {
            *equal = '\0';
        }
        list[count] = &entries[count];
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *copy = calloc(1, size + 1);
    CLEANUP(csi_source_done) struct csi_source source = CSI_SOURCE_INIT;
    struct csi_entry entries[2][ENTRIES_MAX];
    struct csi_entry *lists[2][ENTRIES_MAX];
    struct csi_policy policy = {.endpoints = NULL};
    struct csi_source_input input = {.context = {.entries = lists[0]},
                                     .secrets = {.entries = lists[1]}};
    struct error err = ERROR_INIT;
    uint64_t bytes = 0;
    char *text = copy;
    int r;

    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    input.volume_id = strsep(&text, "\n");
    input.context.count = take_lines(&text, entries[0], lists[0]);
    input.secrets.count = take_lines(&text, entries[1], lists[1]);
    r = csi_source_parse(&policy, &input, &source, &err);
    if (r == 0 && !source.managed) {
        CHECK(strncmp(source.location, "s3://", 5) == 0);
        CHECK(strstr(source.location + 5, "//") == NULL && strstr(source.location, "/../") == NULL);
        CHECK((source.credentials.access_key == NULL) == (source.credentials.secret_key == NULL));
    }
    CHECK(!(r == 0 && source.managed && source.ephemeral));
    CHECK(csi_size_parse(input.volume_id, &bytes) <= 0);
    return 0;
}
