/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - what the server says when it does not do what it was asked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube/kube_private.h"

const char *kube_text(const cJSON *object, const char *path)
{
    const char *text;

    while (object != NULL && path[0] != '\0') {
        size_t len = strcspn(path, ".");
        char name[128];

        if (len >= sizeof(name)) {
            return "";
        }
        memcpy(name, path, len);
        name[len] = '\0';
        object = cJSON_GetObjectItemCaseSensitive(object, name);
        path += path[len] == '.' ? len + 1 : len;
    }
    text = cJSON_GetStringValue(object);
    return text != NULL ? text : "";
}

static int errno_of(int http_status, const char *reason)
{
    switch (http_status) {
    case 400:
    case 422:
        return -EINVAL;
    case 401:
        return -EKEYREJECTED;
    case 403:
        return -EACCES;
    case 404:
        return -ENOENT;
    case 409:
        return strcmp(reason, "AlreadyExists") == 0 ? -EEXIST : -ESTALE;
    case 410:
        return -ESTALE;
    case 413:
        return -EFBIG;
    case 429:
        return -EAGAIN;
    default:
        return http_status >= 500 ? -ECONNREFUSED : -EPROTO;
    }
}

/* The server's words are for people; what is none of a line goes. */
static void one_line(const char *text, char *ret, size_t size)
{
    size_t len = 0;

    for (; text[len] != '\0' && len + 1 < size; len++) {
        char c = text[len];

        ret[len] = c;
        if ((unsigned char)c < 0x20 || c == 0x7f) {
            ret[len] = ' ';
        }
    }
    ret[len] = '\0';
}

int kube_status(const char *words, int http_status, const cJSON *body, struct kube_answer *answer,
                struct error *err)
{
    char message[320];

    one_line(kube_text(body, "reason"), answer->reason, sizeof(answer->reason));
    one_line(kube_text(body, "message"), message, sizeof(message));
    return error_set(err, errno_of(http_status, answer->reason), "Kubernetes, %s: %d%s%s%s%s",
                     words, http_status, answer->reason[0] != '\0' ? " " : "", answer->reason,
                     message[0] != '\0' ? ": " : "", message);
}
