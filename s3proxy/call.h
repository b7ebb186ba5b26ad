/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one S3 request, from its head to its reply, without a word about the HTTP server.
 *
 * The server's event loop owns a call and drives it:
 *
 *     call_new(&server, wake, arg, &call);
 *     fill call->message (all it points to must stay until call_begin() returns)
 *     call_begin(call);            authenticates and chooses the operation; copies what it keeps
 *     if (call_opened(call)) wait: for call_wants_body() or call_head_ready(), after each wake()
 *     while body bytes come:       call_feed(); 0: full, go on after the next wake()
 *     call_feed_end(call);         all came (also without a body): checks it, starts the operation
 *     after each wake():           call_head_ready(): send call->reply's head; call_output() bytes
 *
 * wake(call) is called from a store's thread whenever there may be something to do. A call may be
 * freed only when call_idle(); call_cancel() makes that happen soon. Everything is the event
 * loop's but what `lock` guards and the pipe. Nothing is published before the body was checked.
 */
#ifndef S3PROXY_CALL_H
#define S3PROXY_CALL_H

#include "s3/chunked.h"
#include "s3/conditions.h"
#include "s3/key_cache.h"
#include "s3/names.h"
#include "s3/xml.h"
#include "s3/xml_parse.h"
#include "s3proxy/credentials.h"
#include "s3proxy/pipe.h"
#include "s3proxy/stores.h"
#include "util/arena.h"
#include "util/mutex.h"
#include "util/random.h"

#define CALL_OWNER "skyvol" /* of every bucket and object */

struct call_server {
    struct stores stores;
    struct credentials *credentials;
    struct s3_key_cache *keys;
    const char *region;
    const char *const *suffixes; /* for virtual-host style; NULL: none */
};

struct reply {
    int status;
    const char *content_type; /* NULL: none */
    uint64_t length;          /* of the body, also for HEAD */
    int64_t mtime_s;          /* -1: none */
    struct buf headers;       /* name NUL value NUL ... */
    struct buf body;          /* unless it comes by call_output() */
};

enum call_body { CALL_BODY_NONE, CALL_BODY_MEMORY, CALL_BODY_PIPE };

struct call {
    const struct call_server *server;
    void (*wake)(struct call *call);
    void *owner;
    struct s3_message message;
    char request_id[RANDOM_ID_SIZE];

    struct arena arena;
    struct s3_auth *auth;
    struct s3_signing_key key;
    bool read_only, internal;
    bool tls, expects; /* set with `message`; expects: the client sends no body unasked */
    struct s3_target target;
    struct slice query;
    bool head;             /* a HEAD request */
    struct volume *volume; /* whose the bucket is; NULL: the store's */

    enum call_body body_kind;
    uint64_t body_size; /* after decoding */
    uint64_t body_seen; /* bytes off the wire */
    uint64_t wire_size; /* UINT64_MAX: unknown */
    struct buf body;
    struct pipe pipe; /* PUT: the body; GET: the object */
    struct s3_chunked *chunked;
    struct s3_checksum sha;
    bool streaming; /* the operation runs while the body comes */

    struct objstore_request op;
    struct objstore_meta meta;
    struct s3_conditions conditions;
    struct s3_range range;
    struct s3_xml_doc *doc;
    struct s3_xml_list list;
    bool encode_url, checksum_wanted, sized; /* sized: a HEAD went before, for a suffix range */
    const char *marker;
    /* What follows the checks of the head: starts the operation once the body is there. */
    int (*parse)(struct call *call, struct s3_fault *fault);
    void (*format)(struct call *call, const struct objstore_result *result);

    int operation;      /* op.op as it was chosen; negative: refused before */
    bool failed;        /* the event loop's: the head or the body was refused */
    struct reply reply; /* the event loop's, or of the store's thread while the operation runs */

    struct mutex lock;     /* of what follows; taken before a store's own and the module's */
    struct s3_fault fault; /* the first one counts */
    bool running;          /* submitted and not done */
    bool head_ready;       /* reply's head may be sent */
    bool again;            /* submit `op` once more */
    bool wanted;           /* the store has asked for the body */
    bool streams;          /* the reply's bytes come by the pipe */
};

int call_new(const struct call_server *server, void (*wake)(struct call *call), void *owner,
             struct call **ret) __attribute__((warn_unused_result));
/* Only when idle. */
void call_free(struct call *call);

void call_begin(struct call *call);
/* True when the operation runs already, to refuse what it can before the body is asked for. */
bool call_opened(const struct call *call);
bool call_wants_body(struct call *call);
/* Bytes taken; 0: there is no room now. */
size_t call_feed(struct call *call, const void *bytes, size_t len);
void call_feed_end(struct call *call);
/* The body cannot be had: end with this code. */
void call_fail(struct call *call, enum s3_code code, const char *text);

bool call_head_ready(struct call *call);
bool call_idle(struct call *call);
void call_cancel(struct call *call);
/* After a wake: submits what must be submitted once more. */
void call_continue(struct call *call);
/* True when the reply's bytes come by call_output(). */
bool call_streams(struct call *call);
/* Bytes of the object; 0: the end; -EAGAIN: after the next wake; another: the reply is broken. */
ssize_t call_output(struct call *call, void *buffer, size_t cap);

/* ---- for the operations ---- */

/* Choose the operation: sets call->op, body_kind, parse and format. Negative with a fault. */
int call_route(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_route_bucket(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_route_upload(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* A decoded query parameter: NULL when absent. */
const char *call_query(struct call *call, const char *name);
bool call_has(struct call *call, const char *name);
/* A number in the query; -EINVAL with a fault when it is none or beyond max. */
int call_number(struct call *call, const char *name, uint32_t fallback, uint32_t max, uint32_t *ret,
                struct s3_fault *fault) __attribute__((warn_unused_result));
/* A header, copied; NULL when absent. */
const char *call_header(struct call *call, const char *name);
bool call_hidden(const struct call *call, const char *key);
/* As hidden, and also what nobody but Skyvol may write: a volume may lie at any prefix of a bucket.
 */
bool call_reserved(const struct call *call, const char *key);

/* Read the headers of a PUT, UPLOAD_CREATE or part into op. */
int call_put_headers(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_copy_headers(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* The body as XML of this kind. */
int call_xml(struct call *call, enum s3_xml_root root, struct s3_fault *fault)
    __attribute__((warn_unused_result));

void reply_header(struct reply *reply, const char *name, const char *value);
void reply_etag(struct reply *reply, const char *etag);
void reply_xml(struct reply *reply);
/* The first fault counts. Any thread. */
void call_fault(struct call *call, enum s3_code code, const char *text);
/* The reply that call->fault asks for; from whoever owns the reply now. */
void reply_fault(struct call *call);
void format_empty(struct call *call, const struct objstore_result *result);   /* 200 */
void format_deleted(struct call *call, const struct objstore_result *result); /* 204 */

#endif
