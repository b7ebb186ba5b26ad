/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/advice.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The first that fits. A text that says already what to do has no row. */
static const struct {
    int error;        /* 0: any */
    const char *word; /* of the text; NULL: any */
    const char *advice;
} table[] = {
    {0, "NoSuchBucket",
     "Make the bucket first, or look at its spelling and at endpoint= and region=."},
    {0, "RequestTimeTooSkewed", "Set the clock of this machine: stores refuse one that is off."},
    {0, "AuthorizationHeaderMalformed", "Say the bucket's region: -o region=..."},
    {0, "PermanentRedirect", "The bucket is in another region: say it with -o region=..."},
    {0, "HTTPS port", "The store speaks TLS on that port: write endpoint=https://..."},
    {-EPROTO, "wrong version number",
     "The store does not speak TLS on that port: write endpoint=http://..."},
    {-EPROTO, "packet length",
     "The store does not speak TLS on that port: write endpoint=http://..."},
    {-EHOSTUNREACH, "resolve",
     "Look at the host in endpoint=; proxies of the environment (http_proxy) are not used, and "
     "without path_style=true the bucket's name may stand before the host."},
    {-EHOSTUNREACH, NULL, "Look at the route and the firewall between here and endpoint=."},
    {-ECONNREFUSED, NULL, "Nobody listens there: look at host and port in endpoint=."},
    {-ETIMEDOUT, NULL,
     "Look at endpoint= and at the firewall between; proxies of the environment "
     "are not used."},
    {-EACCES, "anonymous requests",
     "Give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials."},
    {-EACCES, "no credentials were given",
     "Give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials."},
};

const char *advice_for(int error, const char *text)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((table[i].error == 0 || table[i].error == error) &&
            (table[i].word == NULL || strstr(text, table[i].word) != NULL)) {
            return table[i].advice;
        }
    }
    return NULL;
}
