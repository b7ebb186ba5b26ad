/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - attributes of a managed volume's files from the metaserver, to save a HEAD for each.
 *
 * The truth is in the object's metadata. What this mount publishes, or has learnt by a HEAD, is
 * told to the metaserver in the background, in batches; a listing's files are asked for a thousand
 * at a time. An answer counts if it is of the listed ETag and of the listed time: an ETag alone may
 * be the same after a chmod. What a PUT's answer has told is not the exact time of the object, so
 * two seconds of difference are allowed there: attributes that are changed past us, within two
 * seconds of our publication and without changing the bytes, are seen when the file is changed
 * next. What does not fit, or is not known, is asked of the store as ever; nothing waits for the
 * metaserver but a lookup that would have to wait for the store.
 *
 * Lock order: fs->lock, then facts->lock.
 */
#ifndef MOUNTER_FACTS_H
#define MOUNTER_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "mounter/attr/attr.h"
#include "util/error.h"

struct facts;
struct fs;
struct remote;

int facts_new(struct fs *fs, struct facts **ret, struct error *err)
    __attribute__((warn_unused_result));
/* What is not told yet is told, in two seconds at most. NULL is allowed. */
void facts_stop(struct facts *facts);
void facts_free(struct facts *facts); /* after it; NULL is allowed */

/* The object under `key` now has these attributes. Any thread, fs->lock or not. `facts` may be
 * NULL.
 */
struct facts_told {
    const char *key, *etag;
    const struct attr *attr; /* all of it counts, or with `partly` what it has */
    bool partly;
    const char *target;  /* of a symbolic link */
    int64_t modified_ns; /* as the store has it; 0: not known, then nothing is told */
    bool exact;
};
void facts_tell(struct facts *facts, const struct facts_told *what);
/* What a HEAD has said. */
void facts_learn(struct facts *facts, const char *key, const struct remote *remote);
/* The object has gone. */
void facts_forget(struct facts *facts, const char *key);

/*
 * The attributes of `name` in a directory and of what follows in its listing, as far as they are
 * known. Waits. 0: `name` is among them; -EAGAIN: ask the store.
 */
int facts_prefetch(struct fs *fs, uint32_t dir, const char *name)
    __attribute__((warn_unused_result));

/* ---- for tests: the form in which they are kept ---- */
enum { FACTS_PACKED_MAX = 4096 };
struct facts_packed {
    struct attr attr; /* xattr and target point into the bytes' copy */
    const char *target;
    int64_t modified_ns;
    bool exact;
};
/* Bytes written, or 0: it does not fit. */
size_t facts_pack(const struct facts_told *what, unsigned char ret[FACTS_PACKED_MAX]);
/* `copy`: FACTS_PACKED_MAX + 2 bytes that *ret may point into. False: not ours, or damaged. */
bool facts_unpack(const void *data, size_t len, char *copy, struct facts_packed *ret);
/* Are they of an object that was listed with this time? */
bool facts_match(const struct facts_packed *packed, int64_t listed_ns);

#endif
