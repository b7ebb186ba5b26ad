/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the two signatures a request has. */
#include "s3/sign_v2.h"
#include "s3proxy/call.h"

int call_presigned(struct call *call, const struct s3_auth_rules *rules, struct s3_fault *fault)
{
    return call->auth->kind == S3_AUTH_QUERY_V2
               ? s3_v2_parse(&call->message, rules, &call->arena, call->auth, fault)
               : 0;
}

int call_verify(struct call *call, const char *secret, struct s3_fault *fault)
{
    struct slice host =
        s3_host_bucket(s3_message_header(&call->message, "host"), call->server->suffixes);

    return call->auth->kind == S3_AUTH_QUERY_V2
               ? s3_v2_verify(&call->message, host, call->auth, secret, fault)
               : s3_auth_verify(&call->message, call->auth, &call->key, fault);
}
