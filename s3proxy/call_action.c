/* SPDX-License-Identifier: Apache-2.0 */
/* Which of S3's actions a call is. */
#include "s3proxy/call.h"

static const struct {
    enum s3_action get, put, delete;
} documents[OBJSTORE_DOC_COUNT] = {
    [OBJSTORE_DOC_POLICY] = {S3_ACTION_GET_BUCKET_POLICY, S3_ACTION_PUT_BUCKET_POLICY,
                             S3_ACTION_DELETE_BUCKET_POLICY},
    [OBJSTORE_DOC_CORS] = {S3_ACTION_GET_BUCKET_CORS, S3_ACTION_PUT_BUCKET_CORS,
                           S3_ACTION_PUT_BUCKET_CORS},
    [OBJSTORE_DOC_TAGGING] = {S3_ACTION_GET_BUCKET_TAGGING, S3_ACTION_PUT_BUCKET_TAGGING,
                              S3_ACTION_PUT_BUCKET_TAGGING},
    [OBJSTORE_DOC_OWNERSHIP] = {S3_ACTION_GET_BUCKET_OWNERSHIP, S3_ACTION_PUT_BUCKET_OWNERSHIP,
                                S3_ACTION_PUT_BUCKET_OWNERSHIP},
    [OBJSTORE_DOC_VERSIONING] = {S3_ACTION_GET_BUCKET_VERSIONING, S3_ACTION_PUT_BUCKET_VERSIONING,
                                 S3_ACTION_PUT_BUCKET_VERSIONING},
    [OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK] = {S3_ACTION_GET_BUCKET_PUBLIC_ACCESS,
                                          S3_ACTION_PUT_BUCKET_PUBLIC_ACCESS,
                                          S3_ACTION_PUT_BUCKET_PUBLIC_ACCESS},
    [OBJSTORE_DOC_ACCELERATE] = {S3_ACTION_GET_ACCELERATE, S3_ACTION_PUT_ACCELERATE,
                                 S3_ACTION_PUT_ACCELERATE},
    [OBJSTORE_DOC_ENCRYPTION] = {S3_ACTION_GET_ENCRYPTION, S3_ACTION_PUT_ENCRYPTION,
                                 S3_ACTION_PUT_ENCRYPTION},
    [OBJSTORE_DOC_LIFECYCLE] = {S3_ACTION_GET_LIFECYCLE, S3_ACTION_PUT_LIFECYCLE,
                                S3_ACTION_PUT_LIFECYCLE},
    [OBJSTORE_DOC_LOGGING] = {S3_ACTION_GET_BUCKET_LOGGING, S3_ACTION_PUT_BUCKET_LOGGING,
                              S3_ACTION_PUT_BUCKET_LOGGING},
    [OBJSTORE_DOC_NOTIFICATION] = {S3_ACTION_GET_BUCKET_NOTIFICATION,
                                   S3_ACTION_PUT_BUCKET_NOTIFICATION,
                                   S3_ACTION_PUT_BUCKET_NOTIFICATION},
    [OBJSTORE_DOC_OBJECT_LOCK] = {S3_ACTION_GET_BUCKET_OBJECT_LOCK,
                                  S3_ACTION_PUT_BUCKET_OBJECT_LOCK,
                                  S3_ACTION_PUT_BUCKET_OBJECT_LOCK},
    [OBJSTORE_DOC_REPLICATION] = {S3_ACTION_GET_REPLICATION, S3_ACTION_PUT_REPLICATION,
                                  S3_ACTION_PUT_REPLICATION},
    [OBJSTORE_DOC_REQUEST_PAYMENT] = {S3_ACTION_GET_BUCKET_REQUEST_PAYMENT,
                                      S3_ACTION_PUT_BUCKET_REQUEST_PAYMENT,
                                      S3_ACTION_PUT_BUCKET_REQUEST_PAYMENT},
    [OBJSTORE_DOC_WEBSITE] = {S3_ACTION_GET_BUCKET_WEBSITE, S3_ACTION_PUT_BUCKET_WEBSITE,
                              S3_ACTION_DELETE_BUCKET_WEBSITE},
};

