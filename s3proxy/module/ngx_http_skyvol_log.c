/* SPDX-License-Identifier: Apache-2.0 */
/* What nginx's log says of a request, and a request's name on every reply. */
#include "s3/names.h"
#include "s3proxy/module/ngx_http_skyvol.h"
#include "util/cleanup.h"

static ngx_http_output_header_filter_pt next_header_filter;

/* ---- variables of the log ---- */

/* Bytes of the character that the text begins with; 0: none. */
static size_t character(struct slice text)
{
    unsigned char first = (unsigned char)text.data[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    return len <= text.len && s3_utf8_valid((struct slice){text.data, len}) ? len : 0;
}

/* What is no UTF-8 would break the line: it becomes '?'. */
static ngx_int_t set(ngx_http_request_t *http, ngx_http_variable_value_t *value, struct slice text)
{
    u_char *copy = ngx_pnalloc(http->pool, text.len + 1);
    size_t i = 0;

    if (copy == NULL) {
        return NGX_ERROR;
    }
    while (i < text.len && (unsigned char)text.data[i] < 0x80) { /* as nearly always */
        copy[i] = (u_char)text.data[i];
        i++;
    }
    while (i < text.len) {
        size_t n = character((struct slice){text.data + i, text.len - i});

        if (n == 0) {
            copy[i++] = '?';
        } else {
            memcpy(copy + i, text.data + i, n);
            i += n;
        }
    }
    value->data = copy;
    value->len = text.len & 0xfffffff; /* a head has less */
    value->valid = 1;
    value->no_cacheable = 0;
    value->not_found = 0;
    return NGX_OK;
}

/* The request's target as it came, without its query, in ASCII. */
static ngx_int_t path_variable(ngx_http_request_t *http, ngx_http_variable_value_t *value,
                               uintptr_t data)
{
    const ngx_str_t *uri = &http->unparsed_uri;
    const u_char *mark = uri->len > 0 ? memchr(uri->data, '?', uri->len) : NULL;
    size_t len = mark != NULL ? (size_t)(mark - uri->data) : uri->len;
    CLEANUP(buf_done) struct buf text = BUF_INIT(3 * len + 1);
    size_t run = 0;

    (void)data;
    for (size_t i = 0; i < len; i++) {
        if (uri->data[i] <= ' ' || uri->data[i] >= 0x7f || uri->data[i] == '"' ||
            uri->data[i] == '\\') {
            buf_add(&text, uri->data + run, i - run);
            buf_addf(&text, "%%%02X", uri->data[i]);
            run = i + 1;
        }
    }
    if (run == 0) { /* nothing is to be escaped */
        return set(http, value, (struct slice){(const char *)uri->data, len});
    }
    buf_add(&text, uri->data + run, len - run);
    return set(http, value, (struct slice){buf_str(&text), buf_len(&text)});
}

enum what { KEY_ID, OPERATION, BUCKET, OBJECT, ERROR, STORE_SECONDS };

static struct slice text_of(const struct skyvol_request *request, enum what what, char *room,
                            size_t size)
{
    const struct call *call = request->call;
    u_char *end;

    switch (what) {
    case KEY_ID:
        return slice_of(call->known ? call->key_id : "");
    case OPERATION:
        return slice_of(counters_operation(call->operation));
    case BUCKET:
        return slice_of(call->target.bucket);
    case OBJECT:
        return slice_of(call->target.key);
    case ERROR:
        return slice_of(s3_code_name(call_error(request->call)));
    default:
        end = ngx_snprintf((u_char *)room, size, "%uL.%06uL", request->store_us / 1000000,
                           request->store_us % 1000000);
        return (struct slice){room, (size_t)((char *)end - room)};
    }
}

static ngx_int_t request_variable(ngx_http_request_t *http, ngx_http_variable_value_t *value,
                                  uintptr_t data)
{
    const struct skyvol_request *request = ngx_http_get_module_ctx(http, ngx_http_skyvol_module);
    char room[32];

    if (request != NULL) {
        return set(http, value, text_of(request, (enum what)data, room, sizeof(room)));
    }
    switch ((enum what)data) {
    case OPERATION:
        return set(http, value, slice_of(counters_operation(-1)));
    case ERROR:
        return set(http, value,
                   slice_of(http->err_status != 0
                                ? s3_code_name(skyvol_code_of_status(http->err_status))
                                : ""));
    case STORE_SECONDS:
        return set(http, value, slice_of("0.000000"));
    default:
        return set(http, value, slice_of(""));
    }
}

/* As ngx_string() would be, see the module's NAME(). */
static const struct {
    const char *name;
    ngx_http_get_variable_pt get;
    uintptr_t data;
} variables[] = {
    {"skyvol_path", path_variable, 0},
    {"skyvol_key_id", request_variable, KEY_ID},
    {"skyvol_operation", request_variable, OPERATION},
    {"skyvol_bucket", request_variable, BUCKET},
    {"skyvol_object", request_variable, OBJECT},
    {"skyvol_error", request_variable, ERROR},
    {"skyvol_store_seconds", request_variable, STORE_SECONDS},
};

ngx_int_t skyvol_log_variables(ngx_conf_t *cf)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        size_t len = strlen(variables[i].name);
        ngx_str_t name = {len, ngx_pnalloc(cf->pool, len + 1)};
        ngx_http_variable_t *variable;

        if (name.data == NULL) {
            return NGX_ERROR;
        }
        memcpy(name.data, variables[i].name, len + 1);
        variable = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
        if (variable == NULL) {
            return NGX_ERROR;
        }
        variable->get_handler = variables[i].get;
        variable->data = variables[i].data;
    }
    return NGX_OK;
}

/* ---- the name of a request ---- */

static bool named(const ngx_http_request_t *http)
{
    static const char name[] = "x-amz-request-id";

    for (const ngx_list_part_t *p = &http->headers_out.headers.part; p != NULL; p = p->next) {
        const ngx_table_elt_t *elements = p->elts;

        for (size_t i = 0; i < p->nelts; i++) {
            if (elements[i].hash != 0 && elements[i].key.len == sizeof(name) - 1 &&
                memcmp(elements[i].key.data, name, sizeof(name) - 1) == 0) {
                return true;
            }
        }
    }
    return false;
}

static ngx_int_t name_request(ngx_http_request_t *http)
{
    char id[RANDOM_ID_SIZE];

    if (http == http->main && !named(http)) {
        random_id(id);
        if (skyvol_add_header(http, "x-amz-request-id", id) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return next_header_filter(http);
}

ngx_int_t skyvol_log_filter(ngx_conf_t *cf)
{
    (void)cf;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = name_request;
    return NGX_OK;
}
