/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs.h - the certificate of the webhook: made by itself, agreed on among replicas, renewed.
 *
 * It lies in one Secret, which exists and is empty at first: ca.crt, tls.crt, tls.key. Whoever
 * finds it missing, unusable or in the last third of its time writes another one, with the
 * resourceVersion that it has read: of two, one is refused and takes what the other has written.
 * An authority is made for each certificate and its key forgotten, so that nothing can be stolen
 * that signs. ca.crt holds the authority before it, too, and goes into the webhook's configuration
 * before anybody serves the new certificate: so the API server trusts both while replicas change.
 *
 *     r = certs_step(certs, &err);                 every minute
 *     if (r == 0 && certs_changed(certs)) { ... certs_pair(certs) ... }
 *
 * One thread.
 */
#ifndef CSI_WEBHOOK_CERTS_H
#define CSI_WEBHOOK_CERTS_H

#include "kube/kube.h"
#include "util/authority.h"

struct certs;

struct certs_config {
    struct kube_client *client;
    struct kube_cancel *cancel;
    const char *space, *secret; /* strings must stay */
    const char *configuration;  /* MutatingWebhookConfiguration */
    const char *service;        /* the certificate is of service.space.svc */
    uint32_t days;
    uint64_t settle_ms; /* between telling the API server of an authority and using it */
};

int certs_new(const struct certs_config *config, struct certs **ret)
    __attribute__((warn_unused_result));
void certs_free(struct certs *certs);

/* Look, renew, tell the API server. -EAGAIN: look again at once, as something was changed, by us
 * or another replica; else what kube.h says. What there is to serve stays through failures. */
int certs_step(struct certs *certs, struct error *err) __attribute__((warn_unused_result));

/* What is to be served now; NULL: nothing yet. Valid until the next step. *ret_new: it is another
 * one than at the last call. */
const struct key_pair *certs_pair(struct certs *certs, bool *ret_new);

#endif
