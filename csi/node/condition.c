/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/condition.h"

#include <errno.h>
#include <stddef.h>

const char *condition_of_error(int error)
{
    static const struct {
        int error;
        const char *text;
    } table[] = {
        {EACCES,
         "it refuses the credentials: look at the keys in the volume's Secret, at what they "
         "may do with the bucket, and at the node's clock"},
        {EPERM, "it refuses the request: look at what the keys may do with the bucket"},
        {EKEYEXPIRED,
         "the credentials have expired: renew the keys in the volume's Secret; running "
         "mounts take them over by themselves"},
        {ENOSPC, "it is full: make room in the bucket, or raise its quota"},
        {EDQUOT, "its quota is used up: make room in the bucket, or raise the quota"},
        {ECONNREFUSED, "nobody listens at the endpoint: is the store running, and the port right?"},
        {EHOSTUNREACH,
         "the endpoint cannot be found or reached: look at its name in DNS, routes and "
         "network policies of this node"},
        {ECONNRESET, "it drops connections: look at the store's own log"},
        {ETIMEDOUT, "it does not answer in time: look at its load and at the network"},
        {EBUSY, "it asks to be spared (503 or 429): it is overloaded, or a rate limit is reached"},
        {EPROTO, "TLS fails: look at the certificate of the endpoint and at ca_file="},
        {EIO, "it fails inside (5xx): look at the store's own log"},
        {ENOENT, "the bucket is gone"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].error == error) {
            return table[i].text;
        }
    }
    return "look at the log of skyvol-holder on this node";
}
