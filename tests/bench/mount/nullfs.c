/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheapest file system that FUSE allows: a tree in memory, no store behind it.
 *
 *     nullfs -f MOUNTPOINT [-o load=DIRECTORY]
 *
 * What a row costs here is FUSE's and the kernel's own share: the bench takes its CPU seconds off
 * the others', and no mounter can be faster than it. load: the tree to begin with; its larger files
 * are mapped from where they lie, and what is written to them stays in memory.
 *
 * One lock: written under it are names, counts, sizes and where data lies; read under it everything
 * else.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uthash.h>

enum { SMALL = 1 << 20, MAPPED = 64 << 10 };
static const size_t region = (size_t)64 << 30; /* of address space, for a large file */
static const double keep = 1.0;                /* seconds that the kernel may */

struct node {
    char *name;
    struct node *parent, *entries; /* entries: of a directory, by name */
    UT_hash_handle hh;
    struct stat st;
    char *data; /* of a file; of a link its target */
    size_t room;
    bool is_mapped, is_unlinked;
    uint64_t lookups;
};

struct listing {
    size_t count;
    char **names;
};

static struct node root;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static ino_t last_inode = FUSE_ROOT_ID;

static struct node *node_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static fuse_ino_t ino_of(const struct node *node)
{
    return node == &root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

static struct node *child_of(struct node *folder, const char *name)
{
    struct node *found = NULL;

    HASH_FIND_STR(folder->entries, name, found);
    return found;
}

static void drop_data(struct node *node)
{
    if (node->is_mapped) {
        (void)munmap(node->data, node->room);
    } else {
        free(node->data);
    }
    node->data = NULL;
    node->room = 0;
    node->is_mapped = false;
}

static void free_if_unused(struct node *node)
{
    if (node->is_unlinked && node->lookups == 0) {
        drop_data(node);
        free(node->name);
        free(node);
    }
}

static struct node *add(struct node *folder, const char *name, mode_t mode)
{
    struct node *node = calloc(1, sizeof(*node));

