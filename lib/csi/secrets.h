/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.h - what of a call, CSI's or skyvol-meta's, no log may show.
 *
 * The table comes from the csi_secret marks in our .proto files, made at build time: a field is
 * secret where it is declared, and nowhere else. What the marks of CSI miss is added here: mount
 * flags, and the service account tokens that kubelet puts into volume_context.
 */
#ifndef CSI_SECRETS_H
#define CSI_SECRETS_H

#define CSI_TOKENS_KEY "csi.storage.k8s.io/serviceAccount.tokens"

/* Call at start, before any thread runs. 0, or -ENOSPC: then the program must not go on. */
int csi_secrets_init(void) __attribute__((warn_unused_result));

#endif
