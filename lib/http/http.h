/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - an HTTP client for many requests at once: a few transfer threads, each one libcurl
 * multi.
 *
 *     struct http_request get = {
 *         .method = "GET", .url = "https://host/path", .write = to_buffer, .done = on_done,
 *     };
 *     http_submit(client, &get);
 *
 * Contract
 *   - http_submit() never blocks and leads to exactly one done(), also at http_client_free().
 *     done() may be called before http_submit() returns (queue full: -EBUSY; bad URL: -EINVAL).
 *   - The request and all it points to stay the caller's, unchanged, until done() is called.
 *   - Callbacks come from a transfer thread, one at a time per request, with no lock held. They
 *     must not block, and may submit, cancel and resume requests.
 *   - TLS is verified. Redirects are answers like others. Proxies of the environment are ignored.
 *     The path of the URL goes out as it is (no "..", "//" or escape is touched).
 *   - Clients may share threads and connections (`beside`), then each has its part of them.
 *   - Connections are kept and reused; more than max_connections never exist: requests beyond wait
 *     in the queue of their thread, under their own deadline.
 *
 * Errors (result.status): 0 whenever a whole answer came, whatever its HTTP status. -ETIMEDOUT
 * deadline, -ECANCELED, -ECONNREFUSED, -EHOSTUNREACH (also a name that does not resolve),
 * -ECONNRESET (connection lost; http_status 0: before any answer), -EPROTO (TLS, told in the text),
 * -EACCES (public_only, and the name resolves to a refused address only),
 * -EBADMSG (body shorter or longer than promised), -EBUSY (queue full), -ENOMEM, -EIO; or what a
 * callback returned. The error text names host and cause, never a header or a query.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"
#include "util/slice.h"

struct http_client;
struct http_request;

struct http_client_config {
    /* Another one, whose threads, connections and settings this one shares; it may be freed before.
     * All else here is ignored. Connections are shared fairly: a client alone at it gets two thirds
     * of them, and who has the fewest is next. */
    struct http_client *beside;
    uint32_t threads;            /* 0: 2; at most 64 */
    uint32_t max_connections;    /* of all threads together; 0: 64 */
    uint32_t max_queued;         /* requests waiting, of all threads; 0: 65536 */
    uint32_t connect_timeout_ms; /* 0: 10000 */
    uint32_t buffer_bytes;       /* of each transfer, for each way; 0: 128 KiB, at most that */
    uint32_t idle_close_s;       /* connections unused for this long are closed; 0: 60 */
    const char *ca_file;         /* PEM of further authorities beside the system's; NULL: none */
    bool ca_only;                /* trust ca_file alone, not the system's */
    const char *cert_file;       /* client certificate and key (PEM); NULL: none */
    const char *key_file;
    bool insecure;          /* take any certificate */
    bool public_only;       /* connect to no address with an address_refusal(); see -EACCES */
    const char *proxy;      /* NULL: none, whatever the environment says */
    const char *user_agent; /* NULL: "skyvol/VERSION" */
};

struct http_header {
    const char *name;
    const char *value; /* "": sent empty. NULL: a header that libcurl adds is left out */
};

/* An answer's status line and headers; the slices live as long as the callback they come to. */
struct http_head {
    int status;
    const struct http_field *fields; /* names in lower case */
    size_t count;
};

struct http_field {
    struct slice name;
    struct slice value; /* trimmed */
};

/* The first field of that (lower-case) name, or a slice with data NULL. */
struct slice http_head_get(const struct http_head *head, const char *name);

struct http_result {
    int status; /* 0 or a negative errno value */
    struct error error;
    int http_status;     /* 0: no answer came */
    uint64_t sent_bytes; /* of the body */
    uint64_t received_bytes;
    uint32_t total_ms;      /* from submit */
    uint32_t first_byte_ms; /* from submit to the answer's first byte; 0: none came */
    bool reused;            /* went over a connection that was there already */
};

#define HTTP_SIZE_UNKNOWN UINT64_MAX

struct http_request {
    const char *method;
    const char *url; /* http or https */
    const struct http_header *headers;
    size_t header_count;

    /* Body: `data`, or else read(): bytes put into buffer (at most cap), 0 at the end, -EAGAIN to
     * pause until http_resume(), another negative value ends the request with it. has_body with
     * size 0 sends "Content-Length: 0"; HTTP_SIZE_UNKNOWN sends chunks. rewind() is called when
     * the body must be sent again from its start on a fresh connection; without it that fails. */
    bool has_body;
    const void *data;
    uint64_t size;
    ssize_t (*read)(struct http_request *request, void *buffer, size_t cap);
    int (*rewind)(struct http_request *request);

    /* A connection that was kept may end just as it is used again: then the request is sent anew
     * by itself, which does no harm to most. With `once` it ends with -ECONNRESET instead, as the
     * server may have done it the first time, and the second answer would tell of that. */
    bool once;

    /* The answer. head() is optional; nonzero ends the request. write() takes all and returns 0,
     * takes none and returns -EAGAIN (until http_resume(), then the same bytes come again), or
     * ends the request with another negative value. No write(): the body is dropped. */
    int (*head)(struct http_request *request, const struct http_head *head);
    int (*write)(struct http_request *request, const void *data, size_t len);

    void (*done)(struct http_request *request, const struct http_result *result);
    uint32_t timeout_ms; /* from submit to done; 0: 60000 */
    uint32_t stall_ms;   /* no byte either way for this long ends it (-ETIMEDOUT); 0: never */
    void *arg;           /* the caller's */

    void *client_private; /* NULL before the submit, then the client's */
};

/* 0; -EINVAL, -ENOENT, -EACCES with err: a file that cannot be used; -ENOMEM. */
int http_client_new(const struct http_client_config *config, struct http_client **ret,
                    struct error *err) __attribute__((warn_unused_result));

/* Ends all requests with -ECANCELED, waits for the threads. NULL is allowed. Not from a callback.
 */
void http_client_free(struct http_client *client);

void http_submit(struct http_client *client, struct http_request *request);

/* Ask a submitted request to end with -ECANCELED. Does nothing to one that is not submitted yet or
 * has ended, so it may race with the submit. Must not race with done() freeing the request. */
void http_cancel(struct http_client *client, struct http_request *request);

/* Go on after an -EAGAIN. Spurious calls are allowed. */
void http_resume(struct http_client *client, struct http_request *request);

struct http_stats {
    uint64_t requests;    /* done so far */
    uint64_t connections; /* opened so far */
    uint64_t pending;     /* requests submitted and not done yet */
};
void http_client_stats(struct http_client *client, struct http_stats *ret);

#endif
