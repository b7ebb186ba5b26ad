/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.h - URLs and locations as people write them, and what of them may be repeated.
 *
 * Some tools take keys in a URL ("https://user:password@host", "s3://KEY:SECRET@bucket"). Nothing
 * here does, but who tries it must not find the secret in a log, a Kubernetes event or a terminal:
 *
 *     return error_set(err, -EINVAL, "endpoint '%s': the host is not valid", url_shown(endpoint));
 *
 * No allocation, no state: any thread.
 */
#ifndef UTIL_URL_H
#define UTIL_URL_H

#include <stdbool.h>

/* An '@' anywhere, or in "scheme://a:b" a b that is no port: a password may be in it. */
bool url_may_hold_secret(const char *text);

/* `text` itself, or in its place words that say why it is not shown. Not to be freed. */
const char *url_shown(const char *text);

#endif
