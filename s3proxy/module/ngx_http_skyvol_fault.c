/* SPDX-License-Identifier: Apache-2.0 */
/* What nginx refuses by itself, told as S3 tells it. */
#include "s3proxy/module/ngx_http_skyvol.h"

enum s3_code skyvol_code_of_status(ngx_uint_t status)
{
    switch (status) {
    case NGX_HTTP_BAD_REQUEST:
    case NGX_HTTP_REQUEST_HEADER_TOO_LARGE:
        return S3_BAD_REQUEST;
    case NGX_HTTP_NOT_ALLOWED:
        return S3_METHOD_NOT_ALLOWED;
    case NGX_HTTP_REQUEST_TIME_OUT:
        return S3_REQUEST_TIMEOUT;
    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return S3_ENTITY_TOO_LARGE;
    case NGX_HTTP_REQUEST_URI_TOO_LARGE:
        return S3_INVALID_URI;
    case NGX_HTTP_NOT_IMPLEMENTED:
        return S3_NOT_IMPLEMENTED;
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return S3_SERVICE_UNAVAILABLE;
    default:
        return status < 500 ? S3_BAD_REQUEST : S3_INTERNAL_ERROR;
    }
}

static void fault_ends(void *data)
{
    const ngx_http_request_t *http = data;
    const struct counters_request count = {
        .operation = -1,
        .status = (int)http->headers_out.status,
        .received = (uint64_t)http->request_length,
        .sent = (uint64_t)http->connection->sent,
    };

    counters_count(skyvol_worker.counters, &count);
}

/* One that we began was counted by us already, or will be. */
static void count_fault(ngx_http_request_t *http)
{
    ngx_pool_cleanup_t *cleanup;

    if (skyvol_is_counted(http)) {
        return;
    }
    cleanup = ngx_pool_cleanup_add(http->pool, 0);
    if (cleanup != NULL) {
        cleanup->handler = fault_ends;
        cleanup->data = http;
    }
}

ngx_int_t skyvol_fault_handler(ngx_http_request_t *http)
{
    static u_char type[] = "application/xml";
    struct buf text = BUF_INIT(4096);
    char id[RANDOM_ID_SIZE];
    struct s3_xml_error error = {.code = skyvol_code_of_status(http->err_status), .request_id = id};
    ngx_buf_t *b;
    ngx_chain_t link = {0};
    ngx_int_t rc;

    if (http->err_status == 0) {
        return skyvol_handler(http); /* a client asked for this very path */
    }
    if (http->http_connection->ssl && http->connection->ssl == NULL) {
        error.message = "This port speaks https, the request came in plain HTTP";
    }
    count_fault(http);
    random_id(id);
    s3_xml_error(&text, &error);
    b = ngx_create_temp_buf(http->pool, buf_len(&text) + 1);
    if (b == NULL || skyvol_add_header(http, "x-amz-request-id", id) != NGX_OK) {
        buf_done(&text);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    b->last = ngx_cpymem(b->pos, buf_str(&text), buf_len(&text));
    b->last_buf = 1;
    link.buf = b;
    http->headers_out.status = (ngx_uint_t)http->err_status;
    http->headers_out.content_length_n = (off_t)buf_len(&text);
    http->headers_out.content_type = (ngx_str_t){sizeof(type) - 1, type};
    http->headers_out.content_type_len = sizeof(type) - 1;
    buf_done(&text);
    rc = ngx_http_send_header(http);
    return rc == NGX_ERROR || rc > NGX_OK || http->header_only
               ? rc
               : ngx_http_output_filter(http, &link);
}
