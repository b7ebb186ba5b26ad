/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct entry {
    const char *name;
    const char *message;
    int status;
    int error;
} table[S3_CODE_COUNT] = {
    [S3_OK] = {"", "", 200, 0},
    [S3_ACCESS_DENIED] = {"AccessDenied", "Access Denied", 403, -EACCES},
    [S3_ACCESS_FORBIDDEN] =
        {"AccessForbidden",
         "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
         "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers "
         "are not whitelisted by the resource's CORS spec.",
         403, -EACCES},
    [S3_ACCOUNT_PROBLEM] = {"AccountProblem", "There is a problem with the account", 403, -EACCES},
    [S3_ACL_NOT_SUPPORTED] = {"AccessControlListNotSupported", "The bucket does not allow ACLs",
                              400, -EINVAL},
    [S3_AUTHORIZATION_HEADER_MALFORMED] = {"AuthorizationHeaderMalformed",
                                           "The authorization header is malformed", 400, -EACCES},
    [S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR] =
        {"AuthorizationQueryParametersError",
         "The query parameters of the presigned URL are malformed", 400, -EACCES},
    [S3_BAD_DIGEST] = {"BadDigest", "The checksum or Content-MD5 does not match the body", 400,
                       -EBADMSG},
    [S3_BAD_REQUEST] = {"BadRequest", "The request is not understood", 400, -EINVAL},
    [S3_BUCKET_ALREADY_EXISTS] = {"BucketAlreadyExists",
                                  "The bucket name is taken by somebody else", 409, -EEXIST},
    [S3_BUCKET_ALREADY_OWNED_BY_YOU] = {"BucketAlreadyOwnedByYou",
                                        "The bucket exists already and is yours", 409, -EEXIST},
    [S3_BUCKET_NOT_EMPTY] = {"BucketNotEmpty", "The bucket you tried to delete is not empty.", 409,
                             -ENOTEMPTY},
    [S3_CONDITIONAL_REQUEST_CONFLICT] = {"ConditionalRequestConflict",
                                         "Another request on the same key was under way", 409,
                                         -EBUSY},
    [S3_ENTITY_TOO_LARGE] = {"EntityTooLarge",
                             "Your proposed upload exceeds the maximum allowed size", 400, -EFBIG},
    [S3_ENTITY_TOO_SMALL] = {"EntityTooSmall",
                             "Your proposed upload is smaller than the minimum allowed size", 400,
                             -EINVAL},
    [S3_EXPIRED_TOKEN] = {"ExpiredToken", "The credentials have expired", 400, -EKEYEXPIRED},
    [S3_ILLEGAL_LOCATION_CONSTRAINT] = {"IllegalLocationConstraintException",
                                        "The region is not the one of this endpoint", 400, -EINVAL},
    [S3_ILLEGAL_VERSIONING_CONFIGURATION] = {"IllegalVersioningConfigurationException",
                                             "The versioning configuration is not valid", 400,
                                             -EINVAL},
    [S3_INCOMPLETE_BODY] = {"IncompleteBody", "The body is shorter than announced", 400, -EBADMSG},
    [S3_INTERNAL_ERROR] = {"InternalError", "An internal error happened, please try again", 500,
                           -EIO},
    [S3_INVALID_ACCESS_KEY_ID] =
        {"InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
         403, -EACCES},
    [S3_INVALID_ARGUMENT] = {"InvalidArgument", "Invalid argument", 400, -EINVAL},
    [S3_INVALID_BUCKET_ACL] =
        {"InvalidBucketAclWithObjectOwnership",
         "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting", 400,
         -EINVAL},
    [S3_INVALID_BUCKET_STATE] = {"InvalidBucketState",
                                 "The request is not valid for the current state of the bucket.",
                                 409, -EINVAL},
    [S3_INVALID_BUCKET_NAME] = {"InvalidBucketName", "The specified bucket is not valid.", 400,
                                -EINVAL},
    [S3_INVALID_CHUNK_SIZE] = {"InvalidChunkSizeError", "A chunk of the body is malformed", 400,
                               -EBADMSG},
    [S3_INVALID_DIGEST] = {"InvalidDigest", "The Content-Md5 you specified is not valid.", 400,
                           -EINVAL},
    [S3_INVALID_LOCATION_CONSTRAINT] = {"InvalidLocationConstraint",
                                        "The specified location-constraint is not valid", 400,
                                        -EINVAL},
    [S3_INVALID_OBJECT_STATE] = {"InvalidObjectState", "The object is in an archive storage class",
                                 403, -EPERM},
    [S3_INVALID_PART] =
        {"InvalidPart",
         "One or more of the specified parts could not be found.  The part may "
         "not have been uploaded, or the specified entity tag may not match the part's entity tag.",
         400, -EINVAL},
    [S3_INVALID_PART_NUMBER] = {"InvalidPartNumber", "The requested partnumber is not satisfiable",
                                416, -ERANGE},
    [S3_INVALID_PART_ORDER] =
        {"InvalidPartOrder",
         "The list of parts was not in ascending order. Parts must be ordered by "
         "part number.",
         400, -EINVAL},
    [S3_INVALID_POLICY_DOCUMENT] =
        {"InvalidPolicyDocument",
         "The content of the form does not meet the conditions specified in the policy document.",
         400, -EINVAL},
    [S3_INVALID_RANGE] = {"InvalidRange", "The requested range is not satisfiable", 416, -ERANGE},
    [S3_INVALID_REQUEST] = {"InvalidRequest", "The request is not valid", 400, -EINVAL},
    [S3_INVALID_STORAGE_CLASS] = {"InvalidStorageClass", "The storage class is not valid", 400,
                                  -EINVAL},
    [S3_INVALID_TAG] = {"InvalidTag", "A tag is not valid", 400, -EINVAL},
    [S3_INVALID_TOKEN] = {"InvalidToken", "The session token is not valid", 400, -EACCES},
    [S3_INVALID_URI] = {"InvalidURI", "The URI cannot be parsed", 400, -EINVAL},
    [S3_KEY_TOO_LONG] = {"KeyTooLongError", "The key is longer than 1024 bytes", 400, -EINVAL},
    [S3_MALFORMED_ACL] = {"MalformedACLError",
                          "The XML you provided was not well-formed or did not validate against "
                          "our published schema",
                          400, -EINVAL},
    [S3_MALFORMED_POLICY] = {"MalformedPolicy", "The policy is not valid", 400, -EINVAL},
    [S3_MALFORMED_POST] = {"MalformedPOSTRequest",
                           "The body of your POST request is not well-formed multipart/form-data.",
                           400, -EINVAL},
    [S3_MALFORMED_TRAILER] = {"MalformedTrailerError", "The trailer of the body is malformed", 400,
                              -EBADMSG},
    [S3_MALFORMED_XML] = {"MalformedXML",
                          "The XML you provided was not well-formed or did not validate against "
                          "our published schema.",
                          400, -EINVAL},
    [S3_MAX_MESSAGE_LENGTH_EXCEEDED] = {"MaxMessageLengthExceeded", "The request is too large", 400,
                                        -EFBIG},
    [S3_METADATA_TOO_LARGE] = {"MetadataTooLarge",
                               "Your metadata headers exceed the maximum allowed metadata size",
                               400, -EFBIG},
    [S3_METHOD_NOT_ALLOWED] = {"MethodNotAllowed",
                               "The specified method is not allowed against this resource.", 405,
                               -ENOTSUP},
    [S3_MISSING_CONTENT_LENGTH] = {"MissingContentLength",
                                   "You must provide the Content-Length HTTP header.", 411,
                                   -EINVAL},
    [S3_MISSING_SECURITY_HEADER] = {"MissingSecurityHeader", "A required header is missing", 400,
                                    -EINVAL},
    [S3_NO_SUCH_BUCKET] = {"NoSuchBucket", "The specified bucket does not exist.", 404, -ENOENT},
    [S3_NO_SUCH_KEY] = {"NoSuchKey", "The specified key does not exist.", 404, -ENOENT},
    [S3_NO_SUCH_UPLOAD] = {"NoSuchUpload",
                           "The specified multipart upload does not exist. The upload ID may be "
                           "invalid, or the upload may have been aborted or completed.",
                           404, -ENOENT},
    [S3_NO_SUCH_VERSION] = {"NoSuchVersion", "The specified version does not exist.", 404, -ENOENT},
    [S3_NO_SUCH_BUCKET_POLICY] = {"NoSuchBucketPolicy", "The bucket policy does not exist", 404,
                                  -ENODATA},
    [S3_NO_SUCH_CORS_CONFIGURATION] = {"NoSuchCORSConfiguration",
                                       "The CORS configuration does not exist", 404, -ENODATA},
    [S3_NO_SUCH_LIFECYCLE_CONFIGURATION] = {"NoSuchLifecycleConfiguration",
                                            "The lifecycle configuration does not exist", 404,
                                            -ENODATA},
    [S3_NO_SUCH_PUBLIC_ACCESS_BLOCK] = {"NoSuchPublicAccessBlockConfiguration",
                                        "The public access block configuration was not found", 404,
                                        -ENODATA},
    [S3_NO_SUCH_TAG_SET] = {"NoSuchTagSet", "The TagSet does not exist.", 404, -ENODATA},
    [S3_NO_SUCH_WEBSITE_CONFIGURATION] =
        {"NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration",
         404, -ENODATA},
    [S3_OBJECT_LOCK_NOT_FOUND] = {"ObjectLockConfigurationNotFoundError",
                                  "Object Lock configuration does not exist for this bucket", 404,
                                  -ENODATA},
    [S3_OWNERSHIP_CONTROLS_NOT_FOUND] = {"OwnershipControlsNotFoundError",
                                         "The bucket ownership controls were not found.", 404,
                                         -ENODATA},
    [S3_REPLICATION_NOT_FOUND] = {"ReplicationConfigurationNotFoundError",
                                  "The replication configuration was not found", 404, -ENODATA},
    [S3_ENCRYPTION_NOT_FOUND] = {"ServerSideEncryptionConfigurationNotFoundError",
                                 "The server side encryption configuration was not found", 404,
                                 -ENODATA},
    [S3_NOT_IMPLEMENTED] = {"NotImplemented", "This is not implemented", 501, -ENOTSUP},
    [S3_NOT_MODIFIED] = {"NotModified", "Not modified", 304, -EEXIST},
    [S3_OPERATION_ABORTED] = {"OperationAborted",
                              "A conflicting operation is in progress, try again", 409, -EBUSY},
    [S3_PERMANENT_REDIRECT] = {"PermanentRedirect",
                               "The bucket must be addressed at another endpoint", 301,
                               -EHOSTUNREACH},
    [S3_POLICY_TOO_LARGE] = {"PolicyTooLarge", "Policy exceeds the maximum allowed document size.",
                             400, -EFBIG},
    [S3_POST_FIELDS_TOO_LARGE] =
        {"MaxPostPreDataLengthExceededError",
         "Your POST request fields preceding the upload file were too large.", 400, -EFBIG},
    [S3_PRECONDITION_FAILED] = {"PreconditionFailed",
                                "At least one of the pre-conditions you specified did not hold.",
                                412, -ESTALE},
    [S3_QUOTA_EXCEEDED] = {"QuotaExceeded", "The quota is exceeded", 403, -ENOSPC},
    [S3_REQUEST_EXPIRED] = {"AccessDenied", "Request has expired", 403, -EKEYEXPIRED},
    [S3_REQUEST_TIME_TOO_SKEWED] =
        {"RequestTimeTooSkewed",
         "The difference between the request time and the current time is too large", 403, -EACCES},
    [S3_REQUEST_TIMEOUT] = {"RequestTimeout", "The body did not arrive in time", 400, -ETIMEDOUT},
    [S3_SERVICE_UNAVAILABLE] = {"ServiceUnavailable", "The service is unavailable, try again", 503,
                                -EBUSY},
    [S3_SIGNATURE_DOES_NOT_MATCH] = {"SignatureDoesNotMatch",
                                     "The request signature we calculated does not match the one "
                                     "provided: check the secret key "
                                     "and the signing method",
                                     403, -EACCES},
    [S3_SLOW_DOWN] = {"SlowDown", "Please reduce the request rate", 503, -EBUSY},
    [S3_STORAGE_FULL] = {"XStorageFull", "The store is full", 507, -ENOSPC},
    [S3_TEMPORARY_REDIRECT] = {"TemporaryRedirect",
                               "The bucket is being moved, address the endpoint given", 307,
                               -EHOSTUNREACH},
    [S3_TOO_MANY_BUCKETS] = {"TooManyBuckets", "The limit of buckets is reached", 400, -ENOSPC},
    [S3_UNEXPECTED_CONTENT] = {"UnexpectedContent", "This request does not take a body", 400,
                               -EINVAL},
    [S3_UNRESOLVABLE_GRANT] =
        {"UnresolvableGrantByEmailAddress",
         "The e-mail address you provided does not match any account on record.", 400, -EINVAL},
    [S3_XAMZ_CONTENT_SHA256_MISMATCH] = {"XAmzContentSHA256Mismatch",
                                         "x-amz-content-sha256 does not match the body", 400,
                                         -EBADMSG},
};

