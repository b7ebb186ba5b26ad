/* SPDX-License-Identifier: Apache-2.0 */
#include "util/key_file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/encode.h"
#include "util/file.h"
#include "util/log.h"
#include "util/random.h"

enum { FILE_MAX = 4096 };

int key_file_make(const char *path, struct error *err)
{
    struct buf text = BUF_INIT(FILE_MAX);
    unsigned char key[KEY_FILE_KEY_SIZE];
    int ret;

    if (access(path, F_OK) == 0) {
        return 0; /* perhaps on a read-only mount, where file_create could not even try */
    }
    random_bytes(key, sizeof(key));
    buf_addstr(&text, "k1 ");
    encode_hex(&text, key, sizeof(key));
    buf_addstr(&text, "\n");
    ret = buf_error(&text) != 0 ? buf_error(&text) : file_make_parent(path, 0700);
    ret = ret != 0 ? ret : file_create(path, buf_str(&text), buf_len(&text), 0600);
    explicit_bzero(key, sizeof(key));
    buf_wipe(&text);
    return ret == 0 || ret == -EEXIST
               ? 0
               : error_set(err, ret, "cannot make the key file %s: %s", path, strerror(-ret));
}

static int parse_line(const char *line, size_t len, struct key_file_key *ret)
{
    const char *space = memchr(line, ' ', len);
    size_t id = space != NULL ? (size_t)(space - line) : 0;
    size_t got = 0;

    if (id == 0 || id > KEY_FILE_ID_MAX) {
        return -EINVAL;
    }
    memcpy(ret->id, line, id);
    ret->id[id] = '\0';
    return decode_hex((struct slice){space + 1, len - id - 1}, ret->bytes, KEY_FILE_KEY_SIZE,
                      &got) != 0 ||
                   got != KEY_FILE_KEY_SIZE
               ? -EINVAL
               : 0;
}

int key_file_read(const char *path, struct key_file *ret, struct error *err)
{
    struct buf text = BUF_INIT(FILE_MAX);
    struct key_file keys = {0};
    struct stat st;
    int r = file_read(path, &text);
    const char *line = buf_str(&text);

    if (r != 0) {
        buf_wipe(&text);
        return error_set(err, r, "cannot read the key file %s: %s", path, strerror(-r));
    }
    while (*line != '\0' && r == 0 && keys.count < KEY_FILE_KEYS) {
        size_t len = strcspn(line, "\n");

        if (len > 0 && line[0] != '#') {
            r = parse_line(line, len, &keys.keys[keys.count++]);
        }
        line += len + (line[len] == '\n');
    }
    r = r == 0 && keys.count == 0 ? -EINVAL : r;
    if (r == 0) {
        *ret = keys;
    }
    if (stat(path, &st) == 0 && (st.st_mode & S_IRWXO) != 0) {
        log_warn("others may read the key file: chmod o= it", "file", path, NULL);
    }
    key_file_wipe(&keys);
    buf_wipe(&text);
    return r == 0 ? 0
                  : error_set(err, r, "key file %s: each line is \"ID HEX\", with 64 hex digits",
                              path);
}

const struct key_file_key *key_file_find(const struct key_file *keys, const char *id)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->keys[i].id, id) == 0) {
            return &keys->keys[i];
        }
    }
    return NULL;
}

void key_file_wipe(struct key_file *keys)
{
    explicit_bzero(keys, sizeof(*keys));
}
