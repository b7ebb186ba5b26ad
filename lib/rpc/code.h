/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.h - gRPC status codes and the one table between them and errno values.
 *
 * The values are those of the gRPC protocol. Handlers return negative errno values and clients get
 * them; what the table cannot say is said by rpc_call_fail() and struct rpc_request's status.
 * No state: safe from any thread.
 */
#ifndef RPC_CODE_H
#define RPC_CODE_H

enum rpc_code {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
};

/*
 * 0 or a negative errno value as a code; INTERNAL for what the table does not hold. The usual ones:
 *   EINVAL, ENAMETOOLONG, E2BIG, EFBIG INVALID_ARGUMENT   ENOENT NOT_FOUND   EEXIST ALREADY_EXISTS
 *   EACCES, EPERM PERMISSION_DENIED    EKEYREJECTED UNAUTHENTICATED   ERANGE OUT_OF_RANGE
 *   ENOMEM, ENOSPC, EDQUOT RESOURCE_EXHAUSTED   EBUSY, ENOTEMPTY FAILED_PRECONDITION (in use)
 *   EAGAIN, EALREADY, EINPROGRESS, ESTALE ABORTED (try again: the same is still being done)
 *   ETIMEDOUT DEADLINE_EXCEEDED   ECANCELED CANCELLED   ENOTSUP, ENOSYS UNIMPLEMENTED
 *   ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, EPIPE, ENOTCONN, ESHUTDOWN UNAVAILABLE
 *   EUCLEAN DATA_LOSS   EIO, EPROTO, EBADMSG INTERNAL
 */
enum rpc_code rpc_code_from_errno(int error);

/* The other way: 0 or a negative errno value; -EIO for a code that does not exist. */
int rpc_code_to_errno(enum rpc_code code);

/* "NOT_FOUND", ...; "UNKNOWN" for what does not exist. */
const char *rpc_code_name(enum rpc_code code);

#endif
