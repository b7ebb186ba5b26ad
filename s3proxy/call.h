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
 * What a GET reads is sent in one of three ways: with the head (few bytes), from a plain file of
 * the store (call_file()), or through a pipe while it comes.
 *
 * wake(call) is called from a store's thread whenever there may be something to do. A call may be
 * freed only when call_idle(); call_cancel() makes that happen soon. Everything is the event
 * loop's but what `lock` guards and the pipe. Nothing is published before the body was checked.
 */
#ifndef S3PROXY_CALL_H
#define S3PROXY_CALL_H

#include "s3/acl.h"
#include "s3/chunked.h"
#include "s3/conditions.h"
#include "s3/key_cache.h"
#include "s3/names.h"
#include "s3/policy.h"
#include "s3/public_access.h"
#include "s3/xml.h"
#include "s3/xml_parse.h"
#include "s3proxy/credentials.h"
#include "s3proxy/limits.h"
#include "s3proxy/pipe.h"
#include "s3proxy/stores.h"
#include "util/arena.h"
#include "util/mutex.h"
#include "util/random.h"

#define CALL_OWNER "skyvol" /* of every bucket that no account has made */

struct call_server {
    struct stores stores;
    struct credentials *credentials;
    struct s3_key_cache *keys;
    struct policies *policies; /* what is remembered of them */
    const char *region;
    bool presign_v2;             /* URLs may be signed by Signature Version 2 */
    const char *const *suffixes; /* for virtual-host style; NULL: none */
    struct limits *limits;       /* NULL: none */
    struct spaces *spaces;       /* for bodies under way */
    struct random_pool *ids;     /* the event loop's, for names of requests; NULL: the kernel's */
    struct limits_bounds bounds; /* of keys that have none of their own, and of all */
    void (*ring)(void);          /* wakes the event loop, when wake() of a call says so */
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

/* Bytes of a reply that lie in a plain file. */
struct call_file {
    int fd; /* -1: they do not; the call's to close */
    uint64_t at, end;
};

struct call {
    const struct call_server *server;
    bool (*wake)(struct call *call); /* see call_wake_begin() */
    void *owner;
    struct s3_message message;
    char request_id[RANDOM_ID_SIZE];

    struct arena arena;
    struct s3_auth *auth;
    struct s3_signing_key key;
    bool read_only, internal;
    bool anonymous;             /* nobody signed it */
    const char *principal;      /* S3_POLICY_ARN and the access key; NULL while anonymous */
    char peer[64];              /* the client's address, set with `message`; "": it has none */
    struct call_access *access; /* what is known of the buckets' policies; NULL: they have none */
    bool stranger;              /* the bucket is not the caller's: a policy says what may be done */
    bool conceals;              /* who asks must not learn what there is not */
    size_t refused;             /* victims behind op.victims_count that the policy keeps */
    const char *key_id;         /* the access key that it shows; */
    bool known;                 /* the signature proved it */
    uint64_t asked_us;          /* when all was there that the client had to send; 0: not yet */
    struct limits_ticket ticket; /* what it counts for; empty: it was not let in */
    unsigned retry_s;            /* refused by a limit: when to come again */
    const char *const *buckets;  /* all that the caller knows of; NULL: every one */
    const char *account; /* whose key signed it; NULL: one that has to do with everybody's */
    const char *display_name;
    bool tls, expects; /* set with `message`; expects: the client sends no body unasked */
    struct s3_target target;
    struct slice query;
    uint64_t query_names;  /* s3_query_names() of it */
    bool head;             /* a HEAD request */
    bool writes;           /* changes something although its operation only reads */
    bool asks_region;      /* ListBuckets: tells where they are, as AWS if any parameter is there */
    bool elsewhere;        /* and asks for those of another region only */
    int told_action;       /* 1 + the enum s3_action that it is; 0: by its operation */
    enum s3_acl acl;       /* asked for */
    struct volume *volume; /* whose the bucket is; NULL: the store's */

    enum call_body body_kind;
    uint64_t body_size; /* after decoding */
    uint64_t body_seen; /* bytes off the wire */
    uint64_t wire_size; /* UINT64_MAX: unknown */
    struct buf body;
    char *space; /* in place of `body` when it is neither small nor large; of the server's spaces */
    size_t space_size, space_len;
    size_t gathered;  /* what `body` counts for there */
    struct pipe pipe; /* PUT: the body; GET: the object */
    struct s3_chunked *chunked;
    struct s3_checksum sha;
    struct s3_checksum sum; /* of what the store gets, if it can be had for little */
    bool streaming;         /* the operation runs while the body comes */
    struct call_cors *cors; /* the bucket's rules for pages of other origins; NULL: not asked */
    bool preflight;         /* OPTIONS: what such a page may do */
    bool form_v2;           /* of `form`: signed as of old */
    bool held;              /* no body is taken before the policies are known */
    bool ended;             /* and the end of the body has come already */
    struct call_form *form; /* the body is a browser's; NULL: it is not */

