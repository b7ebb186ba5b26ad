/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What AWS tells of an error beside its sentence. Of a signature that does not fit that is how the
 * request was read, which whoever sent it may know, and nothing of what it should have been.
 */
#include <string.h>

#include "s3/sign_v2.h"
#include "s3/xml.h"
#include "s3proxy/call.h"

enum { TEXT_MAX = 16 * 1024 };

/* Whether it can stand in XML as it is: a client that cannot read the document does not see its
 * code. */
static bool is_text(const char *text)
{
    return s3_utf8_valid(slice_of(text)) && s3_xml_can_write(text);
}

const char *reply_text(const char *text)
{
    return text != NULL && is_text(text) ? text : NULL;
}

/* NULL: it is no text. */
static const char *kept(struct call *call, const struct buf *text)
{
    return buf_error(text) == 0 && strlen(buf_str(text)) == buf_len(text) && is_text(buf_str(text))
               ? arena_strndup(&call->arena, buf_str(text), buf_len(text))
               : NULL;
}

static void explain_v4(struct call *call, struct s3_xml_error *error)
{
    const struct s3_auth *auth = call->auth;
    struct buf canonical = BUF_INIT(TEXT_MAX), text = BUF_INIT(TEXT_MAX);
    char scope[S3_SCOPE_SIZE];

    if (s3_scope_format(auth->timestamp, auth->region, "s3", scope) == 0 &&
        s3_canonical_request(&call->message, slice_of(auth->signed_headers_text),
                             auth->payload_hash, auth->kind == S3_AUTH_QUERY, &canonical) == 0 &&
        s3_string_to_sign(auth->timestamp, scope,
                          (struct slice){buf_str(&canonical), buf_len(&canonical)}, &text) == 0) {
        error->string_to_sign = kept(call, &text);
        /* a session token stands in it */
        error->canonical_request = auth->session_token[0] == '\0' ? kept(call, &canonical) : NULL;
    }
    buf_done(&canonical);
    buf_done(&text);
}

static void explain_v2(struct call *call, struct s3_xml_error *error)
{
    struct slice host =
        s3_host_bucket(s3_message_header(&call->message, "host"), call->server->suffixes);
    struct buf text = BUF_INIT(TEXT_MAX);

    if (call->auth->session_token[0] == '\0' &&
        s3_v2_string_to_sign(&call->message, host, call->auth, false, &text) == 0) {
        error->string_to_sign = kept(call, &text);
    }
    buf_done(&text);
}

void reply_details(struct call *call, struct s3_xml_error *error)
{
    const struct s3_auth *auth = call->auth;
    bool shown = auth != NULL && auth->access_key[0] != '\0' && call->form == NULL;

    if (call->form != NULL) {
        call_form_details(call, error);
    }
    if (error->code == S3_INVALID_ACCESS_KEY_ID && shown) {
        error->access_key = reply_text(auth->access_key);
    }
    if (error->code != S3_SIGNATURE_DOES_NOT_MATCH || !shown || call->known) {
        return; /* known: it is a chunk's signature */
    }
    error->access_key = auth->access_key;
    error->signature = reply_text(auth->signature);
    if (auth->kind == S3_AUTH_QUERY_V2) {
        explain_v2(call, error);
    } else {
        explain_v4(call, error);
    }
}
