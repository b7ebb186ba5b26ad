/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - objects copied by the store, however large, and deleted.
 *
 * Keys may lie below .skyvol/. All of it waits, five minutes a request at most, and is called
 * without fs->lock. Errors are those of objstore.h.
 */
#ifndef MOUNTER_COPY_H
#define MOUNTER_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "mounter/kept/state.h"
#include "objstore/objstore.h"

struct fs;

/* Copy an object, however large. *ret_etag. Waits. */
struct copy_what {
    const char *from, *to;
    const char *if_match;             /* of the source; or NULL */
    uint64_t size;                    /* of the source, or how much of it */
    const struct objstore_meta *meta; /* replaces the source's; or NULL */
    uint32_t ino;                     /* of the source, whose bytes may be here; 0: of none */
    bool partial;                     /* the source has more */
    bool only_new;                    /* fail with -EEXIST when `to` exists, where the store can */
    const char *onto;                 /* only onto the object that has this ETag; or NULL */
    bool in_parts;                    /* by parts, however small */
    bool finer;                       /* by parts of half the size; both: for another ETag */
    int64_t *ret_ns;                  /* set on success: the copy's time, or 0; may be NULL */
};
/* -ESTALE: not the source, or not the object to be replaced, that was meant; -ENOTSUP: the store
 * has no such condition, and nothing was done. */
int remote_copy(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
    __attribute__((warn_unused_result));
/*
 * The same in place of whatever is at `to`; `there` is the ETag that it is believed to have, "":
 * nothing is. So a copy whose answer nobody waits for any more changes nothing of what was put
 * there after this one; but where the store has no such conditions.
 *
 * With if_match, and where the store can copy parts: what is there gets another ETag than it had,
 * also if it had the same bytes as the source. So who deletes on condition of an ETag deletes what
 * he has copied, and not what came back meanwhile.
 */
int remote_copy_over(struct fs *fs, const struct copy_what *what, const char *there,
                     char ret_etag[STATE_ETAG_SIZE]) __attribute__((warn_unused_result));
/* It can do harm if it comes late: the store has no such conditions, or not for this size. */
bool remote_copy_is_blind(const struct fs *fs, const struct copy_what *what);
/* Of what is at this key, by a HEAD; "" and -ENOENT: nothing. */
int remote_etag(struct fs *fs, const char *key, char ret_etag[STATE_ETAG_SIZE])
    __attribute__((warn_unused_result));
/* And how many bytes it has. */
int remote_version(struct fs *fs, const char *key, char ret_etag[STATE_ETAG_SIZE],
                   uint64_t *ret_size) __attribute__((warn_unused_result));
int remote_delete(struct fs *fs, const char *key) __attribute__((warn_unused_result));
/*
 * Only what has this ETag; 0 also if something else is there by now, or nothing. Where the store
 * has no such condition it is looked at just before.
 */
int remote_delete_version(struct fs *fs, const char *key, const char *etag)
    __attribute__((warn_unused_result));

#endif