    struct objstore_request op;
    struct objstore_meta meta;
    struct s3_conditions conditions;
    struct s3_range range;
    struct s3_xml_doc *doc;
    struct s3_xml_list list;
    unsigned attributes;                     /* GetObjectAttributes: which of them */
    bool encode_url, checksum_wanted, sized; /* sized: a HEAD went before, for a suffix range */
    bool whole;                              /* a GET of few bytes: they go with the head */
    bool tells_owner;                        /* a list with the owner in each entry */
    const char *marker;
    /* What follows the checks of the head: starts the operation once the body is there. */
    int (*parse)(struct call *call, struct s3_fault *fault);
    void (*format)(struct call *call, const struct objstore_result *result);

    int operation;      /* op.op as it was chosen; negative: refused before */
    bool failed;        /* the event loop's: the head or the body was refused */
    bool now;           /* it runs the operation itself: nobody is to be woken by that */
    bool at_once;       /* and has done so */
    struct reply reply; /* the event loop's, or of the store's thread while the operation runs */

    struct mutex lock;     /* of what follows; taken before a store's own and the module's */
    struct s3_fault fault; /* the first one counts */
    bool running;          /* submitted and not done */
    bool head_ready;       /* reply's head may be sent */
    bool looking;          /* for `cors`; the head waits */
    bool asking;           /* for `access`, */
    bool answered;         /* and to be gone on with */
    bool again;            /* submit `op` once more */
    bool wanted;           /* the store has asked for the body */
    bool streams;          /* the reply's bytes come by the pipe, or are in `file` */
    struct call_file file; /* set with `streams` */
};

int call_new(const struct call_server *server, bool (*wake)(struct call *call), void *owner,
             struct call **ret) __attribute__((warn_unused_result));
/* Only when idle. */
void call_free(struct call *call);

void call_begin(struct call *call);
/* True when the operation runs already, to refuse what it can before the body is asked for. */
bool call_opened(const struct call *call);
bool call_wants_body(struct call *call);
/* How many bytes can be taken now; 0: none before the next wake. */
size_t call_room(struct call *call);
/* Whether it would take a large one of the spaces for the next bytes, which makes them cheaper: so
 * much so that it may wait for one that others have. */
bool call_wants_large(struct call *call);
/* Where the next bytes may be put at once, and how many: call_feed() then finds them in place.
 * NULL: they are no plain bytes, or belong elsewhere. */
void *call_place(struct call *call, size_t *ret_len);
/* Bytes taken; 0: there is no room now. */
size_t call_feed(struct call *call, const void *bytes, size_t len);
void call_feed_end(struct call *call);
/* The body cannot be had: end with this code. */
void call_fail(struct call *call, enum s3_code code, const char *text);
void call_fail_with(struct call *call, const struct s3_fault *fault);

bool call_head_ready(struct call *call);
/* Why it fails; S3_OK: it does not, or nobody knows yet. */
enum s3_code call_error(struct call *call);
/* How long the store has had it, once nothing of the client's was missing, until now. */
uint64_t call_store_us(const struct call *call);
uint64_t call_now_us(void); /* CLOCK_MONOTONIC */
/* Headers beside those of the reply, "name NUL value NUL"; once the head is ready. */
struct slice call_cors_headers(const struct call *call);
bool call_idle(struct call *call);
void call_cancel(struct call *call);
/*
 * The event loop is to look at the call. In halves: begun under the call's lock, as an idle call
 * may be freed as soon as that is open, and ended after it, or the loop would find it locked.
 */
bool call_wake_begin(struct call *call);
static inline void call_wake_end(const struct call_server *server, bool begun)
{
    if (begun) {
        server->ring();
    }
}
void call_wake(struct call *call);
/* Start `op`, which is whole; it may be over when this returns. */
void call_submit(struct call *call);
/* After a wake: submits what must be submitted once more. */
void call_continue(struct call *call);
/* True when the reply's bytes are in call_file() or come by call_output(). */
bool call_streams(struct call *call);
/* Once call_streams(): the file, whose `at` the caller moves on; NULL: call_output(). It is open as
 * long as the call lives. */
struct call_file *call_file(struct call *call);
/* Pay for bytes that came from the client or go to it, by its key's rate; 0: for none. Returns ms
 * that must pass before the next ones. */
uint64_t call_charge(struct call *call, enum limits_way way, uint64_t bytes);
/* What goes on in it counts no more; it has ended but for sending a reply that is in memory. */
void call_leave(struct call *call);
/* Bytes of the object; 0: the end; -EAGAIN: after the next wake; another: the reply is broken. */
ssize_t call_output(struct call *call, void *buffer, size_t cap);

/* ---- for the operations ---- */

/* Choose the operation: sets call->op, body_kind, parse and format. Negative with a fault. */
int call_route(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_route_bucket(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_route_upload(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* ---- what the buckets' policies allow ---- */

int call_parse_policy(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_parse_public_access(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
void call_format_policy_status(struct call *call, const struct objstore_result *result);

enum s3_action call_action(struct call *call);
/* Sets call->stranger; once more when a form has said who signed it. */
void call_access_who(struct call *call);
/* Strangers where no policy could let them in. */
int call_access_check(const struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* Once all else is known of the head. 0: allowed, or not known yet: then call_access_waits(). */
int call_access_begin(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
bool call_access_waits(const struct call *call);
/* After an answer: 0 allowed, 1 waits on, negative with a fault. */
int call_access_go_on(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* What only the body, or the fields of a form, could tell. */
int call_access_body(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_access_form(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
void call_access_done(struct call *call);
/* Under call->lock, while it is asking. */
void call_access_cancel(struct call *call);
/* Of the target; NULL: there is no such bucket, or it is none of ours. */
const struct s3_public_access *call_public_access(const struct call *call);

int call_route_acl(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));

/* Pages of other origins: the preflight, and the rules that are looked up beside an operation. */
int call_route_preflight(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_parse_cors(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
void call_cors_begin(struct call *call);
void call_cors_done(struct call *call);
/* Who the claim is, if a signature by call->key or who->secret proves it. Wipe *ret after use. */
int call_identify(struct call *call, const struct claim *claim, struct identity *ret,
                  struct s3_fault *fault) __attribute__((warn_unused_result));
/* Of a URL that is presigned of old, what it says; all others are parsed already. */
int call_presigned(struct call *call, const struct s3_auth_rules *rules, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* Whether the signature is by call->key, or (version 2) by the secret. */
int call_verify(struct call *call, const char *secret, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* Let it in by the limits of its key, NULL for one that nobody has signed (yet), or set a fault. */
int call_admit(struct call *call, const struct credential *key, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* A browser's upload: its fields stand for the headers of a PUT. */
int call_route_form(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
void call_form_feed(struct call *call, const char *bytes, size_t len);
int call_form_finish(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
void call_form_done(struct call *call);
/* What AWS tells of its signature, when that is what is wrong. */
void call_form_details(struct call *call, struct s3_xml_error *error);
/* Start the operation, which reads the body while it comes; and tell it that there is more. */
void call_open_stream(struct call *call);
void call_resume(struct call *call);
/* Put bytes of the body where they belong: bytes taken, or negative after a failure. */
ssize_t call_keep(struct call *call, const void *bytes, size_t len);

/* Refuse headers that promise what nobody does here. */
int call_refuse_headers(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* Refuse what the headers say of access, where it is not what holds anyway. */
int call_acl_headers(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));

/* A decoded query parameter: NULL when absent. */
const char *call_query(struct call *call, const char *name);
bool call_has(struct call *call, const char *name);
/* A number in the query; -EINVAL with a fault when it is none or beyond max. */
int call_number(struct call *call, const char *name, uint32_t fallback, uint32_t max, uint32_t *ret,
                struct s3_fault *fault) __attribute__((warn_unused_result));
/* A header, copied; NULL when absent. */
const char *call_header(struct call *call, const char *name);
/* True if the caller's key may know of the bucket. */
bool call_sees(const struct call *call, const char *bucket);
/* Whose buckets the operation may have to do with, into op.account; AccessDenied. After it the
 * store refuses all others: what a policy opens to them has to take op.account away. */
int call_own(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
/* Whose a bucket is, as lists tell it: the store's word, or the caller's own when `result` is NULL.
 */
const char *call_owner(const struct call *call, const struct objstore_result *result);
const char *call_owner_name(const struct call *call, const struct objstore_result *result);
bool call_hidden(const struct call *call, const char *key);
/* As hidden, and also what nobody but Skyvol may write: a volume may lie at any prefix of a bucket.
 */
bool call_reserved(const struct call *call, const char *key);

/* Read the headers of a PUT, UPLOAD_CREATE or part into op. */
int call_put_headers(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_copy_headers(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* What the client says of its body, which is in memory, must be so. */
int call_digests(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
/* x-amz-tagging of a PUT, UPLOAD_CREATE or COPY, into op. */
int call_tag_headers(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
/* The field of a form: the tags as XML; NULL: none. */
int call_tag_field(struct call *call, const char *xml, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_route_tags(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
/* The document that the query names; OBJSTORE_DOC_COUNT: none. */
enum objstore_doc call_doc_asked(struct call *call);
/* Documents of the bucket: 1 when the request is about none, else as the other routes. */
int call_route_doc(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
/* What AWS answers where a bucket has no such document: a code, or (S3_OK) a text in its place. */
enum s3_code call_doc_absent(enum objstore_doc doc, const char **ret_text);
/* The body as XML of this kind. */
int call_xml(struct call *call, enum s3_xml_root root, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* The version that the query names, into op; refused where none can be named. */
int call_version(struct call *call, struct s3_fault *fault) __attribute__((warn_unused_result));
int call_route_versions(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int call_parse_versioning(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* A header with a version id, unless it is "". */
void reply_version(struct call *call, const char *name, const char *version);
/* The version that a write made: as S3 does, nothing is said where versions are suspended. */
void reply_made(struct call *call, const struct objstore_result *result);
/* Behind reply_fault(): what the store tells of a delete marker in the object's place. */
void reply_marker(struct call *call, const struct objstore_result *result);
/* Of a listing. An empty one is none, and is not told. */
const char *call_delimiter(struct call *call);
/* Whether names can stand in a listing as the client wants it, NULL being none; else false, and the
 * reply says so. */
bool call_can_list(struct call *call, bool encoded, const char *const *names, size_t count);
/* The same of call->list and its entries. */
bool call_can_list_keys(struct call *call, const struct objstore_result *result);
/* encoding-type: whether keys of a listing are to be percent-encoded. */
int call_encoding(struct call *call, bool *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

int call_route_attributes(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* The checksum of an object as S3 writes it. */
const char *call_checksum(struct call *call, const struct objstore_info *info);
/* The same as headers of the reply, if there is one. */
void call_checksum_header(struct call *call, const struct objstore_info *info);
/* What the headers say of a body's checksum, into op: at most one, and such as can be one. */
int call_put_checksum(struct call *call, struct s3_fault *fault)
    __attribute__((warn_unused_result));
/* Before the first byte of an object is kept, and before the store is asked. */
void call_sum_begin(struct call *call);

void reply_header(struct reply *reply, const char *name, const char *value);
void reply_etag(struct reply *reply, const char *etag);
void reply_xml(struct reply *reply);
/* 200 with what a PUT has stored. */
void reply_put(struct call *call, const struct objstore_result *result);
/* The first fault counts. Any thread. */
/* DELETE by size or date, which only the embedded store knows: whether its headers may be there,
 * and what they say. */
bool call_matches(const struct call *call);
int call_match_headers(struct call *call, struct s3_fault *fault);
/* What no bucket of the embedded store has, as AWS answers of one without. 1: it is not about that.
 * lock: retention and legal hold of an object; absent: of call->op.doc, when it is to be changed.
 */
int call_route_lock(struct call *call, struct s3_fault *fault);
int call_route_absent(struct call *call);
/* An object is put where it cannot be locked. */
bool call_lacks_lock(const struct call *call);

void call_fault(struct call *call, enum s3_code code, const char *text);
void call_fault_set(struct call *call, const struct s3_fault *fault);
/* The reply that call->fault asks for; from whoever owns the reply now. */
void reply_fault(struct call *call);
/* What AWS tells of some errors beside the sentence. */
void reply_details(struct call *call, struct s3_xml_error *error);
/* The text, if it can stand in XML; else, or of NULL, NULL. */
const char *reply_text(const char *text);
/* What a failed operation is for the client. What a store says of our own keys is nothing that the
 * client could help: it is logged, and he may try again. */
enum s3_code reply_code(const struct objstore_request *op, const struct objstore_result *result);
void format_empty(struct call *call, const struct objstore_result *result);   /* 200 */
void format_deleted(struct call *call, const struct objstore_result *result); /* 204 */
/* The same of an object or version, with what became of it. */
void format_removed(struct call *call, const struct objstore_result *result);

#endif
