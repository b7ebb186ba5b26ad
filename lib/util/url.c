/* SPDX-License-Identifier: Apache-2.0 */
#include "util/url.h"

#include <string.h>

bool url_may_hold_secret(const char *text)
{
    const char *at = strstr(text, "://");

    if (strchr(text, '@') !=
        NULL) { /* a secret key may hold '/': where the '@' stands says nothing */
        return true;
    }
    if (at == NULL || at[3] == '[') {
        return false;
    }
    at += 3;
    at += strcspn(at, ":/");
    if (*at != ':') {
        return false;
    }
    at++;
    at += strspn(at, "0123456789");
    return *at != '\0' && *at != '/';
}

const char *url_shown(const char *text)
{
    return url_may_hold_secret(text) ? "(not shown: user names and passwords do not belong there)"
                                     : text;
}
