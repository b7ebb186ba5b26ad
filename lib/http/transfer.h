/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.h - one request on its way through libcurl; private to lib/http.
 *
 * The client (http.c) owns threads, queues and the order of events; a transfer knows how to set up
 * a libcurl handle for its request, answers libcurl's callbacks, and turns the end into a result.
 * All but the members marked as the client's belong to the worker's thread.
 */
#ifndef HTTP_TRANSFER_H
#define HTTP_TRANSFER_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "http/http.h"
#include "util/buf.h"

enum { TRANSFER_HEAD_MAX = 64 * 1024, TRANSFER_BUFFER_MAX = 128 * 1024 };

struct lane;

struct transfer {
    TAILQ_ENTRY(transfer) link;         /* the client's: incoming, waiting or active */
    TAILQ_ENTRY(transfer) signal_link;  /* the client's: guarded by its lock */
    bool signalled, cancelled, resumed; /* the client's: guarded by its lock */

    struct http_request *request;
    size_t worker;     /* index */
    struct lane *lane; /* the client's: see worker.h */
    uint64_t start_ms, deadline_ms, progress_ms;
    CURL *easy;
    struct curl_slist *headers; /* one block, for free() */
    char error_text[CURL_ERROR_SIZE];

    unsigned sends;  /* how often libcurl began to send it */
    uint64_t sent;   /* of the body, handed to libcurl */
    struct buf held; /* last bytes of a source that has not said yet that it has no more */
    size_t held_at;
    bool source_ended;
    uint64_t received; /* of the answer's body, taken by write() */
    bool paused;
    int callback_error;  /* what a callback ended the request with */
    const char *refusal; /* of address_refusal(): why an address was not connected to */
    char refused[64];    /* that address */

    int http_status;
    bool head_done;
    struct buf head;
    struct http_field *fields;
    size_t field_count;
};

/* What all transfers of a client share. */
struct transfer_options {
    const char *ca_file, *cert_file, *key_file, *proxy, *user_agent;
    bool ca_only, public_only, insecure;
    uint32_t connect_timeout_ms, idle_close_s, buffer_bytes;
    CURLSH *share; /* of the worker: TLS sessions */
};

int transfer_new(struct http_request *request, uint64_t now_ms, struct transfer **ret)
    __attribute__((warn_unused_result));
void transfer_free(struct transfer *transfer);

/*
 * A handle with all that is the same for each request, which is worth keeping: setting that up
 * costs more than many a request. NULL: no memory. After a request it is released before the
 * transfer is freed, and may be given to the next.
 */
CURL *transfer_handle(const struct transfer_options *options);
void transfer_release(CURL *easy);

/* Prepare such a handle, which becomes the transfer's, for the request. 0, -EINVAL, -ENOMEM. */
int transfer_prepare(struct transfer *transfer, CURL *easy, const struct transfer_options *options,
                     uint64_t now_ms) __attribute__((warn_unused_result));

/* Fill the result from libcurl's verdict. */
void transfer_result(struct transfer *transfer, CURLcode code, uint64_t now_ms,
                     struct http_result *ret);

#endif
