/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the directory store costs: durable PUTs of 4 KiB against plain files with fsync, and
 * listing.
 *
 *     bench_dir DIRECTORY [KEYS]
 *
 * Works in a new folder under DIRECTORY and leaves it there. KEYS (default 20000) are put without
 * flushing and listed, flat and with a delimiter. Rates hold for this machine and disk; compare the
 * ratios.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "util/cleanup.h"
#include "util/clock.h"

enum { SIZE = 4096, PUTS = 1600, FOLDER = 1000, THREADS_MAX = 16 };

#define BUCKET "bench"
#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

static struct objstore *store; /* NULL: plain files */
static char root[512];
static char data[SIZE];
static atomic_uint next, limit;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put_file(unsigned int number)
{
    char path[600];
    AUTOCLOSE int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/plain/%u", root, number);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, SIZE) != SIZE || fsync(fd) != 0) {
        die(path);
    }
}

static void put_object(unsigned int number)
{
    char key[64];
    struct objstore_request r = {
        .op = OBJSTORE_PUT, .bucket = BUCKET, .key = key, .source = {.data = data, .size = SIZE}};
    ANSWER a = OBJSTORE_ANSWER_INIT;

    (void)snprintf(key, sizeof(key), "%06u/%09u", number / FOLDER, number);
    if (objstore_call(store, &r, &a) != 0) {
        die(a.result.error.text);
    }
}

static void *work(void *arg)
{
    unsigned int number;

    (void)arg;
    while ((number = atomic_fetch_add(&next, 1)) < atomic_load(&limit)) {
        if (store != NULL) {
            put_object(number);
        } else {
            put_file(number);
        }
    }
    return NULL;
}

/* Puts `count` more and returns how many a second. */
static double put_many(unsigned int count, unsigned int threads)
{
    pthread_t ids[THREADS_MAX];
    unsigned int start = atomic_load(&limit);
    int64_t began = clock_realtime_ns(clock_real());

    atomic_store(&next, start);
    atomic_store(&limit, start + count);
    for (unsigned int i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, work, NULL) != 0) {
            die("thread");
        }
    }
    for (unsigned int i = 0; i < threads; i++) {
        (void)pthread_join(ids[i], NULL);
    }
    return count * 1e9 / (double)(clock_realtime_ns(clock_real()) - began);
}

static void list_all(const char *delimiter)
{
    AUTOFREE char *token = NULL;
    int64_t began = clock_realtime_ns(clock_real());
    size_t entries = 0;
    unsigned int pages = 0;
    bool more = true;

    while (more) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {
            .op = OBJSTORE_LIST, .bucket = BUCKET, .delimiter = delimiter, .token = token};

        if (objstore_call(store, &r, &a) != 0) {
            die(a.result.error.text);
        }
        entries += a.result.count;
        pages++;
        more = a.result.truncated;
        free(token);
        token = more ? strdup(a.result.next_token) : NULL;
    }
    (void)printf("list %-18s %9zu entries %6u pages %8.1f ms\n",
                 delimiter != NULL ? "with a delimiter" : "flat", entries, pages,
                 (double)(clock_realtime_ns(clock_real()) - began) / 1e6);
}

static void open_store(const char *name, bool not_durable)
{
    char path[600];
    struct objstore_dir_config config = {
        .root = path, .threads = THREADS_MAX, .not_durable = not_durable};
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = BUCKET};
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct error err = ERROR_INIT;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    if (objstore_dir_new(&config, &store, &err) != 0 || objstore_call(store, &r, &a) != 0) {
        die(err.text);
    }
    atomic_store(&limit, 0);
}

int main(int argc, char **argv)
{
    unsigned int keys = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 20000;
    char path[600];

    (void)snprintf(root, sizeof(root), "%s/skyvol-bench.XXXXXX", argc > 1 ? argv[1] : "");
    if (argc < 2 || mkdtemp(root) == NULL) {
        die("usage: bench_dir DIRECTORY [KEYS]");
    }
    (void)snprintf(path, sizeof(path), "%s/plain", root);
    if (mkdir(path, 0700) != 0) {
        die(path);
    }
    for (unsigned int threads = 1; threads <= THREADS_MAX; threads *= THREADS_MAX) {
        double plain = put_many(PUTS, threads);
        double objects;

        open_store(threads == 1 ? "one" : "many", false);
        objects = put_many(PUTS, threads);
        objstore_free(store);
        store = NULL;
        atomic_store(&limit, PUTS);
        (void)printf("put 4 KiB, %2u threads: files %8.0f/s, objects %8.0f/s, ratio %.2f\n",
                     threads, plain, objects, objects / plain);
    }
    open_store("listing", true);
    (void)printf("put 4 KiB unflushed:  objects %8.0f/s\n", put_many(keys, THREADS_MAX));
    list_all(NULL);
    list_all("/");
    objstore_free(store);
    return 0;
}