/* Spellings of other stores, and codes that mean the same as one of ours. */
static const struct {
    const char *name;
    enum s3_code code;
} aliases[] = {
    {"TokenRefreshRequired", S3_EXPIRED_TOKEN},
    {"RequestExpired", S3_REQUEST_EXPIRED},
    {"InvalidSecurity", S3_ACCESS_DENIED},
    {"AllAccessDisabled", S3_ACCESS_DENIED},
    {"Forbidden", S3_ACCESS_DENIED},
    {"ObjectLocked", S3_INVALID_OBJECT_STATE},
    {"Throttling", S3_SLOW_DOWN},
    {"ThrottlingException", S3_SLOW_DOWN},
    {"TooManyRequests", S3_SLOW_DOWN},
    {"RequestLimitExceeded", S3_SLOW_DOWN},
    {"BandwidthLimitExceeded", S3_SLOW_DOWN},
    {"SlowDownRead", S3_SLOW_DOWN},
    {"SlowDownWrite", S3_SLOW_DOWN},
    {"XMinioServerNotInitialized", S3_SERVICE_UNAVAILABLE},
    {"XMinioStorageFull", S3_STORAGE_FULL},
    {"InsufficientStorage", S3_STORAGE_FULL},
    {"XMinioAdminBucketQuotaExceeded", S3_QUOTA_EXCEEDED},
    {"XMinioInvalidObjectName", S3_INVALID_ARGUMENT},
    {"KeyTooLong", S3_KEY_TOO_LONG},
    {"InvalidChunkSize", S3_INVALID_CHUNK_SIZE},
    {"XAmzContentChecksumMismatch", S3_BAD_DIGEST},
    {"InvalidRegion", S3_AUTHORIZATION_HEADER_MALFORMED},
    {"XAdminUserNotFound", S3_INVALID_ACCESS_KEY_ID},
    {"XMinioInvalidResourceName", S3_INVALID_ARGUMENT},
    {"ObjectParentIsFile", S3_INVALID_ARGUMENT},
    {"DirectoryObjectContainsData", S3_INVALID_ARGUMENT},
};

