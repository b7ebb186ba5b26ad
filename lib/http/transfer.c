/* SPDX-License-Identifier: Apache-2.0 */
#include "http/transfer.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "util/address.h"
#include "util/cleanup.h"
#include "util/clock.h"

enum {
    POSTED_MAX = 64 * 1024, /* libcurl's own: from there on it sends them apart */
    CA_CACHE_S = 300,
};

int transfer_new(struct http_request *request, uint64_t now_ms, struct transfer **ret)
{
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    uint32_t timeout_ms = request->timeout_ms != 0 ? request->timeout_ms : 60000;

    if (transfer == NULL) {
        return -ENOMEM;
    }
    transfer->request = request;
    transfer->head.max = TRANSFER_HEAD_MAX;
    transfer->held.max = TRANSFER_BUFFER_MAX;
    transfer->start_ms = now_ms;
    transfer->progress_ms = now_ms;
    transfer->deadline_ms = now_ms + timeout_ms;
    *ret = transfer;
    return 0;
}

void transfer_free(struct transfer *transfer)
{
    if (transfer != NULL) {
        free(transfer->headers);
        free(transfer->fields);
        buf_done(&transfer->head);
        buf_done(&transfer->held);
        free(transfer);
    }
}

static void progressed(struct transfer *transfer)
{
    transfer->progress_ms = clock_monotonic_ms(clock_real());
}

/* ---- the body that goes out ---- */

static size_t abort_read(struct transfer *transfer, int error)
{
    transfer->callback_error = error;
    return CURL_READFUNC_ABORT;
}

static size_t pause_read(struct transfer *transfer)
{
    transfer->paused = true;
    return CURL_READFUNC_PAUSE;
}

/*
 * The last bytes of the promised size go out only when the source has said that there are no more:
 * a server that got them all would take the body for whole. If the source must be waited for, they
 * are held back here.
 */
static size_t end_of_source(struct transfer *transfer, const char *last, size_t len)
{
    struct http_request *request = transfer->request;
    char byte;
    ssize_t n = request->read(request, &byte, 1);

    if (n == -EAGAIN) {
        if (buf_len(&transfer->held) == 0) {
            buf_add(&transfer->held, last, len);
        }
        return buf_error(&transfer->held) < 0 ? abort_read(transfer, -ENOMEM)
                                              : pause_read(transfer);
    }
    if (n != 0) {
        return abort_read(transfer, n < 0 ? (int)n : -EBADMSG);
    }
    transfer->source_ended = true;
    return len;
}

/* Give what was held back, in as many pieces as libcurl's buffer needs. */
static size_t read_held(struct transfer *transfer, char *buffer, size_t cap)
{
    size_t len = buf_len(&transfer->held) - transfer->held_at;

    if (!transfer->source_ended) {
        size_t verdict = end_of_source(transfer, NULL, len);

        if (verdict != len) {
            return verdict;
        }
    }
    len = len < cap ? len : cap;
    memcpy(buffer, transfer->held.data + transfer->held_at, len);
    transfer->held_at += len;
    transfer->sent += len;
    return len;
}

static size_t on_read(char *buffer, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    struct http_request *request = transfer->request;
    bool known = request->size != HTTP_SIZE_UNKNOWN;
    uint64_t left = known ? request->size - transfer->sent : UINT64_MAX;
    size_t cap = size * count < left ? size * count : (size_t)left;
    size_t given;
    ssize_t n;

    progressed(transfer);
    if (cap == 0) {
        return 0;
    }
    if (request->data != NULL) {
        memcpy(buffer, (const char *)request->data + transfer->sent, cap);
        transfer->sent += cap;
        return cap;
    }
    if (buf_len(&transfer->held) > 0) {
        return read_held(transfer, buffer, cap);
    }
    n = request->read(request, buffer, cap);
    if (n == -EAGAIN) {
        return pause_read(transfer);
    }
    if (n < 0 || (n == 0 && known)) {
        return abort_read(transfer, n < 0 ? (int)n : -EBADMSG);
    }
    given = (size_t)n;
    if (known && transfer->sent + given == request->size) {
        given = end_of_source(transfer, buffer, given);
    }
    if (given == (size_t)n) {
        transfer->sent += given;
    }
    return given;
}

