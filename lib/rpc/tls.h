/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - which certificates a server or client uses; both sides show one (mTLS).
 *
 * The files are PEM. They are read again when they change (checked at each handshake on a server,
 * at most once a second on a client), so that renewal needs no restart: write new files by rename.
 * While the new files cannot be used the old certificates stay, and a warning is logged.
 */
#ifndef RPC_TLS_H
#define RPC_TLS_H

struct rpc_tls {
    const char *ca_file;   /* authorities the other side's certificate must come from */
    const char *cert_file; /* our certificate and its chain */
    const char *key_file;  /* our private key */
};

#endif
