/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint of temporary credentials: nginx's side of s3proxy/identity.h. */
#include "s3proxy/identity.h"

#include "s3proxy/module/ngx_http_skyvol.h"

enum { BODY_MAX = 4096 };

static struct slice value_of(const ngx_table_elt_t *header)
{
    return header != NULL ? (struct slice){(const char *)header->value.data, header->value.len}
                          : (struct slice){NULL, 0};
}

static ngx_int_t send_answer(ngx_http_request_t *http, int status, const struct buf *body)
{
    static u_char type[] = "application/json", name[] = "Cache-Control", value[] = "no-store";
    ngx_table_elt_t *header = ngx_list_push(&http->headers_out.headers);
    ngx_buf_t *b = ngx_create_temp_buf(http->pool, buf_len(body) + 1);
    ngx_chain_t link = {.buf = b};
    ngx_int_t rc;

    if (header == NULL || b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    *header = (ngx_table_elt_t){.hash = 1};
    header->key = (ngx_str_t){sizeof(name) - 1, name};
    header->value = (ngx_str_t){sizeof(value) - 1, value};
    b->last = ngx_cpymem(b->pos, buf_str(body), buf_len(body));
    b->last_buf = 1;
    http->headers_out.status = (ngx_uint_t)status;
    http->headers_out.content_length_n = (off_t)buf_len(body);
    http->headers_out.content_type = (ngx_str_t){sizeof(type) - 1, type};
    http->headers_out.content_type_len = sizeof(type) - 1;
    rc = ngx_http_send_header(http);
    return rc == NGX_ERROR || rc > NGX_OK || http->header_only
               ? rc
               : ngx_http_output_filter(http, &link);
}

ngx_int_t skyvol_identity_handler(ngx_http_request_t *http)
{
    const struct identity_request request = {
        .method = {(const char *)http->method_name.data, http->method_name.len},
        .path = {(const char *)http->uri.data, http->uri.len},
        .host = value_of(http->headers_in.host),
        .authorization = value_of(http->headers_in.authorization),
    };
    struct buf body = BUF_INIT(BODY_MAX);
    ngx_int_t rc = ngx_http_discard_request_body(http);
    int status;

    if (rc != NGX_OK) {
        return rc;
    }
    status = identity_answer(&skyvol_worker.identity, &request, &body);
    rc = buf_error(&body) == 0 ? send_answer(http, status, &body) : NGX_HTTP_INTERNAL_SERVER_ERROR;
    buf_wipe(&body);
    return rc;
}