/* libcurl wants to send the body again, from its start: a kept connection turned out to be dead. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *transfer = arg;
    struct http_request *request = transfer->request;

    if (offset != 0 || origin != SEEK_SET || request->once) {
        return CURL_SEEKFUNC_FAIL;
    }
    if (request->data == NULL && transfer->sent > 0 &&
        (request->rewind == NULL || request->rewind(request) < 0)) {
        return CURL_SEEKFUNC_FAIL;
    }
    transfer->sent = 0;
    transfer->held_at = 0;
    transfer->source_ended = false;
    buf_reset(&transfer->held);
    return CURL_SEEKFUNC_OK;
}

/* ---- the answer ---- */

static struct slice trim(struct slice s)
{
    while (s.len > 0 && isspace((unsigned char)s.data[0]) != 0) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.data[s.len - 1]) != 0) {
        s.len--;
    }
    return s;
}

static size_t count_lines(const struct buf *text)
{
    size_t count = 1;

    for (size_t i = 0; i < buf_len(text); i++) {
        count += text->data[i] == '\n';
    }
    return count;
}

/* Split the collected lines; names are made lower case where they stand. */
static int split_head(struct transfer *transfer)
{
    char *line = transfer->head.data;
    char *end = line != NULL ? line + transfer->head.len : NULL;
    size_t most = count_lines(&transfer->head);

    free(transfer->fields);
    transfer->field_count = 0;
    transfer->fields = malloc(most * sizeof(*transfer->fields));
    if (transfer->fields == NULL) {
        return -ENOMEM;
    }
    while (line != NULL && line < end) {
        char *lf = memchr(line, '\n', (size_t)(end - line));
        char *next = lf != NULL ? lf + 1 : end;
        char *colon = memchr(line, ':', (size_t)(next - line));

        if (colon != NULL && memcmp(line, "HTTP/", 5) != 0) {
            for (char *c = line; c < colon; c++) {
                *c = (char)tolower((unsigned char)*c);
            }
            transfer->fields[transfer->field_count++] = (struct http_field){
                .name = {line, (size_t)(colon - line)},
                .value = trim((struct slice){colon + 1, (size_t)(next - colon) - 1})};
        }
        line = next;
    }
    return 0;
}

