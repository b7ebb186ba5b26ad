/* SPDX-License-Identifier: Apache-2.0 */
/* What nginx's log says of a request, and a request's name on every reply. */
#include "s3/names.h"
#include "s3proxy/module/ngx_http_skyvol.h"

#define NAMED(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static ngx_http_output_header_filter_pt next_header_filter;

/* ---- the name of a request ---- */

static const ngx_table_elt_t *name_of(const ngx_http_request_t *http)
{
    static const char name[] = "x-amz-request-id";

    for (const ngx_list_part_t *p = &http->headers_out.headers.part; p != NULL; p = p->next) {
        const ngx_table_elt_t *elements = p->elts;

        for (size_t i = 0; i < p->nelts; i++) {
            if (elements[i].hash != 0 && elements[i].key.len == sizeof(name) - 1 &&
                memcmp(elements[i].key.data, name, sizeof(name) - 1) == 0) {
                return &elements[i];
            }
        }
    }
    return NULL;
}

/* ---- variables of the log ---- */

/* Bytes of the character that the text begins with; 0: none. */
static size_t character(struct slice text)
{
    unsigned char first = (unsigned char)text.data[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    return len <= text.len && s3_utf8_valid((struct slice){text.data, len}) ? len : 0;
}

static void set(ngx_http_variable_value_t *value, u_char *text, size_t len)
{
    value->data = text;
    value->len = len & 0xfffffff; /* a head has less */
    value->valid = 1;
    value->no_cacheable = 0;
    value->not_found = 0;
}

static bool is_plain(u_char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* The request's target as it came, without its query, in ASCII. */
static ngx_int_t path_variable(ngx_http_request_t *http, ngx_http_variable_value_t *value,
                               uintptr_t data)
{
    static const u_char digits[] = "0123456789ABCDEF";
    const ngx_str_t *uri = &http->unparsed_uri;
    const u_char *mark = uri->len > 0 ? memchr(uri->data, '?', uri->len) : NULL;
    size_t len = mark != NULL ? (size_t)(mark - uri->data) : uri->len;
    size_t escaped = 0;
    u_char *copy, *at;

    (void)data;
    for (size_t i = 0; i < len; i++) {
        escaped += is_plain(uri->data[i]) ? 0 : 1;
    }
    if (escaped == 0) {
        set(value, uri->data, len);
        return NGX_OK;
    }
    copy = at = ngx_pnalloc(http->pool, len + 2 * escaped);
    if (copy == NULL) {
        return NGX_ERROR;
    }
    for (size_t i = 0; i < len; i++) {
        if (is_plain(uri->data[i])) {
            *at++ = uri->data[i];
        } else {
            *at++ = '%';
            *at++ = digits[uri->data[i] >> 4];
            *at++ = digits[uri->data[i] & 15];
        }
    }
    set(value, copy, (size_t)(at - copy));
    return NGX_OK;
}

/* ---- what the module knows of a request, as the end of a JSON object ---- */

enum { FIELDS = 6, ESCAPED_MAX = 6 };

/* ESCAPED_MAX bytes at most for each. What is no UTF-8 would break the line: it becomes '?'. */
static u_char *put_text(u_char *at, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        u_char c = (u_char)text.data[i];

        if (c >= 0x80) {
            size_t n = character((struct slice){text.data + i, text.len - i});

            at = n == 0 ? ngx_cpymem(at, "?", 1) : ngx_cpymem(at, text.data + i, n);
            i += n == 0 ? 0 : n - 1;
        } else if (c >= ' ' && c != '"' && c != '\\') {
            *at++ = c;
        } else {
            (void)ngx_escape_json(at, &c, 1);
            at += 1 + ngx_escape_json(NULL, &c, 1); /* so many more */
        }
    }
    return at;
}

static u_char *put_seconds(u_char *at, uint64_t us)
{
    uint64_t part = us % 1000000;

    at = us < 1000000 ? ngx_cpymem(at, "0", 1) : ngx_sprintf(at, "%uL", us / 1000000);
    *at++ = '.';
    for (uint64_t unit = 100000; unit > 0; unit /= 10) {
        *at++ = (u_char)('0' + part / unit % 10);
    }
    return at;
}

static struct slice request_id(const ngx_http_request_t *http)
{
    const ngx_table_elt_t *header = name_of(http);

    return header != NULL ? (struct slice){(const char *)header->value.data, header->value.len}
                          : (struct slice){"", 0};
}

/* key_id, operation, bucket, key, error, request_id */
static void tell(const ngx_http_request_t *http, const struct skyvol_request *request,
                 struct slice ret[FIELDS])
{
    const struct call *call = request != NULL ? request->call : NULL;

    ret[0] = slice_of(call != NULL && call->known ? call->key_id : "");
    ret[1] = slice_of(counters_operation(call != NULL ? call->operation : -1));
    ret[2] = slice_of(call != NULL ? call->target.bucket : "");
    ret[3] = slice_of(call != NULL ? call->target.key : "");
    ret[4] =
        slice_of(call != NULL            ? s3_code_name(call_error(request->call))
                 : http->err_status != 0 ? s3_code_name(skyvol_code_of_status(http->err_status))
                                         : "");
    ret[5] = request_id(http);
}

/* One variable of all: nginx does the same work for each. */
static ngx_int_t request_variable(ngx_http_request_t *http, ngx_http_variable_value_t *value,
                                  uintptr_t data)
{
    static const struct slice names[FIELDS] = {
        NAMED(",\"key_id\":\""), NAMED("\",\"operation\":\""), NAMED("\",\"bucket\":\""),
        NAMED("\",\"key\":\""),  NAMED("\",\"error\":\""),     NAMED("\",\"request_id\":\""),
    };
    static u_char nothing[] = "\"error\":\"\"";
    static const struct slice begin = NAMED("\"store_seconds\":"), end = NAMED("\"");
    const struct skyvol_request *request = ngx_http_get_module_ctx(http, ngx_http_skyvol_module);
    struct slice texts[FIELDS];
    size_t room = begin.len + NGX_INT64_LEN + sizeof(".000000") + end.len;
    u_char *text, *at;

    (void)data;
    tell(http, request, texts);
    for (size_t i = 0; i < FIELDS; i++) {
        room += names[i].len + ESCAPED_MAX * texts[i].len;
    }
    text = ngx_pnalloc(http->pool, room);
    if (text == NULL) { /* the line is to stay JSON */
        set(value, nothing, sizeof(nothing) - 1);
        return NGX_OK;
    }
    at = ngx_cpymem(text, begin.data, begin.len);
    at = put_seconds(at, request != NULL ? request->store_us : 0);
    for (size_t i = 0; i < FIELDS; i++) {
        at = ngx_cpymem(at, names[i].data, names[i].len);
        at = put_text(at, texts[i]);
    }
    at = ngx_cpymem(at, end.data, end.len);
    set(value, text, (size_t)(at - text));
    return NGX_OK;
}

/* As ngx_string() would be, see the module's NAME(). */
static const struct {
    const char *name;
    ngx_http_get_variable_pt get;
} variables[] = {
    {"skyvol_path", path_variable},
    {"skyvol_request", request_variable},
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
    }
    return NGX_OK;
}

/* ---- every reply has one ---- */

static ngx_int_t name_request(ngx_http_request_t *http)
{
    char id[RANDOM_ID_SIZE];

    if (http == http->main && name_of(http) == NULL) {
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
