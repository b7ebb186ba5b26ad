/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - how a program reaches the Kubernetes API, as options: `struct kube_config` from them.
 */
#ifndef KUBE_OPTIONS_H
#define KUBE_OPTIONS_H

#include "kube/kube.h"
#include "util/options.h"

struct kube_options {
    char *server, *token, *ca;
};

#define KUBE_OPTIONS(config, member)                                                               \
    OPTION(config, member.server, OPTION_STRING, "kube-api", "URL", NULL,                          \
           "the Kubernetes API (default: that of the cluster this runs in)"),                      \
        OPTION(config, member.token, OPTION_STRING, "kube-token-file", "FILE", NULL,               \
               "our token for it (default: that of the service account)"),                         \
        OPTION(config, member.ca, OPTION_STRING, "kube-ca-file", "FILE", NULL,                     \
               "authority of its certificate (default: that of the service account)")

static inline struct kube_config kube_options_config(const struct kube_options *options)
{
    return (struct kube_config){
        .server = options->server, .token_file = options->token, .ca_file = options->ca};
}

#endif
