/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A direct-mapped table: the hash of key, date and region picks the one slot an entry may have, and
 * a newer entry takes it over. Good enough for one key a pod, and never more than `slots` secrets.
 */
#include "s3/key_cache.h"

#include <errno.h>
#include <openssl/crypto.h>

#include "util/cleanup.h"
#include "util/mutex.h"

enum { SECRET_MAX = 256 };

struct slot {
    char access_key[S3_ACCESS_KEY_SIZE];
    char date[S3_DATE_SIZE];
    char region[S3_REGION_SIZE];
    char secret[SECRET_MAX];
    struct s3_signing_key key;
};

struct s3_key_cache {
    struct mutex lock;
    size_t count;
    struct slot *slots GUARDED_BY(lock);
};

int s3_key_cache_new(size_t slots, struct s3_key_cache **ret)
{
    AUTOFREE struct s3_key_cache *cache = NULL;

    if (slots < 1 || slots > 65536) {
        return -EINVAL;
    }
    cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return -ENOMEM;
    }
    cache->slots = calloc(slots, sizeof(*cache->slots));
    if (cache->slots == NULL) {
        return -ENOMEM;
    }
    cache->count = slots;
    mutex_init(&cache->lock);
    *ret = TAKE(cache);
    return 0;
}

void s3_key_cache_free(struct s3_key_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    OPENSSL_cleanse(cache->slots, cache->count * sizeof(*cache->slots));
    free(cache->slots);
    mutex_done(&cache->lock);
    free(cache);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001B3U; /* FNV-1a */
    }
    return (hash ^ 0xFF) * 0x100000001B3U;
}

static bool slot_holds(const struct slot *slot, const char *access_key, const char *secret,
                       const struct s3_auth *auth)
{
    size_t len = strlen(secret);

    return strcmp(slot->access_key, access_key) == 0 && strcmp(slot->date, auth->date) == 0 &&
           strcmp(slot->region, auth->region) == 0 && strlen(slot->secret) == len &&
           CRYPTO_memcmp(slot->secret, secret, len) == 0;
}

int s3_key_cache_get(struct s3_key_cache *cache, const char *access_key, const char *secret,
                     const struct s3_auth *auth, struct s3_signing_key *ret)
{
    uint64_t hash = hash_text(0xCBF29CE484222325U, access_key);
    struct slot *slot;
    bool found;
    int error;

    hash = hash_text(hash_text(hash, auth->date), auth->region);
    mutex_lock(&cache->lock);
    slot = &cache->slots[hash % cache->count];
    found = slot_holds(slot, access_key, secret, auth);
    if (found) {
        *ret = slot->key;
    }
    mutex_unlock(&cache->lock);
    if (found) {
        return 0;
    }
    error = s3_signing_key_derive(secret, auth->date, auth->region, "s3", ret);
    if (error < 0 || strlen(access_key) >= S3_ACCESS_KEY_SIZE || strlen(secret) >= SECRET_MAX) {
        return error;
    }
    mutex_lock(&cache->lock);
    slot = &cache->slots[hash % cache->count];
    memcpy(slot->access_key, access_key, strlen(access_key) + 1);
    memcpy(slot->date, auth->date, sizeof(slot->date));
    memcpy(slot->region, auth->region, sizeof(slot->region));
    memcpy(slot->secret, secret, strlen(secret) + 1);
    slot->key = *ret;
    mutex_unlock(&cache->lock);
    return 0;
}