static int give_head(struct transfer *transfer)
{
    struct http_request *request = transfer->request;
    int error = buf_error(&transfer->head) < 0 ? -EIO : split_head(transfer);

    transfer->head_done = true;
    if (error == 0 && request->head != NULL) {
        struct http_head head = {.status = transfer->http_status,
                                 .fields = transfer->fields,
                                 .count = transfer->field_count};

        error = request->head(request, &head);
    }
    return error;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = size * count;

    progressed(transfer);
    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        long status = 0;

        (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        transfer->http_status = (int)status;
        transfer->head_done = false;
        buf_reset(&transfer->head);
    }
    if (transfer->head_done) {
        return len; /* a trailer of a chunked answer: nobody asks for it */
    }
    buf_add(&transfer->head, data, len);
    if (trim((struct slice){data, len}).len == 0 && transfer->http_status >= 200) {
        transfer->callback_error = give_head(transfer);
    }
    return transfer->callback_error == 0 ? len : 0;
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    struct http_request *request = transfer->request;
    size_t len = size * count;
    int error = 0;

    progressed(transfer);
    if (request->write != NULL) {
        error = request->write(request, data, len);
    }
    if (error == -EAGAIN) {
        transfer->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (error != 0) {
        transfer->callback_error = error;
        return 0;
    }
    transfer->received += len;
    return len;
}

/* ---- the connection ---- */

/*
 * Asked with the very address that is connected to next: what a name resolved to when somebody
 * looked at it earlier would prove nothing.
 */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    const char *refusal = address_refusal(&address->addr);
    struct transfer *transfer = arg;

    (void)purpose;
    if (refusal != NULL) {
        transfer->refusal = refusal;
        (void)getnameinfo(&address->addr, address->addrlen, transfer->refused,
                          sizeof(transfer->refused), NULL, 0, NI_NUMERICHOST);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- setting up ---- */

/*
 * As libcurl takes a header: "name: value"; "name;" goes out without a value, and "name:" keeps
 * libcurl's own header of that name from going.
 */
static size_t write_line(const struct http_header *header, char *out, size_t room)
{
    bool empty = header->value == NULL || header->value[0] == '\0';
    const char *separator = header->value == NULL ? ":" : empty ? ";" : ": ";
    int len = snprintf(out, room, "%s%s%s", header->name, separator, empty ? "" : header->value);

    return (size_t)len + 1;
}

static bool breaks_line(const struct http_header *header)
{
    return strpbrk(header->name, "\r\n") != NULL ||
           (header->value != NULL && strpbrk(header->value, "\r\n") != NULL);
}

static size_t room_of(const struct http_header *header)
{
    return strlen(header->name) + 3 + (header->value != NULL ? strlen(header->value) : 0);
}

/*
 * A small body that lies in memory goes to libcurl as that of a POST, whatever the method is
 * called: these it sends with the head in one write, where what it reads for an upload follows in
 * another.
 */
static bool is_posted(const struct http_request *request)
{
    return request->has_body && request->data != NULL && request->size > 0 &&
           request->size < POSTED_MAX;
}

static bool has_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The list and its lines in one block, as there is one for each request; libcurl only reads it. */
static int set_headers(struct transfer *transfer)
{
    static const struct http_header unwanted[] = {{"Expect", NULL}, {"Content-Type", NULL}};
    const struct http_request *request = transfer->request;
    /* libcurl says that a POST is a form, unless told */
    size_t first = is_posted(request) && !has_header(request, "content-type") ? 2 : 1;
    size_t count = request->header_count + first;
    size_t room = room_of(&unwanted[0]) + room_of(&unwanted[1]);
    struct curl_slist *nodes;
    char *line;

    for (size_t i = 0; i < request->header_count; i++) {
        size_t more = room_of(&request->headers[i]);

        if (more > TRANSFER_HEAD_MAX || breaks_line(&request->headers[i])) {
            return -EINVAL; /* nobody adds headers through a value */
        }
        room += more;
    }
    nodes = malloc(count * sizeof(*nodes) + room);
    if (nodes == NULL) {
        return -ENOMEM;
    }
    transfer->headers = nodes;
    line = (char *)(nodes + count);
    for (size_t i = 0; i < count; i++) {
        size_t len =
            write_line(i < first ? &unwanted[i] : &request->headers[i - first], line, room);

        nodes[i] = (struct curl_slist){line, i + 1 < count ? &nodes[i + 1] : NULL};
        line += len;
        room -= len;
    }
    return 0;
}

/* Called before each sending; the second is of a connection that ended without an answer. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's type */
static int on_send(void *context, char *remote, char *local, int remote_port, int local_port)
{
    struct transfer *transfer = context;

    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    if (transfer->sends++ > 0 && transfer->request->once) {
        return CURL_PREREQFUNC_ABORT;
    }
    return CURL_PREREQFUNC_OK;
}

/* curl_easy_setopt() fails only for options that this libcurl was built without, or for memory. */
#define SET(option, value) failed |= curl_easy_setopt(easy, option, value) != CURLE_OK

static bool set_common(CURL *easy, const struct transfer_options *options)
{
    bool failed = false;

    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROXY, options->proxy != NULL ? options->proxy : "");
    SET(CURLOPT_USERAGENT, options->user_agent);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
    SET(CURLOPT_MAXAGE_CONN, (long)options->idle_close_s);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, (long)options->buffer_bytes);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)options->buffer_bytes);
    SET(CURLOPT_SHARE, options->share);
    SET(CURLOPT_SSL_VERIFYPEER, options->insecure ? 0L : 1L);
    SET(CURLOPT_SSL_VERIFYHOST, options->insecure ? 0L : 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CA_CACHE_TIMEOUT, (long)CA_CACHE_S);
    if (options->ca_file != NULL) {
        /* The directory of the system's authorities stays, unless only ours shall count. */
        SET(CURLOPT_CAINFO, options->ca_file);
        if (options->ca_only) {
            SET(CURLOPT_CAPATH, NULL);
        }
    }
    if (options->cert_file != NULL) {
        SET(CURLOPT_SSLCERT, options->cert_file);
        SET(CURLOPT_SSLKEY, options->key_file);
    }
    return failed;
}

static bool set_method(struct transfer *transfer, CURL *easy)
{
    const struct http_request *request = transfer->request;
    const char *usual = request->has_body ? "PUT" : "GET";
    bool failed = false;

    SET(CURLOPT_HTTPGET, 1L); /* which undoes what the last request on this handle has set */
    SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)-1);
    if (is_posted(request)) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->size);
        SET(CURLOPT_POSTFIELDS, request->data);
        usual = "POST";
    } else if (request->has_body) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, transfer);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, transfer);
        if (request->size != HTTP_SIZE_UNKNOWN) {
            SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->size);
        }
    } else if (strcmp(request->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
        usual = "HEAD";
    }
    SET(CURLOPT_CUSTOMREQUEST, strcmp(request->method, usual) != 0 ? request->method : NULL);
    return failed;
}

