/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/advice.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "util/url.h"

/* The first that fits. A text that says already what to do has no row, or no word in that column.
 */
static const struct {
    int error;          /* 0: any */
    const char *word;   /* of the text; NULL: any */
    const char *advice; /* by hand */
    const char *of_pod; /* of a volume in Kubernetes */
} table[] = {
    {0, "NoSuchBucket",
     "Make the bucket first, or look at its spelling and at endpoint= and region=.",
     "make the bucket, or correct the volume's bucket, endpoint or region"},
    {0, "bucket does not exist", /* HEAD has no code */
     "Make the bucket first, or look at its spelling and at endpoint= and region=.",
     "make the bucket, or correct the volume's bucket, endpoint or region"},
    {-ENOENT, "no such bucket",
     "A directory store's buckets are made by S3 (skyvol-s3) or by skyvolctl volume create.",
     "make the bucket, or correct the volume's bucket"},
    {0, "XStorageFull",
     "Make room at the store; trying out a bucket takes about 10 MiB, the option ro does without.",
     "make room at the store"},
    {0, "RequestTimeTooSkewed", "Set the clock of this machine: stores refuse one that is off.",
     "set the node's clock: stores refuse one that is off"},
    {0, "AuthorizationHeaderMalformed", "Say the bucket's region: -o region=...",
     "set the volume's region to the bucket's"},
    {0, "PermanentRedirect", "The bucket is in another region: say it with -o region=...",
     "set the volume's region to the bucket's"},
    {0, "HTTPS port", "The store speaks TLS on that port: write endpoint=https://...",
     "the store speaks TLS on that port: the endpoint begins with https://"},
    {-EPROTO, "wrong version number",
     "The store does not speak TLS on that port: write endpoint=http://...",
     "the store does not speak TLS on that port: the endpoint begins with http://"},
    {-EPROTO, "packet length",
     "The store does not speak TLS on that port: write endpoint=http://...",
     "the store does not speak TLS on that port: the endpoint begins with http://"},
    {-EPROTO, NULL, NULL,
     "a certificate of an authority of yours needs its bundle: components/trust-bundle"},
    {-EHOSTUNREACH, "resolve",
     "Look at the host in endpoint=; proxies of the environment (http_proxy) are not used, and "
     "without path_style=true the bucket's name may stand before the host.",
     "the node's DNS does not know that name: correct the endpoint"},
    {-EHOSTUNREACH, NULL, "Look at the route and the firewall between here and endpoint=.",
     "look at the endpoint, and at routes and firewalls between the node and it"},
    {-ECONNREFUSED, NULL, "Nobody listens there: look at host and port in endpoint=.",
     "nobody listens there: is the store running, and the endpoint's port right?"},
    {-ETIMEDOUT, NULL,
     "Look at endpoint= and at the firewall between; proxies of the environment "
     "are not used.",
     "look at the endpoint, and at routes and firewalls between the node and it"},
    {-ECONNRESET, NULL, NULL, "look at the endpoint's port and at the store's own log"},
    {-EBUSY, NULL, NULL, "the store is overloaded, or a rate limit is reached"},
    {0, "InvalidAccessKeyId", NULL,
     "correct accessKeyID or endpoint in the Secret of the volume or its store"},
    {0, "SignatureDoesNotMatch", NULL,
     "correct secretAccessKey in the Secret of the volume or its store"},
    {-EKEYEXPIRED, NULL, NULL, "renew the keys in the Secret of the volume or its store"},
    {-EACCES, "only for endpoints that the operator allows", NULL, NULL},
    {-EACCES, "anonymous requests",
     "Give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.",
     "name a Secret with keys in the volume"},
    {-EACCES, "no credentials were given",
     "Give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials.",
     "name a Secret with keys in the volume"},
    {-EACCES, NULL, NULL, "look at what the keys may do with the bucket"},
    {-EPERM, NULL, NULL, "look at what the keys may do with the bucket"},
};

static size_t find(int error, const char *text, bool pod)
{
    size_t i = 0;

    for (; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((table[i].error == 0 || table[i].error == error) &&
            (table[i].word == NULL || strstr(text, table[i].word) != NULL) &&
            (pod || table[i].advice != NULL)) {
            break;
        }
    }
    return i;
}

const char *advice_for(int error, const char *text)
{
    size_t i = find(error, text, false);

    return i < sizeof(table) / sizeof(table[0]) ? table[i].advice : NULL;
}

/* Behind what was tried with a name of chance ("put 'b/.skyvol/probe/probe-1f': ..."). */
static const char *cause_in(const char *text)
{
    static const char end[] = "': ";
    const char *name = strstr(text, ".skyvol/probe/");
    const char *cause = name != NULL ? strstr(name, end) : NULL;

    return cause != NULL ? cause + sizeof(end) - 1 : text;
}

/* What the holder says of itself is not to be mistaken for what is said of a store. */
static int code_of(int error)
{
    switch (error) {
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -EBUSY:
    case -EPIPE:
    case -ETIMEDOUT:
        return -EHOSTUNREACH;
    default:
        return error;
    }
}

/* A store's words, cut anywhere: an event that is not UTF-8 would not be kept at all. */
static void make_plain(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

int advice_for_pod(const struct advice_place *place, int error, struct error *err)
{
    enum { CAUSE_MAX = 250, PLACE_MAX = 70 }; /* what remains is for the advice */
    const char *endpoint = place->endpoint != NULL ? url_shown(place->endpoint) : NULL;
    const char *cause = cause_in(error_text(err, error));
    size_t i = find(error, cause, true);
    const char *advice;
    int code = error;

    if (i == sizeof(table) / sizeof(table[0])) {
        code = error_set(err, error, "%s", cause);
    } else {
        advice = table[i].of_pod;
        code = error_set(err, code_of(error), "%.*s (bucket %.*s%s%.*s)%s%s", CAUSE_MAX, cause,
                         PLACE_MAX, url_shown(place->location), endpoint != NULL ? " at " : "",
                         PLACE_MAX, endpoint != NULL ? endpoint : "", advice != NULL ? ": " : "",
                         advice != NULL ? advice : "");
    }
    make_plain(err->text);
    return code;
}
