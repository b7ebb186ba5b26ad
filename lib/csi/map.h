/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h - a map<string, string> of any CSI message, whatever protobuf-c calls its entries.
 *
 *     struct csi_map secrets = CSI_MAP(in, secrets);
 *     const char *region = csi_map_get(&secrets, "region");
 *
 * A view: valid as long as the message. No state: any thread.
 */
#ifndef CSI_MAP_H
#define CSI_MAP_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <string.h>

/* How protobuf-c lays out an entry of such a map, in every message. */
struct csi_entry {
    ProtobufCMessage base;
    const char *key;
    const char *value;
};

struct csi_map {
    const void *entries; /* an array of pointers to entries */
    size_t count;
};

#define CSI_MAP(message, field)                                                                    \
    ((struct csi_map){.entries = (message)->field, .count = (message)->n_##field})

static inline const struct csi_entry *csi_map_at(const struct csi_map *map, size_t index)
{
    const struct csi_entry *entry;

    memcpy(&entry, (const char *)map->entries + index * sizeof(void *), sizeof(entry));
    return entry;
}

/* The value, or NULL when the key is absent. */
static inline const char *csi_map_get(const struct csi_map *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(csi_map_at(map, i)->key, key) == 0) {
            return csi_map_at(map, i)->value;
        }
    }
    return NULL;
}

#endif
