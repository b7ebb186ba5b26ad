/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-controller: CSI Identity and Controller services; all it knows is in skyvol-meta. */
#include <errno.h>
#include <stdio.h>

#include "csi/controller/controller.h"
#include "csi/serve.h"

struct config {
    struct csi_serve_config serve;
    struct option_list allow;
};

static const struct option_spec specs[] = {
    CSI_SERVE_OPTIONS(struct config, serve),
    OPTION(
        struct config, allow, OPTION_LIST, "allow-endpoints", "LIST", NULL,
        "endpoints that Secrets may name: URLs, hosts, *.domain (default: all but on the machine "
        "itself, link-local, of a cloud's metadata or Kubernetes')"),
};

static const struct options_program program = {
    .name = "skyvol-controller",
    .summary = "CSI controller: makes, lists and deletes volumes by skyvol-meta",
    .environment = "SKYVOL_CONTROLLER_",
    .options = specs,
    .count = sizeof(specs) / sizeof(specs[0]),
};

static int add(struct rpc_server *server, const struct csi_meta *meta, void *context,
               struct error *err)
{
    struct controller *controller = context;

    controller->meta = *meta;
    return controller_add(server, controller, err);
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct controller controller = {0};
    struct error err = ERROR_INIT;
    int r = options_parse(&program, argc, argv, &config, &err);

    if (r == 0 && config.serve.meta == NULL) {
        r = error_set(&err, -EINVAL, "--meta is missing: where skyvol-meta listens");
        options_done(&program, &config);
    } else if (r == 0) {
        controller.policy = (struct csi_policy){.endpoints = config.allow.items,
                                                .endpoint_count = config.allow.count};
        r = csi_serve(&config.serve, &(struct csi_serve_hooks){.add = add, .context = &controller},
                      &err);
        options_done(&program, &config);
    }
    return r != 0 ? options_exit(&program, r, &err) : 0;
}
