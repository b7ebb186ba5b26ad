/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - S3's error codes, their HTTP status, and the errno value they mean: one table.
 *
 * A server goes from errno (or a code it chose) to status and code name, a client from name and
 * status to errno. s3_fault carries a code with a sentence out of the parsers of this library:
 *
 *     struct s3_fault fault = S3_FAULT_INIT;
 *     int ret = s3_auth_parse(&message, &rules, &arena, &auth, &fault);
 *     if (ret < 0) { reply(s3_code_status(fault.code), fault.code, fault.text); }
 *
 * No state: safe from any thread.
 */
#ifndef S3_ERROR_H
#define S3_ERROR_H

#include "util/slice.h"

enum s3_code {
    S3_OK = 0,
    S3_ACCESS_DENIED,
    S3_ACCESS_FORBIDDEN,
    S3_ACCOUNT_PROBLEM,
    S3_ACL_NOT_SUPPORTED,
    S3_AUTHORIZATION_HEADER_MALFORMED,
    S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR,
    S3_BAD_DIGEST,
    S3_BAD_REQUEST,
    S3_BUCKET_ALREADY_EXISTS,
    S3_BUCKET_ALREADY_OWNED_BY_YOU,
    S3_BUCKET_NOT_EMPTY,
    S3_CONDITIONAL_REQUEST_CONFLICT,
    S3_ENCRYPTION_NOT_FOUND,
    S3_ENTITY_TOO_LARGE,
    S3_ENTITY_TOO_SMALL,
    S3_EXPIRED_TOKEN,
    S3_ILLEGAL_LOCATION_CONSTRAINT,
    S3_ILLEGAL_VERSIONING_CONFIGURATION,
    S3_INCOMPLETE_BODY,
    S3_INTERNAL_ERROR,
    S3_INVALID_ACCESS_KEY_ID,
    S3_INVALID_ARGUMENT,
    S3_INVALID_BUCKET_ACL,
    S3_INVALID_BUCKET_NAME,
    S3_INVALID_BUCKET_STATE,
    S3_INVALID_CHUNK_SIZE,
    S3_INVALID_DIGEST,
    S3_INVALID_LOCATION_CONSTRAINT,
    S3_INVALID_OBJECT_STATE,
    S3_INVALID_PART,
    S3_INVALID_PART_NUMBER,
    S3_INVALID_PART_ORDER,
    S3_INVALID_POLICY_DOCUMENT,
    S3_INVALID_RANGE,
    S3_INVALID_REQUEST,
    S3_INVALID_STORAGE_CLASS,
    S3_INVALID_TAG,
    S3_INVALID_TOKEN,
    S3_INVALID_URI,
    S3_KEY_TOO_LONG,
    S3_MALFORMED_ACL,
    S3_MALFORMED_POLICY,
    S3_MALFORMED_POST,
    S3_MALFORMED_TRAILER,
    S3_MALFORMED_XML,
    S3_MAX_MESSAGE_LENGTH_EXCEEDED,
    S3_METADATA_TOO_LARGE,
    S3_METHOD_NOT_ALLOWED,
    S3_MISSING_CONTENT_LENGTH,
    S3_MISSING_SECURITY_HEADER,
    S3_NO_SUCH_BUCKET,
    S3_NO_SUCH_KEY,
    S3_NO_SUCH_UPLOAD,
    S3_NO_SUCH_VERSION,
    S3_NOT_IMPLEMENTED,
    S3_NOT_MODIFIED,
    S3_NO_SUCH_BUCKET_POLICY,
    S3_NO_SUCH_CORS_CONFIGURATION,
    S3_NO_SUCH_LIFECYCLE_CONFIGURATION,
    S3_NO_SUCH_PUBLIC_ACCESS_BLOCK,
    S3_NO_SUCH_TAG_SET,
    S3_NO_SUCH_WEBSITE_CONFIGURATION,
    S3_OBJECT_LOCK_NOT_FOUND,
    S3_OPERATION_ABORTED,
    S3_OWNERSHIP_CONTROLS_NOT_FOUND,
    S3_PERMANENT_REDIRECT,
    S3_POLICY_TOO_LARGE,
    S3_POST_FIELDS_TOO_LARGE,
    S3_PRECONDITION_FAILED,
    S3_QUOTA_EXCEEDED,
    S3_REPLICATION_NOT_FOUND,
    S3_REQUEST_EXPIRED,
    S3_REQUEST_TIME_TOO_SKEWED,
    S3_REQUEST_TIMEOUT,
    S3_SERVICE_UNAVAILABLE,
    S3_SIGNATURE_DOES_NOT_MATCH,
    S3_SLOW_DOWN,
    S3_STORAGE_FULL,
    S3_TEMPORARY_REDIRECT,
    S3_TOO_MANY_BUCKETS,
    S3_UNEXPECTED_CONTENT,
    S3_UNRESOLVABLE_GRANT,
    S3_XAMZ_CONTENT_SHA256_MISMATCH,
    S3_CODE_COUNT
};

/* The code as it stands in error XML ("NoSuchKey"), its HTTP status, a default sentence, its errno
 * value (negative). S3_OK: "", 200, "", 0. */
const char *s3_code_name(enum s3_code code);
int s3_code_status(enum s3_code code);
const char *s3_code_message(enum s3_code code);
int s3_code_errno(enum s3_code code);

/* From a name in error XML; other names (also older spellings of other stores) by HTTP status. */
enum s3_code s3_code_from_name(struct slice name, int http_status);

/* From a status alone (HEAD has no body); S3_OK below 300. */
enum s3_code s3_code_from_status(int http_status);

/* What a server answers for an errno value of lib/objstore; `bucket_op`: the name that is missing
 * or in the way is a bucket. */
enum s3_code s3_code_from_errno(int error, bool bucket_op);

/* A code with a sentence for a person; `text` "" stands for the code's default message. */
struct s3_fault {
    enum s3_code code;
    char text[256];
    char detail[256]; /* elements of the error XML, "Name=value\n" each, cut where there is no room
                       */
};

#define S3_FAULT_INIT                                                                              \
    {                                                                                              \
        .code = S3_OK                                                                              \
    }

/* Set both and return s3_code_errno(code). `fault` may be NULL. */
int s3_fault_set(struct s3_fault *fault, enum s3_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *s3_fault_text(const struct s3_fault *fault);

/* Behind s3_fault_set(), which forgets them: one more element, as AWS has it. Returns as that did.
 */
int s3_fault_detail(struct s3_fault *fault, const char *name, struct slice value);
/* S3_INVALID_ARGUMENT with its two elements. The value goes back to whoever sent it. */
int s3_fault_argument(struct s3_fault *fault, const char *name, struct slice value,
                      const char *text);

#endif
