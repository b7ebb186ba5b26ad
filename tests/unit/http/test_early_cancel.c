/* SPDX-License-Identifier: Apache-2.0 */
/* Another thread cancels requests that this one is about to submit: what TSan has to agree with. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "http/http.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/mutex.h"

enum { MANY = 500 };

struct storm {
    struct http_client *client;
    struct http_request *requests;
    atomic_bool over;
    struct mutex lock;
    struct cond changed;
    int ended;
    int other; /* neither cancelled nor refused */
};

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct storm *storm = request->arg;

    mutex_lock(&storm->lock);
    storm->ended++;
    storm->other += result->status == -ECANCELED || result->status == -ECONNREFUSED ? 0 : 1;
    cond_broadcast(&storm->changed);
    mutex_unlock(&storm->lock);
}

static void *cancel_all(void *arg)
{
    struct storm *storm = arg;

    while (!atomic_load(&storm->over)) {
        for (int i = 0; i < MANY; i++) {
            http_cancel(storm->client, &storm->requests[i]);
        }
    }
    return NULL;
}

static void a_request_may_be_cancelled_while_it_is_submitted(UNUSED void **state)
{
    struct http_client_config config = {.threads = 1};
    AUTOFREE struct http_request *requests = calloc(MANY, sizeof(*requests));
    struct storm storm = {.requests = requests};
    struct error err = ERROR_INIT;
    pthread_t thread;

    assert_non_null(requests);
    mutex_init(&storm.lock);
    cond_init(&storm.changed);
    assert_int_equal(http_client_new(&config, &storm.client, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_all, &storm), 0);
    for (int i = 0; i < MANY; i++) {
        requests[i].method = "GET";
        requests[i].url = "http://127.0.0.1:1/"; /* nobody listens there */
        requests[i].done = on_done;
        requests[i].arg = &storm;
        http_submit(storm.client, &requests[i]);
    }
    mutex_lock(&storm.lock);
    while (storm.ended < MANY) {
        cond_wait(&storm.changed, &storm.lock);
    }
    mutex_unlock(&storm.lock);
    atomic_store(&storm.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(storm.other, 0);
    for (int i = 0; i < MANY; i++) {
        assert_null(requests[i].client_private);
    }
    http_client_free(storm.client);
    cond_done(&storm.changed);
    mutex_done(&storm.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_may_be_cancelled_while_it_is_submitted),
    };

    return cmocka_run_group_tests_name("http cancelled early", tests, NULL, NULL);
}
