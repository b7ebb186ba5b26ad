/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over its corpus: "replay_NAME" reads tests/fuzz/corpus/NAME. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 };

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_MAX);
    size_t len;

    if (file == NULL || data == NULL) {
        perror(path);
        exit(1);
    }
    len = fread(data, 1, INPUT_MAX, file);
    (void)fclose(file);
    /* The exact size on the heap, so that AddressSanitizer sees a byte read beyond it. */
    uint8_t *exact = malloc(len > 0 ? len : 1);
    if (exact == NULL) {
        exit(1);
    }
    memcpy(exact, data, len);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    const char *name = strstr(argv[0], "replay_");
    char folder[256];
    DIR *dir;
    struct dirent *entry;
    int count = 0;

    if (argc > 1 || name == NULL) {
        (void)fprintf(stderr, "usage: replay_NAME, in the root of the tree\n");
        return 2;
    }
    (void)snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name + strlen("replay_"));
    dir = opendir(folder);
    if (dir == NULL) {
        perror(folder);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[1024];

        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            count += run_file(path);
        }
    }
    (void)closedir(dir);
    printf("[  PASSED  ] %d inputs.\n", count);
    return count > 0 ? 0 : 1;
}