static enum s3_action on_bucket(struct call *call)
{
    enum objstore_doc doc = call->op.doc;

    switch (call->op.op) {
    case OBJSTORE_BUCKET_CREATE:
        return S3_ACTION_CREATE_BUCKET;
    case OBJSTORE_BUCKET_DELETE:
        return S3_ACTION_DELETE_BUCKET;
    case OBJSTORE_BUCKET_HEAD:
        if (call_has(call, "acl")) {
            return call->writes ? S3_ACTION_PUT_BUCKET_ACL : S3_ACTION_GET_BUCKET_ACL;
        }
        return !call->head && call_has(call, "location") ? S3_ACTION_GET_BUCKET_LOCATION
                                                         : S3_ACTION_LIST_BUCKET;
    case OBJSTORE_LIST:
        return S3_ACTION_LIST_BUCKET;
    case OBJSTORE_LIST_VERSIONS:
        return S3_ACTION_LIST_BUCKET_VERSIONS;
    case OBJSTORE_UPLOAD_LIST:
        return S3_ACTION_LIST_BUCKET_UPLOADS;
    case OBJSTORE_BUCKET_DOC_GET:
        return call_has(call, "policyStatus") ? S3_ACTION_GET_BUCKET_POLICY_STATUS
                                              : documents[doc].get;
    case OBJSTORE_BUCKET_DOC_PUT:
        return documents[doc].put;
    case OBJSTORE_BUCKET_DOC_DELETE:
        return documents[doc].delete;
    default:
        return S3_ACTION_COUNT;
    }
}

static enum s3_action of_version(const struct call *call, enum s3_action plain,
                                 enum s3_action version)
{
    return call->op.version_id != NULL ? version : plain;
}

enum s3_action call_action(struct call *call)
{
    if (call->told_action != 0) {
        return (enum s3_action)(call->told_action - 1);
    }
    if (call->op.key == NULL || call->target.key[0] == '\0') {
        return on_bucket(call);
    }
    switch (call->op.op) {
    case OBJSTORE_HEAD:
        if (call_has(call, "acl")) {
            return call->writes
                       ? of_version(call, S3_ACTION_PUT_OBJECT_ACL, S3_ACTION_PUT_VERSION_ACL)
                       : of_version(call, S3_ACTION_GET_OBJECT_ACL, S3_ACTION_GET_VERSION_ACL);
        }
        return of_version(call, S3_ACTION_GET_OBJECT, S3_ACTION_GET_VERSION);
    case OBJSTORE_GET:
        return of_version(call, S3_ACTION_GET_OBJECT, S3_ACTION_GET_VERSION);
    case OBJSTORE_DELETE:
        return of_version(call, S3_ACTION_DELETE_OBJECT, S3_ACTION_DELETE_VERSION);
    case OBJSTORE_TAGS_GET:
        return of_version(call, S3_ACTION_GET_OBJECT_TAGGING, S3_ACTION_GET_VERSION_TAGGING);
    case OBJSTORE_TAGS_PUT:
        return of_version(call, S3_ACTION_PUT_OBJECT_TAGGING, S3_ACTION_PUT_VERSION_TAGGING);
    case OBJSTORE_TAGS_DELETE:
        return of_version(call, S3_ACTION_DELETE_OBJECT_TAGGING, S3_ACTION_DELETE_VERSION_TAGGING);
    case OBJSTORE_PUT:
    case OBJSTORE_COPY:
    case OBJSTORE_UPLOAD_CREATE:
    case OBJSTORE_UPLOAD_PART:
    case OBJSTORE_UPLOAD_PART_COPY:
    case OBJSTORE_UPLOAD_COMPLETE:
        return S3_ACTION_PUT_OBJECT;
    case OBJSTORE_UPLOAD_ABORT:
        return S3_ACTION_ABORT_UPLOAD;
    case OBJSTORE_UPLOAD_LIST_PARTS:
        return S3_ACTION_LIST_PARTS;
    default:
        return S3_ACTION_COUNT;
    }
}
