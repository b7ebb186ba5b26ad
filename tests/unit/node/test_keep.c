/* SPDX-License-Identifier: Apache-2.0 */
/* Calls tell of mounts while the sweep walks over them: what TSan has to agree with. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csi/node/keep.h"
#include "csi/node/node.h"
#include "mount/message.h"
#include "test.h"
#include "util/cleanup.h"

enum { MOUNTS = 50, SWEEPS = 40, MANY = 1000000 };

/* A holder that knows no mount. */
struct holder {
    int listening;
    struct mutex lock;
    int asked, wrong;
    bool over;
};

static bool is_over(struct holder *holder)
{
    bool over;

    mutex_lock(&holder->lock);
    over = holder->over;
    mutex_unlock(&holder->lock);
    return over;
}

static void answer(struct holder *holder, int socket)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    cJSON *json = cJSON_CreateObject();
    bool good = cJSON_AddNumberToObject(json, "result", 0) != NULL &&
                message_receive(socket, 5000, &m) == 0 &&
                strcmp(message_string(&m, "op"), "list") == 0;

    good = message_send(socket, json, NULL, 0, 5000) == 0 && good;
    mutex_lock(&holder->lock);
    holder->asked += good;
    holder->wrong += !good;
    mutex_unlock(&holder->lock);
}

static void *hold(void *arg)
{
    struct holder *holder = arg;
    struct pollfd poll_fd = {.fd = holder->listening, .events = POLLIN};

    while (!is_over(holder)) {
        if (poll(&poll_fd, 1, 20) == 1) {
            AUTOCLOSE int socket = accept4(holder->listening, NULL, NULL, SOCK_CLOEXEC);

            if (socket >= 0) {
                answer(holder, socket);
            }
        }
    }
    return NULL;
}

static int asked(struct holder *holder)
{
    int asked;

    mutex_lock(&holder->lock);
    asked = holder->asked;
    mutex_unlock(&holder->lock);
    return asked;
}

static void begin(struct holder *holder, const char *path)
{
    mutex_init(&holder->lock);
    assert_int_equal(message_listen(path, &holder->listening), 0);
}

static void mounts_are_told_and_forgotten_while_all_are_looked_at(UNUSED void **state)
{
    char dir[] = "/tmp/skyvol-keep-XXXXXX";
    char path[64], key[32];
    struct holder holder = {.listening = -1};
    struct node node = {.socket = path, .state_dir = dir};
    struct keep *keep = NULL;
    pthread_t thread;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/holder.sock", dir);
    begin(&holder, path);
    mutex_init(&node.lock);
    assert_int_equal(pthread_create(&thread, NULL, hold, &holder), 0);
    assert_int_equal(keep_new(&node, &keep), 0);
    for (int i = 0; i < MANY && asked(&holder) < SWEEPS; i++) {
        (void)snprintf(key, sizeof(key), "mount-%d", i % MOUNTS);
        keep_add(keep, key, "/");
        (void)snprintf(key, sizeof(key), "mount-%d", (i + MOUNTS / 2) % MOUNTS);
        keep_forget(keep, key);
    }
    assert_true(asked(&holder) >= SWEEPS);
    keep_free(keep);
    mutex_lock(&holder.lock);
    holder.over = true;
    mutex_unlock(&holder.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(holder.wrong, 0);
    (void)close(holder.listening);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    mutex_done(&node.lock);
    mutex_done(&holder.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mounts_are_told_and_forgotten_while_all_are_looked_at),
    };

    return cmocka_run_group_tests_name("duplicates of mounts", tests, NULL, NULL);
}