    if (node == NULL || (node->name = strdup(name)) == NULL) {
        free(node);
        return NULL;
    }
    node->parent = folder;
    node->st =
        (struct stat){.st_mode = mode, .st_nlink = 1, .st_ino = ++last_inode, .st_blksize = 4096};
    (void)clock_gettime(CLOCK_REALTIME, &node->st.st_mtim);
    node->st.st_ctim = node->st.st_atim = node->st.st_mtim;
    HASH_ADD_KEYPTR(hh, folder->entries, node->name, strlen(node->name), node);
    return node;
}

static void take_out(struct node *node)
{
    HASH_DEL(node->parent->entries, node);
    node->is_unlinked = true;
    free_if_unused(node);
}

/* Under the written lock: room for so many bytes. */
static int make_room(struct node *node, size_t size)
{
    char *data;

    if (size <= node->room) {
        return 0;
    }
    if (size <= SMALL && !node->is_mapped) {
        size_t room = node->room == 0 ? 4096 : node->room;

        while (room < size) {
            room *= 2;
        }
        data = realloc(node->data, room);
        if (data == NULL) {
            return -ENOMEM;
        }
        memset(data + node->room, 0, room - node->room);
        node->data = data;
        node->room = room;
        return 0;
    }
    if (size > region) {
        return -EFBIG;
    }
    data = mmap(NULL, region, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (data == MAP_FAILED) {
        return -ENOMEM;
    }
    memcpy(data, node->data,
           node->room < (size_t)node->st.st_size ? node->room : (size_t)node->st.st_size);
    drop_data(node);
    node->data = data;
    node->room = region;
    node->is_mapped = true;
    return 0;
}

static struct fuse_entry_param entry_of(const struct node *node)
{
    return (struct fuse_entry_param){
        .ino = ino_of(node), .attr = node->st, .attr_timeout = keep, .entry_timeout = keep};
}

static void reply_entry(fuse_req_t req, struct node *node)
{
    struct fuse_entry_param entry = entry_of(node);

    node->lookups++;
    (void)fuse_reply_entry(req, &entry);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct node *node;

    (void)pthread_rwlock_wrlock(&lock);
    node = child_of(node_of(parent), name);
    if (node == NULL) {
        (void)fuse_reply_err(req, ENOENT);
    } else {
        reply_entry(req, node);
    }
    (void)pthread_rwlock_unlock(&lock);
}

static void forget_one(fuse_ino_t ino, uint64_t count)
{
    struct node *node = node_of(ino);

    if (node != &root) {
        node->lookups -= count;
        free_if_unused(node);
    }
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    (void)pthread_rwlock_wrlock(&lock);
    forget_one(ino, count);
    (void)pthread_rwlock_unlock(&lock);
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    (void)pthread_rwlock_wrlock(&lock);
    for (size_t i = 0; i < count; i++) {
        forget_one(forgets[i].ino, forgets[i].nlookup);
    }
    (void)pthread_rwlock_unlock(&lock);
    fuse_reply_none(req);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct stat st;

    (void)file;
    (void)pthread_rwlock_rdlock(&lock);
    st = node_of(ino)->st;
    (void)pthread_rwlock_unlock(&lock);
    (void)fuse_reply_attr(req, &st, keep);
}

static int resize(struct node *node, size_t size)
{
    int rc = make_room(node, size);

    if (rc == 0 && size < (size_t)node->st.st_size) {
        memset(node->data + size, 0, (size_t)node->st.st_size - size);
    }
    if (rc == 0) {
        node->st.st_size = (off_t)size;
        node->st.st_blocks = (blkcnt_t)(size / 512 + 1);
    }
    return rc;
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int what,
                       struct fuse_file_info *file)
{
    struct node *node = node_of(ino);
    struct stat st;
    int rc = 0;

    (void)file;
    (void)pthread_rwlock_wrlock(&lock);
    if ((what & FUSE_SET_ATTR_SIZE) != 0) {
        rc = resize(node, (size_t)want->st_size);
    }
    if ((what & FUSE_SET_ATTR_MODE) != 0) {
        node->st.st_mode = (node->st.st_mode & S_IFMT) | (want->st_mode & ~(mode_t)S_IFMT);
    }
    if ((what & FUSE_SET_ATTR_UID) != 0) {
        node->st.st_uid = want->st_uid;
    }
    if ((what & FUSE_SET_ATTR_GID) != 0) {
        node->st.st_gid = want->st_gid;
    }
    if ((what & FUSE_SET_ATTR_MTIME_NOW) != 0) {
        (void)clock_gettime(CLOCK_REALTIME, &node->st.st_mtim);
    } else if ((what & FUSE_SET_ATTR_MTIME) != 0) {
        node->st.st_mtim = want->st_mtim;
    }
    st = node->st;
    (void)pthread_rwlock_unlock(&lock);
    if (rc < 0) {
        (void)fuse_reply_err(req, -rc);
    } else {
        (void)fuse_reply_attr(req, &st, keep);
    }
}

/* A new entry; answers the request where it cannot be. */
static struct node *make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct node *folder = node_of(parent);
    struct node *node = child_of(folder, name) == NULL ? add(folder, name, mode) : NULL;

    if (node == NULL) {
        (void)fuse_reply_err(req, child_of(folder, name) != NULL ? EEXIST : ENOMEM);
        return NULL;
    }
    node->st.st_uid = fuse_req_ctx(req)->uid;
    node->st.st_gid = fuse_req_ctx(req)->gid;
    return node;
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    struct node *node;

    (void)device;
    (void)pthread_rwlock_wrlock(&lock);
    node = make(req, parent, name, mode);
    if (node != NULL) {
        reply_entry(req, node);
    }
    (void)pthread_rwlock_unlock(&lock);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    on_mknod(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct node *node;

    (void)pthread_rwlock_wrlock(&lock);
    node = make(req, parent, name, S_IFLNK | 0777);
    if (node != NULL) {
        node->data = strdup(target);
        node->st.st_size = (off_t)strlen(target);
        reply_entry(req, node);
    }
    (void)pthread_rwlock_unlock(&lock);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
    (void)fuse_reply_readlink(req, node_of(ino)->data != NULL ? node_of(ino)->data : "");
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file)
{
    struct node *node;

    (void)pthread_rwlock_wrlock(&lock);
    node = make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFREG);
    if (node != NULL) {
        struct fuse_entry_param entry = entry_of(node);

        node->lookups++;
        file->keep_cache = 1;
        (void)fuse_reply_create(req, &entry, file);
    }
    (void)pthread_rwlock_unlock(&lock);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
    if ((file->flags & O_TRUNC) != 0) {
        (void)pthread_rwlock_wrlock(&lock);
        (void)resize(node_of(ino), 0);
        (void)pthread_rwlock_unlock(&lock);
    }
    file->keep_cache = 1;
    (void)fuse_reply_open(req, file);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *file)
{
    const struct node *node = node_of(ino);
    size_t left;

    (void)file;
    (void)pthread_rwlock_rdlock(&lock);
    left = offset < node->st.st_size ? (size_t)(node->st.st_size - offset) : 0;
    (void)fuse_reply_buf(req, left == 0 ? NULL : node->data + offset, left < size ? left : size);
    (void)pthread_rwlock_unlock(&lock);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                     struct fuse_file_info *file)
{
    struct node *node = node_of(ino);
    size_t end = (size_t)offset + size;
    int rc = 0;

    (void)file;
    (void)pthread_rwlock_rdlock(&lock);
    if (end > (size_t)node->st.st_size) {
        (void)pthread_rwlock_unlock(&lock);
        (void)pthread_rwlock_wrlock(&lock);
        if (end > (size_t)node->st.st_size) {
            rc = resize(node, end);
        }
    }
    if (rc == 0) {
        memcpy(node->data + offset, bytes, size);
    }
    (void)pthread_rwlock_unlock(&lock);
    if (rc < 0) {
        (void)fuse_reply_err(req, -rc);
    } else {
        (void)fuse_reply_write(req, size);
    }
}

static void on_nothing(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)ino;
    (void)file;
    (void)fuse_reply_err(req, 0);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *file)
{
    (void)only_data;
    on_nothing(req, ino, file);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct node *node;
    int error = ENOENT;

    (void)pthread_rwlock_wrlock(&lock);
    node = child_of(node_of(parent), name);
    if (node != NULL && node->entries != NULL) {
        error = ENOTEMPTY;
    } else if (node != NULL) {
        take_out(node);
        error = 0;
    }
    (void)pthread_rwlock_unlock(&lock);
    (void)fuse_reply_err(req, error);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
                      const char *to_name, unsigned int flags)
{
    struct node *node, *there;
    char *copy = strdup(to_name);

    if (flags != 0 || copy == NULL) {
        free(copy);
        (void)fuse_reply_err(req, EINVAL);
        return;
    }
    (void)pthread_rwlock_wrlock(&lock);
    node = child_of(node_of(parent), name);
    there = child_of(node_of(to), to_name);
    if (node != NULL && node != there) {
        if (there != NULL) {
            take_out(there);
        }
        HASH_DEL(node->parent->entries, node);
        free(node->name);
        node->name = copy;
        node->parent = node_of(to);
        HASH_ADD_KEYPTR(hh, node->parent->entries, node->name, strlen(node->name), node);
        copy = NULL;
    }
    (void)pthread_rwlock_unlock(&lock);
    free(copy);
    (void)fuse_reply_err(req, node == NULL ? ENOENT : 0);
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    struct node *node;

    if (listing == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    (void)pthread_rwlock_rdlock(&lock);
    listing->names = calloc(HASH_COUNT(node_of(ino)->entries) + 1, sizeof(char *));
    if (listing->names != NULL) {
        for (node = node_of(ino)->entries; node != NULL; node = node->hh.next) {
            listing->names[listing->count++] = strdup(node->name);
        }
    }
    (void)pthread_rwlock_unlock(&lock);
    file->fh = (uint64_t)(uintptr_t)listing;
    (void)fuse_reply_open(req, file);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct listing *listing = (struct listing *)(uintptr_t)file->fh;

    for (size_t i = 0; i < listing->count; i++) {
        free(listing->names[i]);
    }
    free(listing->names);
    free(listing);
    on_nothing(req, ino, file);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *file)
{
    const struct listing *listing = (const struct listing *)(uintptr_t)file->fh;
    char *page = malloc(size);
    size_t used = 0;

    if (page == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    (void)pthread_rwlock_wrlock(&lock);
    for (size_t i = (size_t)offset; i < listing->count; i++) {
        struct node *node =
            listing->names[i] != NULL ? child_of(node_of(ino), listing->names[i]) : NULL;
        struct fuse_entry_param entry;
        size_t length;

        if (node == NULL) {
            continue;
        }
        entry = entry_of(node);
        length =
            fuse_add_direntry_plus(req, page + used, size - used, node->name, &entry, (off_t)i + 1);
        if (length > size - used) {
            break;
        }
        used += length;
        node->lookups++;
    }
    (void)pthread_rwlock_unlock(&lock);
    (void)fuse_reply_buf(req, page, used);
    free(page);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

    (void)ino;
    st.f_blocks = st.f_bfree = st.f_bavail = (fsblkcnt_t)1 << 28;
    st.f_files = st.f_ffree = (fsfilcnt_t)1 << 28;
    (void)fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .symlink = on_symlink,
    .readlink = on_readlink,
    .create = on_create,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .flush = on_nothing,
    .release = on_nothing,
    .fsync = on_fsync,
    .unlink = on_unlink,
    .rmdir = on_unlink,
    .rename = on_rename,
    .opendir = on_opendir,
    .releasedir = on_releasedir,
    .readdirplus = on_readdirplus,
    .statfs = on_statfs,
};

static int load_file(struct node *node, int folder, const char *name, size_t size)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : 0;

    if (rc == 0 && size >= MAPPED) {
        node->data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
        rc = node->data == MAP_FAILED ? -errno : 0;
        node->room = size;
        node->is_mapped = true;
    } else if (rc == 0 && size > 0) {
        rc = make_room(node, size);
        if (rc == 0 && read(fd, node->data, size) != (ssize_t)size) {
            rc = -EIO;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static int load(struct node *into, int folder)
{
    DIR *entries = fdopendir(folder);
    const struct dirent *entry;
    int rc = entries == NULL ? -errno : 0;

    while (rc == 0 && (entry = readdir(entries)) != NULL) {
        struct stat st;
        struct node *node;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            rc = -errno;
            break;
        }
        node = add(into, entry->d_name, st.st_mode);
        if (node == NULL) {
            rc = -ENOMEM;
        } else if (S_ISDIR(st.st_mode)) {
            int below = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

            rc = below < 0 ? -errno : load(node, below);
        } else {
            node->st.st_size = st.st_size;
            node->st.st_blocks = st.st_blocks;
            rc = load_file(node, folder, entry->d_name, (size_t)st.st_size);
        }
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
    return rc;
}

static int serve(struct fuse_args *args, const struct fuse_cmdline_opts *options)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    struct fuse_session *session = fuse_session_new(args, &operations, sizeof(operations), NULL);
    int rc = 1;

    if (session != NULL && fuse_set_signal_handlers(session) == 0 &&
        fuse_session_mount(session, options->mountpoint) == 0) {
        fuse_loop_cfg_set_max_threads(config, 10);
        rc = fuse_session_loop_mt(session, config) == 0 ? 0 : 1;
        fuse_session_unmount(session);
    }
    if (session != NULL) {
        fuse_remove_signal_handlers(session);
        fuse_session_destroy(session);
    }
    fuse_loop_cfg_destroy(config);
    return rc;
}

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    struct fuse_cmdline_opts options;
    char *from = NULL;
    const struct fuse_opt known[] = {{"load=%s", 0, 0}, FUSE_OPT_END};
    int rc = 0;

    if (fuse_parse_cmdline(&args, &options) != 0 ||
        fuse_opt_parse(&args, &from, known, NULL) != 0 || options.mountpoint == NULL) {
        (void)fprintf(stderr, "usage: nullfs -f MOUNTPOINT [-o load=DIRECTORY]\n");
        return 2;
    }
    root.st = (struct stat){
        .st_mode = S_IFDIR | 0777, .st_nlink = 2, .st_ino = FUSE_ROOT_ID, .st_blksize = 4096};
    if (from != NULL) {
        int folder = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        rc = folder < 0 ? -errno : load(&root, folder);
        if (rc < 0) {
            (void)fprintf(stderr, "nullfs: %s: %s\n", from, strerror(-rc));
        }
    }
    rc = rc < 0 ? 1 : serve(&args, &options);
    free(options.mountpoint);
    fuse_opt_free_args(&args);
    return rc;
}