const char *s3_code_name(enum s3_code code)
{
    return table[code].name;
}

int s3_code_status(enum s3_code code)
{
    return table[code].status;
}

const char *s3_code_message(enum s3_code code)
{
    return table[code].message;
}

int s3_code_errno(enum s3_code code)
{
    return table[code].error;
}

enum s3_code s3_code_from_status(int http_status)
{
    static const struct {
        int status;
        enum s3_code code;
    } statuses[] = {
        {301, S3_PERMANENT_REDIRECT},
        {302, S3_TEMPORARY_REDIRECT},
        {304, S3_NOT_MODIFIED},
        {307, S3_TEMPORARY_REDIRECT},
        {308, S3_PERMANENT_REDIRECT},
        {400, S3_BAD_REQUEST},
        {401, S3_ACCESS_DENIED},
        {403, S3_ACCESS_DENIED},
        {404, S3_NO_SUCH_KEY},
        {405, S3_METHOD_NOT_ALLOWED},
        {408, S3_REQUEST_TIMEOUT},
        {409, S3_OPERATION_ABORTED},
        {411, S3_MISSING_CONTENT_LENGTH},
        {412, S3_PRECONDITION_FAILED},
        {413, S3_ENTITY_TOO_LARGE},
        {416, S3_INVALID_RANGE},
        {429, S3_SLOW_DOWN},
        {501, S3_NOT_IMPLEMENTED},
        {502, S3_SERVICE_UNAVAILABLE},
        {503, S3_SERVICE_UNAVAILABLE},
        {504, S3_SERVICE_UNAVAILABLE},
        {507, S3_STORAGE_FULL},
    };

