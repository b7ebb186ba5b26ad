/* SPDX-License-Identifier: Apache-2.0 */
/* ngx_http_skyvol.h - what the files of the nginx module share. One worker process. */
#ifndef S3PROXY_MODULE_NGX_HTTP_SKYVOL_H
#define S3PROXY_MODULE_NGX_HTTP_SKYVOL_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <sys/queue.h>

#include "s3proxy/call.h"
#include "s3proxy/counters.h"
#include "s3proxy/identity.h"
#include "s3proxy/policies.h"

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
    struct spaces spaces;               /* for bodies under way */
    struct random_pool ids;             /* of requests */
    size_t live;                        /* requests that exist */
    ngx_msec_t grace;                   /* how long a client may be slow, */
    uint64_t least_rate;                /* and bytes a second that it must reach then */
    ngx_event_t keep_alive;             /* a worker told to end goes on while a timer is set */
    ngx_event_t trim;                   /* of the spaces; it does not wait for this one */
    bool kept_alive;                    /* it is set */
    TAILQ_HEAD(, skyvol_request) queue; /* bodies that wait for memory, in turn */
    ngx_event_t queue_tick;
};
extern struct skyvol_worker skyvol_worker;

struct skyvol_place {
    TAILQ_ENTRY(skyvol_request) entry;
    bool taken;
    ngx_msec_t since; /* when it waited first; 0: it never has */
};

struct skyvol_request {
    struct skyvol_request *next;
    bool queued;
    struct call *call;
    ngx_http_request_t *http; /* NULL: the client has gone */
    uint64_t began_us, store_us;
    ngx_chain_t *body; /* not fed yet */
    bool held;         /* the body is not asked for before the store wants it */
    bool body_ended, head_sent, waits_to_write, output_ended;
    ngx_chain_t out;
    ngx_buf_t out_buf;
    ngx_file_t file;           /* of out_buf */
    u_char *room;              /* of out_buf; */
    size_t room_size;          /* so much, */
    bool room_lent;            /* of the worker's spaces */
    ngx_event_t pace;          /* set while the rate of its key lets no byte through */
    struct skyvol_place place; /* among bodies that wait for memory */
    uint64_t taken;            /* bytes of the body */
    ngx_msec_t since;          /* when the client was waited for; with `client_next` */
    ngx_msec_t client_ms;      /* how long it was waited for in all */
    bool client_next;          /* it is the client's turn */
};

/* Wakes the event loop for what its list has. Any thread. */
void skyvol_ring(void);

/* Looks in a while for memory of bodies that nobody needs any more. */
void skyvol_trim_later(void);

/* Both are copied. */
ngx_int_t skyvol_add_header(ngx_http_request_t *http, const char *name, const char *value);
/* The code of what nginx refuses by itself. */
enum s3_code skyvol_code_of_status(ngx_uint_t status);
/* For the module's preconfiguration and postconfiguration. */
ngx_int_t skyvol_log_variables(ngx_conf_t *cf);
ngx_int_t skyvol_log_filter(ngx_conf_t *cf);
/* Whether the metrics have, or will have, this request. */
bool skyvol_is_counted(const ngx_http_request_t *http);
ngx_int_t skyvol_handler(ngx_http_request_t *http);
/* What nginx refuses by itself, as S3 would say it. */
ngx_int_t skyvol_fault_handler(ngx_http_request_t *http);
/* Temporary credentials, on a port of their own. */
ngx_int_t skyvol_identity_handler(ngx_http_request_t *http);
/* After a wake: goes on with one request; may free it. */
void skyvol_progress(struct skyvol_request *request);

void skyvol_queue_init(void);
/* Whether its body has to wait until others give memory back; it goes on by itself then. */
bool skyvol_queue_waits(struct skyvol_request *request);
void skyvol_queue_leave(struct skyvol_request *request);

/* A request was let in; and it ended, or was not. */
void skyvol_connection_busy(ngx_connection_t *connection);
void skyvol_connection_waits(ngx_connection_t *connection);
/* Sees to all connections that are accepted from now on. 0 or -ENOMEM. */
int skyvol_connections_init(ngx_cycle_t *cycle, uint64_t max_per_address);
void skyvol_connections_done(void);
/* While a body waits for a rate or the store nobody reads, and so nobody sees that the client has
 * closed its side. What it sent may lie in the kernel for hours then; only if that is all of the
 * body it is worth going on. */
bool skyvol_client_gone(const ngx_http_request_t *http);

#endif
