/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/personal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "util/log.h"

/* The first of the two that says anything. */
static const char *variable(const char *first, const char *second, const char **ret_name)
{
    const char *value = getenv(first);

    *ret_name = first;
    if (value == NULL || value[0] == '\0') {
        value = getenv(second);
        *ret_name = second;
    }
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* `option` is stored as `ours`. */
static int take(struct mount_config *config, const char *ours, const char *option,
                const char *const names[2], struct error *err)
{
    const char *name;
    const char *value = variable(names[0], names[1], &name);
    struct error why = ERROR_INIT;
    int r;

    if (value == NULL || mount_options_get(&config->options, ours) != NULL) {
        return 0;
    }
    r = mount_options_set(&config->options, option, value, MOUNT_OPTIONS_BY_HAND, &why);
    return r < 0 ? error_set(err, r, "%s: %s", name, error_text(&why, r)) : 0;
}

int personal_options(struct mount_config *config, struct error *err)
{
    const char *ignore = getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    static const char *const endpoints[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"};
    static const char *const regions[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    bool endpoint = ignore == NULL || strcasecmp(ignore, "true") != 0;
    int r = 0;

    if (mount_options_get(&config->options, "passwd_file") != NULL) {
        (void)fputs("skyvol-mount: mount option 'passwd_file' is not read: keys come from "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from ~/.aws/credentials "
                    "(AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE)\n",
                    stderr);
    }
    /* A managed volume's store is the metaserver's to say. */
    if (strncmp(config->location, "s3://", 5) != 0 || config->channel.address != NULL) {
        return 0;
    }
    if (endpoint) {
        r = take(config, "endpoint", "url", endpoints, err);
    }
    return r < 0 ? r : take(config, "region", "region", regions, err);
}

int personal_log_open(const struct mount_config *config, int *ret_fd, struct error *err)
{
    const char *path = mount_options_get(&config->options, "log_file");

    *ret_fd = -1;
    if (path == NULL) {
        return 0;
    }
    /* A pipe that nobody reads must not be waited for. */
    *ret_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    return *ret_fd >= 0
               ? 0
               : error_set(err, -errno, "cannot write to log_file=%s: %s", path, strerror(errno));
}

void personal_log_begin(int fd, bool background)
{
    if (fd >= 0) {
        (void)dup2(fd, STDERR_FILENO);
        (void)close(fd);
    } else if (background) {
        (void)!log_to_syslog("/dev/log", "skyvol-mount");
    }
}

void personal_log_reopen(const struct mount_config *config)
{
    struct error err = ERROR_INIT;
    int fd;
    int r = personal_log_open(config, &fd, &err);

    if (r < 0) {
        log_warn("the log goes on in the old file", "error", error_text(&err, r), NULL);
    } else if (fd >= 0) {
        personal_log_begin(fd, false);
    }
}