    if (http_status < 300) {
        return S3_OK;
    }
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].status == http_status) {
            return statuses[i].code;
        }
    }
    return http_status >= 400 && http_status < 500 ? S3_BAD_REQUEST : S3_INTERNAL_ERROR;
}

enum s3_code s3_code_from_name(struct slice name, int http_status)
{
    for (int code = S3_OK + 1; name.len > 0 && code < S3_CODE_COUNT; code++) {
        if (slice_eq_str(name, table[code].name)) {
            return (enum s3_code)code;
        }
    }
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (slice_eq_str(name, aliases[i].name)) {
            return aliases[i].code;
        }
    }
    if (name.len > 0 && http_status == 409) {
        return S3_INVALID_REQUEST; /* a conflict with what is there: trying again does not help */
    }
    /* An error element in an answer of 200 (copy, complete) is still an error. */
    return http_status < 300 ? S3_INTERNAL_ERROR : s3_code_from_status(http_status);
}

enum s3_code s3_code_from_errno(int error, bool bucket_op)
{
    switch (error) {
    case 0:
        return S3_OK;
    case -ENOENT:
        return bucket_op ? S3_NO_SUCH_BUCKET : S3_NO_SUCH_KEY;
    case -EEXIST:
        return bucket_op ? S3_BUCKET_ALREADY_OWNED_BY_YOU : S3_PRECONDITION_FAILED;
    case -ESTALE:
        return S3_PRECONDITION_FAILED;
    case -ENOTEMPTY:
        return S3_BUCKET_NOT_EMPTY;
    case -EACCES:
    case -EPERM:
    case -EROFS:
    case -EKEYEXPIRED: /* of the store's own credentials: not the client's token */
        return S3_ACCESS_DENIED;
    case -EBUSY:
        return S3_SLOW_DOWN;
    case -ETIMEDOUT:
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ECONNRESET:
    case -EAGAIN:
        return S3_SERVICE_UNAVAILABLE;
    case -EFBIG:
        return S3_ENTITY_TOO_LARGE;
    case -ENOSPC:
    case -EDQUOT:
        return S3_STORAGE_FULL;
    case -ERANGE:
        return S3_INVALID_RANGE;
    case -EBADMSG:
        return S3_BAD_DIGEST;
    case -ENOTSUP:
        return S3_NOT_IMPLEMENTED;
    case -EINVAL:
        return S3_INVALID_ARGUMENT;
    case -ENAMETOOLONG:
        return S3_KEY_TOO_LONG;
    default:
        return S3_INTERNAL_ERROR;
    }
}

