/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object store suite on a server: two handles on one endpoint.
 *
 *     SKYVOL_TEST_ACCESS_KEY=k SKYVOL_TEST_SECRET_KEY=s objstore_s3 NAME ENDPOINT [REGION
 * [CA-FILE]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "objstore/s3.h"
#include "objstore_suite.h"

static struct objstore *open_store(int argc, char **argv)
{
    struct objstore_s3_config config = {
        .endpoint = argv[2],
        .region = argc > 3 ? argv[3] : NULL,
        .ca_file = argc > 4 ? argv[4] : NULL,
        .credentials = {.access_key = getenv("SKYVOL_TEST_ACCESS_KEY"),
                        .secret_key = getenv("SKYVOL_TEST_SECRET_KEY")},
    };
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    if (objstore_s3_new(&config, &store, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    return store;
}

int main(int argc, char **argv)
{
    struct objstore *one;
    struct objstore *two;
    int failures;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: %s NAME ENDPOINT [REGION [CA-FILE]]\n", argv[0]);
        return 2;
    }
    one = open_store(argc, argv);
    two = open_store(argc, argv);
    failures = objstore_suite_run(argv[1], one, two);
    objstore_free(one);
    objstore_free(two);
    return failures == 0 ? 0 : 1;
}
