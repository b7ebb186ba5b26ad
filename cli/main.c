/* SPDX-License-Identifier: Apache-2.0 */
/* skyvolctl - what an operator types. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "csi/secrets.h"

int main(int argc, char **argv)
{
    const struct command below[] = {command_volume,  command_store, command_keys,  command_mount,
                                    command_recover, command_csi,   command_certs, command_backup,
                                    command_rebuild, command_stats, command_scrub};
    const struct command top = {
        .name = "skyvolctl",
        .summary = "Operate Skyvol: volumes, stores, certificates, and CSI calls by hand.",
        .below = below,
        .below_count = sizeof(below) / sizeof(below[0])};

    if (csi_secrets_init() < 0) {
        (void)fputs("skyvolctl: the table of secret fields is full\n", stderr);
        return EXIT_FAILED;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)printf("skyvolctl %s\n", SKYVOL_VERSION);
        return EXIT_DONE;
    }
    return command_run(&top, "skyvolctl", argc - 1, argv + 1);
}
