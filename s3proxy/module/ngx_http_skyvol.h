/* SPDX-License-Identifier: Apache-2.0 */
/* ngx_http_skyvol.h - what the files of the nginx module share. One worker process. */
#ifndef S3PROXY_MODULE_NGX_HTTP_SKYVOL_H
#define S3PROXY_MODULE_NGX_HTTP_SKYVOL_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "s3proxy/call.h"
#include "s3proxy/counters.h"
#include "s3proxy/identity.h"

struct skyvol_request;

extern ngx_module_t ngx_http_skyvol_module;

/* Calls that a store's thread wants the event loop to look at. */
struct skyvol_loop {
    struct mutex lock; /* of `first` and the requests' `next` and `queued`; a leaf */
    struct skyvol_request *first;
    int event_fd;
};

struct skyvol_worker {
    struct call_server server;
    struct identity_config identity;
    struct counters *counters; /* NULL: nobody asks */
    struct skyvol_loop loop;
    size_t live;            /* requests that exist */
    ngx_event_t keep_alive; /* a worker told to end goes on while a timer is set */
    bool kept_alive;        /* it is set */
};
extern struct skyvol_worker skyvol_worker;

struct skyvol_request {
    struct skyvol_request *next;
    bool queued;
    struct call *call;
    ngx_http_request_t *http; /* NULL: the client has gone */
    ngx_msec_t began;
    ngx_chain_t *body; /* not fed yet */
    bool held;         /* the body is not asked for before the store wants it */
    bool body_ended, head_sent, waits_to_write, output_ended;
    ngx_chain_t out;
    ngx_buf_t out_buf;
    u_char *room; /* of out_buf */
};

ngx_int_t skyvol_handler(ngx_http_request_t *http);
/* What nginx refuses by itself, as S3 would say it. */
ngx_int_t skyvol_fault_handler(ngx_http_request_t *http);
/* Temporary credentials, on a port of their own. */
ngx_int_t skyvol_identity_handler(ngx_http_request_t *http);
/* After a wake: goes on with one request; may free it. */
void skyvol_progress(struct skyvol_request *request);

#endif