int s3_fault_set(struct s3_fault *fault, enum s3_code code, const char *format, ...)
{
    if (fault != NULL) {
        va_list args;

        fault->code = code;
        fault->detail[0] = '\0';
        va_start(args, format);
        if (vsnprintf(fault->text, sizeof(fault->text), format, args) < 0) {
            fault->text[0] = '\0';
        }
        va_end(args);
    }
    return s3_code_errno(code);
}

int s3_fault_detail(struct s3_fault *fault, const char *name, struct slice value)
{
    size_t used, room;

    if (fault == NULL) {
        return -EINVAL;
    }
    used = strlen(fault->detail);
    room = sizeof(fault->detail) - used;
    if (strlen(name) + 3 < room) {
        used += (size_t)snprintf(fault->detail + used, room, "%s=", name);
        for (size_t i = 0; i < value.len && used + 2 < sizeof(fault->detail); i++) {
            char c = value.data[i];

            if (c < ' ' || c > '~') {
                c = '?';
            }
            fault->detail[used++] = c;
        }
        fault->detail[used++] = '\n';
        fault->detail[used] = '\0';
    }
    return s3_code_errno(fault->code);
}

int s3_fault_argument(struct s3_fault *fault, const char *name, struct slice value,
                      const char *text)
{
    (void)s3_fault_set(fault, S3_INVALID_ARGUMENT, "%s", text);
    (void)s3_fault_detail(fault, "ArgumentName", slice_of(name));
    (void)s3_fault_detail(fault, "ArgumentValue", value);
    return s3_code_errno(S3_INVALID_ARGUMENT);
}

const char *s3_fault_text(const struct s3_fault *fault)
{
    return fault->text[0] != '\0' ? fault->text : s3_code_message(fault->code);
}
