/* SPDX-License-Identifier: Apache-2.0 */
/* call_log.c - the line that ends each call, and its metrics. */
#include "rpc/redact.h"
#include "rpc/server_private.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum { FIELDS_MAX = 8192 };

/* At debug, the request's fields without the secret ones. */
static void log_fields(struct rpc_call *call, const ProtobufCMessage *request)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(FIELDS_MAX);

    rpc_redact_text(&text, request);
    log_debug("rpc request", "method", rpc_call_path(call), "request_id", call->request_id,
              "fields", buf_error(&text) == 0 ? buf_str(&text) : "(too long)", NULL);
}

static enum log_level level_of(const struct rpc_call *call, enum rpc_code code)
{
    if (code == RPC_OK && call->binding != NULL && call->binding->method.quiet) {
        return LOG_DEBUG;
    }
    return code == RPC_INTERNAL || code == RPC_UNKNOWN || code == RPC_DATA_LOSS ? LOG_WARN
                                                                                : LOG_INFO;
}

void call_log_end(struct rpc_call *call, const ProtobufCMessage *request, enum rpc_code code,
                  const char *text)
{
    uint64_t ms = clock_monotonic_ms(clock_real()) - call->started_ms;
    /* The path of an unknown method is whatever the caller sent: not a label. */
    const char *method = call->binding != NULL ? call->binding->path : "unknown";
    const struct rpc_peer *peer = rpc_call_peer(call);

    metric_add(call->server->calls, 1, method, rpc_code_name(code));
    metric_observe(call->server->seconds, (double)ms / 1000, method);
    if (request != NULL && log_get_level() >= LOG_DEBUG) {
        log_fields(call, request);
    }
    if (log_get_level() < level_of(call, code)) {
        return;
    }
    log_line(level_of(call, code), "rpc", "method", rpc_call_path(call), "code",
             rpc_code_name(code), "ms", log_num(ms), "peer",
             peer->kind == RPC_PEER_TLS ? peer->common_name : peer->address, "request_id",
             call->request_id, code != RPC_OK ? "error" : NULL, text, NULL);
}
