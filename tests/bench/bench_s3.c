/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request to an S3 store costs on our side: CPU, memory, connections.
 *
 *     SKYVOL_TEST_ACCESS_KEY=k SKYVOL_TEST_SECRET_KEY=s bench_s3 ENDPOINT BUCKET [CA-FILE]
 *
 * One line a step. BUCKET is made when it is absent; the objects stay. CPU times hold for this
 * process alone and are what to compare; rates are the server's and the machine's as well.
 */
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "objstore/objstore_call.h"
#include "objstore/s3.h"
#include "util/clock.h"

enum { KEYS = 500, LARGE = 8 << 20 };

struct step {
    enum objstore_op op;
    unsigned int count, at_once;
    size_t size;
};

static const struct step steps[] = {
    {OBJSTORE_PUT, 2000, 16, 4096}, {OBJSTORE_GET, 5000, 16, 4096}, {OBJSTORE_GET, 5000, 16, 4096},
    {OBJSTORE_GET, 5000, 1, 4096},  {OBJSTORE_HEAD, 10000, 64, 0},  {OBJSTORE_PUT, 40, 4, LARGE},
    {OBJSTORE_GET, 40, 4, LARGE},
};

struct item {
    struct objstore_request request;
    char key[32];
};

static const char *bucket;
static char *data;
static sem_t slots;
static atomic_uint failures;

static int drop(struct objstore_request *request, const void *bytes, size_t len)
{
    (void)request;
    (void)bytes;
    (void)len;
    return 0;
}

static void on_done(struct objstore_request *request, const struct objstore_result *result)
{
    if (result->status < 0 && atomic_fetch_add(&failures, 1) == 0) {
        (void)fprintf(stderr, "%s\n", result->error.text);
    }
    free(request->arg);
    (void)sem_post(&slots);
}

static double cpu_seconds(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long memory_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    if (file != NULL) {
        if (fscanf(file, "%*d %ld", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void submit(struct objstore *store, const struct step *step, unsigned int index)
{
    struct item *item = calloc(1, sizeof(*item));

    if (item == NULL) {
        abort();
    }
    (void)snprintf(item->key, sizeof(item->key), "bench/%zu/%u", step->size, index % KEYS);
    item->request = (struct objstore_request){.op = step->op,
                                              .bucket = bucket,
                                              .key = item->key,
                                              .sink = {.write = drop},
                                              .done = on_done,
                                              .arg = item};
    if (step->op == OBJSTORE_PUT) {
        item->request.source.data = data;
        item->request.source.size = step->size;
    } else if (step->op == OBJSTORE_HEAD) {
        (void)snprintf(item->key, sizeof(item->key), "bench/4096/%u", index % KEYS);
    } else {
        (void)snprintf(item->key, sizeof(item->key), "bench/%zu/%u", step->size,
                       index % (step->size == LARGE ? 40 : KEYS));
    }
    objstore_submit(store, &item->request);
}

static void run(struct objstore *store, const struct step *step)
{
    double cpu = cpu_seconds();
    uint64_t start_ms = clock_monotonic_ms(clock_real());
    struct objstore_s3_stats stats = {0};
    double seconds;

    (void)sem_init(&slots, 0, step->at_once);
    for (unsigned int i = 0; i < step->count; i++) {
        (void)sem_wait(&slots);
        submit(store, step, i);
    }
    for (unsigned int i = 0; i < step->at_once; i++) {
        (void)sem_wait(&slots);
    }
    (void)sem_destroy(&slots);
    cpu = cpu_seconds() - cpu;
    seconds = (double)(clock_monotonic_ms(clock_real()) - start_ms) / 1000;
    objstore_s3_get_stats(store, &stats);
    printf("%-4s %5u x %7zu bytes, %2u at once: %6.0f/s, %6.1f us CPU each, %.2f s CPU/GB, "
           "%ld KiB, %llu requests over %llu connections, %u failed\n",
           objstore_op_name(step->op), step->count, step->size, step->at_once,
           step->count / seconds, cpu / step->count * 1e6,
           step->size > 0 ? cpu / ((double)step->count * (double)step->size / 1e9) : 0.0,
           memory_kib(), (unsigned long long)stats.requests, (unsigned long long)stats.connections,
           atomic_load(&failures));
}

int main(int argc, char **argv)
{
    struct objstore_s3_config config = {
        .endpoint = argc > 1 ? argv[1] : NULL,
        .ca_file = argc > 3 ? argv[3] : NULL,
        .credentials = {.access_key = getenv("SKYVOL_TEST_ACCESS_KEY"),
                        .secret_key = getenv("SKYVOL_TEST_SECRET_KEY")},
    };
    struct objstore_request create = {.op = OBJSTORE_BUCKET_CREATE};
    struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;

    if (argc < 3) {
        (void)fprintf(stderr, "usage: %s ENDPOINT BUCKET [CA-FILE]\n", argv[0]);
        return 2;
    }
    bucket = argv[2];
    create.bucket = bucket;
    data = calloc(1, LARGE);
    if (data == NULL || objstore_s3_new(&config, &store, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    (void)objstore_call(store, &create, &answer); /* it may be there */
    objstore_answer_done(&answer);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        run(store, &steps[i]);
    }
    objstore_free(store);
    free(data);
    return atomic_load(&failures) == 0 ? 0 : 1;
}