CURL *transfer_handle(const struct transfer_options *options)
{
    CURL *easy = curl_easy_init();

    if (easy != NULL && set_common(easy, options)) {
        curl_easy_cleanup(easy);
        easy = NULL;
    }
    return easy;
}

void transfer_release(CURL *easy)
{
    bool failed = false;

    SET(CURLOPT_PRIVATE, NULL);
    SET(CURLOPT_ERRORBUFFER, NULL);
    SET(CURLOPT_HTTPHEADER, NULL);
    SET(CURLOPT_POSTFIELDS, NULL);
    (void)failed; /* taking away cannot fail */
}

int transfer_prepare(struct transfer *transfer, CURL *easy, const struct transfer_options *options,
                     uint64_t now_ms)
{
    const struct http_request *request = transfer->request;
    bool failed = false;
    int error = set_headers(transfer);

    transfer->easy = easy;
    if (error < 0) {
        return error;
    }
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_ERRORBUFFER, transfer->error_text);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_TIMEOUT_MS,
        (long)(transfer->deadline_ms > now_ms ? transfer->deadline_ms - now_ms : 1));
    SET(CURLOPT_PREREQFUNCTION, on_send);
    SET(CURLOPT_PREREQDATA, transfer);
    if (options->public_only) {
        SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
        SET(CURLOPT_OPENSOCKETDATA, transfer);
    }
    failed |= set_method(transfer, easy);
    transfer->progress_ms = now_ms;
    return failed ? -ENOMEM : 0;
}

/* ---- the end ---- */

static int errno_of(CURLcode code, long os_error)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT:
        return os_error == EHOSTUNREACH || os_error == ENETUNREACH ? -EHOSTUNREACH : -ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return -EHOSTUNREACH;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_PARTIAL_FILE:
    case CURLE_ABORTED_BY_CALLBACK: /* on_send() */
        return -ECONNRESET;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_USE_SSL_FAILED:
        return -EPROTO;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return -EINVAL;
    default:
        return -EIO;
    }
}

/* "host[:port]" of a URL: what may be told of it. */
static struct slice host_of(const char *url)
{
    const char *start = strstr(url, "://");
    size_t len;

    start = start != NULL ? start + 3 : url;
    len = strcspn(start, "/?#");
    for (size_t i = 0; i < len; i++) {
        if (start[i] == '@') {
            return (struct slice){start + i + 1, len - i - 1};
        }
    }
    return (struct slice){start, len};
}

void transfer_result(struct transfer *transfer, CURLcode code, uint64_t now_ms,
                     struct http_result *ret)
{
    struct slice host = host_of(transfer->request->url);
    curl_off_t first_byte_us = 0;
    curl_off_t posted = 0;
    long os_error = 0;
    long connects = 0;

    ret->http_status = transfer->http_status;
    if (transfer->easy != NULL && is_posted(transfer->request)) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &posted);
        transfer->sent = (uint64_t)posted;
    }
    ret->sent_bytes = transfer->sent;
    ret->received_bytes = transfer->received;
    ret->total_ms = (uint32_t)(now_ms - transfer->start_ms);
    if (transfer->easy != NULL) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_us);
        ret->reused = connects == 0 && transfer->http_status != 0;
        ret->first_byte_ms = (uint32_t)(first_byte_us / 1000);
    }
    if (transfer->callback_error != 0) {
        ret->status = error_set(&ret->error, transfer->callback_error,
                                "the request to %.*s was ended", (int)host.len, host.data);
        return;
    }
    ret->status = errno_of(code, os_error);
    if (code == CURLE_COULDNT_CONNECT && transfer->refusal != NULL) {
        ret->status = error_set(&ret->error, -EACCES,
                                "%.*s resolves to %s, which is %s: that is only for endpoints that "
                                "the operator allows",
                                (int)host.len, host.data, transfer->refused, transfer->refusal);
    } else if (ret->status == -EPROTO) {
        error_set(&ret->error, ret->status,
                  "TLS with %.*s failed: %s (is the authority that signed its certificate known "
                  "here? give it as the CA file)",
                  (int)host.len, host.data,
                  transfer->error_text[0] != '\0' ? transfer->error_text
                                                  : curl_easy_strerror(code));
    } else if (ret->status < 0) {
        error_set(&ret->error, ret->status, "%.*s: %s", (int)host.len, host.data,
                  transfer->error_text[0] != '\0' ? transfer->error_text
                                                  : curl_easy_strerror(code));
    }
}
