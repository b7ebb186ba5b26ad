/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mounter.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount/message.h"
#include "util/cleanup.h"

enum { TEXT_MAX = 16384 };

int mounter_seal(const char *name, struct buf *text, int *ret)
{
    int fd = -1;
    int r = buf_error(text);

    r = r < 0 ? r : message_seal(name, buf_str(text), buf_len(text), &fd);
    if (text->data != NULL) {
        OPENSSL_cleanse(text->data, text->len);
    }
    if (r == 0 && fcntl(fd, F_SETFD, 0) < 0) {
        r = -errno;
    }
    *ret = r == 0 ? fd : -1;
    return r;
}

int mounter_seal_keys(const struct mount_credentials *keys, int *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);

    if (keys->access_key == NULL || keys->access_key[0] == '\0') {
        *ret = -1;
        return 0;
    }
    buf_addf(&text, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
             keys->access_key, keys->secret_key);
    if (keys->session_token != NULL && keys->session_token[0] != '\0') {
        buf_addf(&text, "aws_session_token = %s\n", keys->session_token);
    }
    return mounter_seal("credentials", &text, ret);
}

int mounter_environment(int keys, char file[64], char *ret[MOUNTER_ENVIRONMENT_MAX])
{
    static char profile[] = "AWS_PROFILE=default";
    size_t n = 0;

    for (char **e = environ; *e != NULL; e++) {
        if (strncmp(*e, "AWS_", 4) == 0) {
            continue;
        }
        if (n + 3 >= MOUNTER_ENVIRONMENT_MAX) {
            return -E2BIG;
        }
        ret[n++] = *e;
    }
    (void)snprintf(file, 64, "AWS_SHARED_CREDENTIALS_FILE=/proc/self/fd/%d", keys);
    if (keys >= 0) {
        ret[n++] = profile;
        ret[n++] = file;
    }
    ret[n] = NULL;
    return 0;
}

int mounter_program(const char *named, char ret[PATH_MAX], struct error *err)
{
    char path[PATH_MAX - 32];
    ssize_t n;
    char *slash;

    if (named != NULL) {
        (void)snprintf(ret, PATH_MAX, "%s", named);
        return 0;
    }
    n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0) {
        return error_set(err, -errno, "cannot find skyvol-mount: name it by --program");
    }
    path[n] = '\0';
    slash = strrchr(path, '/');
    (void)snprintf(ret, PATH_MAX, "%.*s/skyvol-mount", (int)(slash - path), path);
    return 0;
}
