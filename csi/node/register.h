/* SPDX-License-Identifier: Apache-2.0 */
/*
 * register.h - the node plugin tells kubelet of itself.
 *
 * kubelet looks at the sockets in its directory plugins_registry: it asks each who it is, registers
 * the plugin, and tells it how that went. It does so again whenever it has restarted, and forgets a
 * plugin whose socket is gone. So ours is there from when CSI calls can be answered until the drain
 * begins, and is made anew when somebody has removed it.
 *
 *     r = registration_new(&(struct registration_config){.dir = dir, .driver = name,
 *                          .endpoint = path, .told = told, .context = x}, &registration, err);
 *     registration_free(registration);
 */
#ifndef CSI_NODE_REGISTER_H
#define CSI_NODE_REGISTER_H

#include <stdbool.h>

#include "util/error.h"

struct registration;

struct registration_config {
    const char *dir;      /* kubelet's plugins_registry, as we see it */
    const char *driver;   /* its name */
    const char *endpoint; /* path of the CSI socket, as kubelet sees it */
    /* How it went, whenever kubelet has said so, and false when the socket had gone. From any
     * thread, not for long. */
    void (*told)(void *context, bool registered);
    void *context;
};

/*
 * Serves from here on; the strings are the caller's and must stay. -ENOENT: no such directory;
 * -EADDRINUSE: another process listens there (a node-driver-registrar?); -ENAMETOOLONG; -ENOMEM.
 */
int registration_new(const struct registration_config *config, struct registration **ret,
                     struct error *err) __attribute__((warn_unused_result));

/* Ends serving and removes the socket: kubelet forgets the driver. NULL is fine. */
void registration_free(struct registration *registration);

#endif
