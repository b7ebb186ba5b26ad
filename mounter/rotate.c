/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/rotate.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounter/setup.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/mutex.h"
#include "volume/open.h"

enum { LOOK_MS = 1000 };

struct rotate {
    struct volume *volume;
    char *path;       /* absolute */
    struct stat seen; /* the thread's */
    pthread_t thread;
    struct mutex lock;
    struct cond end;
    bool ending GUARDED_BY(lock);
};

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void take_over(struct rotate *r)
{
    struct mount_credentials fresh;
    struct error err = ERROR_INIT;
    int ret = setup_personal_credentials(&fresh, &err);

    if (ret == 0 && (fresh.access_key == NULL || fresh.secret_key == NULL)) {
        ret = error_set(&err, -ENOENT, "%s holds no keys", r->path);
    }
    if (ret == 0) {
        const struct volume_credentials use = {fresh.access_key, fresh.secret_key,
                                               fresh.session_token};

        ret = volume_set_credentials(r->volume, &use);
    }
    mount_credentials_done(&fresh);
    if (ret != 0) {
        log_error("changed credentials are not taken over", "error", error_text(&err, ret), NULL);
    } else {
        log_info("changed credentials are used from now on", "file", r->path, NULL);
    }
}

LOCK_UNCHECKED
static void *watch(void *arg)
{
    struct rotate *r = arg;
    bool ending;

    do {
        struct stat now;

        mutex_lock(&r->lock);
        if (!r->ending) {
            cond_wait_ms(&r->end, &r->lock, LOOK_MS);
        }
        ending = r->ending;
        mutex_unlock(&r->lock);
        if (!ending && stat(r->path, &now) == 0 && !same(&now, &r->seen)) {
            r->seen = now;
            take_over(r);
        }
    } while (!ending);
    return NULL;
}

static void done(struct rotate *r)
{
    mutex_done(&r->lock);
    free(r->path);
    free(r);
}

/* The process may go elsewhere later. */
static int make_absolute(char **path)
{
    AUTOFREE char *here = NULL;
    char *whole;

    if ((*path)[0] == '/') {
        return 0;
    }
    here = getcwd(NULL, 0);
    if (here == NULL) {
        return -errno;
    }
    if (asprintf(&whole, "%s/%s", here, *path) < 0) {
        return -ENOMEM;
    }
    free(*path);
    *path = whole;
    return 0;
}

LOCK_UNCHECKED
int rotate_new(struct volume *volume, struct rotate **ret)
{
    struct rotate *r;
    char *path = NULL;
    int error = setup_credentials_path(&path);

    *ret = NULL;
    error = error == 0 && path != NULL ? make_absolute(&path) : error;
    if (error != 0 || path == NULL) {
        free(path);
        return error;
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        free(path);
        return -ENOMEM;
    }
    r->volume = volume;
    r->path = path;
    mutex_init(&r->lock);
    cond_init(&r->end);
    (void)!stat(r->path, &r->seen);
    error = -pthread_create(&r->thread, NULL, watch, r);
    if (error != 0) {
        done(r);
        return error;
    }
    *ret = r;
    return 0;
}

void rotate_free(struct rotate *r)
{
    if (r == NULL) {
        return;
    }
    mutex_lock(&r->lock);
    r->ending = true;
    cond_broadcast(&r->end);
    mutex_unlock(&r->lock);
    (void)pthread_join(r->thread, NULL);
    done(r);
}
