/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/shared.h"

#include <errno.h>
#include <string.h>

#include "mounter/fs.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/random.h"

enum { CALL_MS = 3000 };

int shared_report(struct fs *fs, struct shared *shared, const struct shared_bytes *own,
                  struct shared_bytes *ret, bool *ret_new)
{
    Skyvol__Meta__V1__ReportUsageRequest in = SKYVOL__META__V1__REPORT_USAGE_REQUEST__INIT;
    const Skyvol__Meta__V1__ReportUsageResponse *out;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    int r;

    if (fs->managed == NULL || managed_exclusive(fs->managed)) {
        return -ENOTSUP;
    }
    r = managed_session(fs->managed, 0, &session);
    if (r != 0) {
        return r;
    }
    *ret_new = strcmp(session.id, shared->session) != 0;
    if (*ret_new) {
        memcpy(shared->session, session.id, sizeof(shared->session));
        shared->grown_before = own->grown;
    }
    if (shared->instance == 0) {
        random_bytes(&shared->instance, sizeof(shared->instance));
    }
    in.instance = shared->instance;
    in.session_id = session.id;
    in.epoch = session.epoch;
    in.grown_bytes = own->grown - shared->grown_before;
    in.unpublished_bytes = own->unpublished;
    r = managed_call(fs->managed,
                     &(struct managed_request){.service = &skyvol__meta__v1__leases__descriptor,
                                               .method = "ReportUsage",
                                               .message = &in.base,
                                               .timeout_ms = CALL_MS},
                     &reply, NULL);
    out = (const void *)reply;
    if (r == 0) {
        *ret = (struct shared_bytes){out->others_grown_bytes, out->others_unpublished_bytes};
    }
    rpc_message_free(reply);
    return r;
}
