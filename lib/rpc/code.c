/* SPDX-License-Identifier: Apache-2.0 */
/* code.c - the two tables. */
#include "rpc/code.h"

#include <errno.h>
#include <stddef.h>

static const struct {
    int error;
    enum rpc_code code;
} codes[] = {
    {0, RPC_OK},
    {EINVAL, RPC_INVALID_ARGUMENT},
    {ENAMETOOLONG, RPC_INVALID_ARGUMENT},
    {E2BIG, RPC_INVALID_ARGUMENT},
    {EFBIG, RPC_INVALID_ARGUMENT},
    {ENOENT, RPC_NOT_FOUND},
    {EEXIST, RPC_ALREADY_EXISTS},
    {EACCES, RPC_PERMISSION_DENIED},
    {EPERM, RPC_PERMISSION_DENIED},
    {EKEYREJECTED, RPC_UNAUTHENTICATED},
    {ERANGE, RPC_OUT_OF_RANGE},
    {ENOMEM, RPC_RESOURCE_EXHAUSTED},
    {ENOSPC, RPC_RESOURCE_EXHAUSTED},
    {EDQUOT, RPC_RESOURCE_EXHAUSTED},
    {EBUSY, RPC_FAILED_PRECONDITION},
    {ENOTEMPTY, RPC_FAILED_PRECONDITION},
    {EAGAIN, RPC_ABORTED},
    {EALREADY, RPC_ABORTED},
    {EINPROGRESS, RPC_ABORTED},
    {ESTALE, RPC_ABORTED},
    {ETIMEDOUT, RPC_DEADLINE_EXCEEDED},
    {ECANCELED, RPC_CANCELLED},
    {ENOTSUP, RPC_UNIMPLEMENTED},
    {ENOSYS, RPC_UNIMPLEMENTED},
    {ECONNREFUSED, RPC_UNAVAILABLE},
    {ECONNRESET, RPC_UNAVAILABLE},
    {EHOSTUNREACH, RPC_UNAVAILABLE},
    {ENETUNREACH, RPC_UNAVAILABLE},
    {EPIPE, RPC_UNAVAILABLE},
    {ENOTCONN, RPC_UNAVAILABLE},
    {ESHUTDOWN, RPC_UNAVAILABLE},
    {EUCLEAN, RPC_DATA_LOSS},
    {EIO, RPC_INTERNAL},
    {EPROTO, RPC_INTERNAL},
    {EBADMSG, RPC_INTERNAL},
};

static const struct {
    const char *name;
    int error;
} names[] = {
    [RPC_OK] = {"OK", 0},
    [RPC_CANCELLED] = {"CANCELLED", ECANCELED},
    [RPC_UNKNOWN] = {"UNKNOWN", EIO},
    [RPC_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", EINVAL},
    [RPC_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", ETIMEDOUT},
    [RPC_NOT_FOUND] = {"NOT_FOUND", ENOENT},
    [RPC_ALREADY_EXISTS] = {"ALREADY_EXISTS", EEXIST},
    [RPC_PERMISSION_DENIED] = {"PERMISSION_DENIED", EACCES},
    [RPC_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", ENOSPC},
    [RPC_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", EBUSY},
    [RPC_ABORTED] = {"ABORTED", EAGAIN},
    [RPC_OUT_OF_RANGE] = {"OUT_OF_RANGE", ERANGE},
    [RPC_UNIMPLEMENTED] = {"UNIMPLEMENTED", ENOTSUP},
    [RPC_INTERNAL] = {"INTERNAL", EIO},
    [RPC_UNAVAILABLE] = {"UNAVAILABLE", ECONNREFUSED},
    [RPC_DATA_LOSS] = {"DATA_LOSS", EUCLEAN},
    [RPC_UNAUTHENTICATED] = {"UNAUTHENTICATED", EKEYREJECTED},
};

enum rpc_code rpc_code_from_errno(int error)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].error == -error) {
            return codes[i].code;
        }
    }
    return RPC_INTERNAL;
}

int rpc_code_to_errno(enum rpc_code code)
{
    if ((size_t)code >= sizeof(names) / sizeof(names[0])) {
        return -EIO;
    }
    return -names[code].error;
}

const char *rpc_code_name(enum rpc_code code)
{
    if ((size_t)code >= sizeof(names) / sizeof(names[0])) {
        return "UNKNOWN";
    }
    return names[code].name;
}
