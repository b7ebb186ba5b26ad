/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/options_table.h"

#define OURS(name, kind_, owner_, choices_, help_)                                                 \
    {                                                                                              \
        .spelling = (name), .ours = (name), .kind = (kind_), .owner = (owner_),                    \
        .choices = (choices_), .help = (help_)                                                     \
    }
#define RANGED(name, kind_, owner_, least_, most_, help_)                                          \
    {                                                                                              \
        .spelling = (name), .ours = (name), .kind = (kind_), .owner = (owner_), .help = (help_),   \
        .least = (least_), .most = (most_)                                                         \
    }
#define ALIAS(name, ours_, kind_, owner_)                                                          \
    {                                                                                              \
        .spelling = (name), .ours = (ours_), .kind = (kind_), .owner = (owner_)                    \
    }
#define SCALED(name, ours_, owner_, unit_)                                                         \
    {                                                                                              \
        .spelling = (name), .ours = (ours_), .kind = MOUNT_OPTION_SIZE, .owner = (owner_),         \
        .unit = (unit_)                                                                            \
    }
#define FIXED(name, ours_, owner_, value_)                                                         \
    {                                                                                              \
        .spelling = (name), .ours = (ours_), .kind = MOUNT_OPTION_FIXED, .owner = (owner_),        \
        .choices = (value_)                                                                        \
    }
#define IGNORED(name)                                                                              \
    {                                                                                              \
        .spelling = (name), .kind = MOUNT_OPTION_IGNORED                                           \
    }
#define SKIPPED(name)                                                                              \
    {                                                                                              \
        .spelling = (name), .kind = MOUNT_OPTION_SKIPPED                                           \
    }

#define KERNEL(name, group_, owner_, word_)                                                        \
    {                                                                                              \
        .spelling = (name), .kind = MOUNT_OPTION_KERNEL, .owner = (owner_), .choices = (word_),    \
        .unit = (group_)                                                                           \
    }

enum { GROUP_EXEC, GROUP_SUID, GROUP_DEV };

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)
#define DAY_S 86400

const struct mount_option_row mount_option_table[] = {
    /* Ours: what the file system does. */
    {.spelling = "sync",
     .ours = "sync",
     .kind = MOUNT_OPTION_CHOICE,
     .owner = MOUNT_OPTION_OF_USER,
     .choices = "close fsync async",
     .bare = "close", /* of fstab(5): write at once */
     .help = "close() waits for the store (close), only fsync() does (fsync), or neither: both "
             "return when the data is in the journal on disk (async; needs cache= or journal=) "
             "(close)"},
    OURS("attrs", MOUNT_OPTION_CHOICE, MOUNT_OPTION_OF_USER, "auto list full",
         "mode, owner, times, links and xattrs: auto: asked where they may differ; list: what "
         "listings tell, no others are kept; full: always asked (auto)"),
    OURS("locks", MOUNT_OPTION_CHOICE, MOUNT_OPTION_OF_USER, "auto local global",
         "fcntl and flock: among this node's programs or, on a managed volume, of all nodes; auto: "
         "global where several nodes may have it (auto)"),
    OURS("open", MOUNT_OPTION_CHOICE, MOUNT_OPTION_OF_USER, "revalidate cached",
         "open() asks the store for the version, always (revalidate) or when what is known is "
         "older than attr_timeout, cached (revalidate with sync=close, else cached)"),
    OURS("ro", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER, NULL, "read-only"),
    OURS("uid", MOUNT_OPTION_ID, MOUNT_OPTION_OF_USER, NULL,
         "owner of objects without attributes, a number (0)"),
    OURS("gid", MOUNT_OPTION_ID, MOUNT_OPTION_OF_USER, NULL,
         "group of objects without attributes, a number (0)"),
    OURS("mount_group", MOUNT_OPTION_ID, MOUNT_OPTION_OF_USER, NULL,
         "group that everything is shown with, whatever is stored, a number: as a pod's fsGroup"),
    OURS("umask", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER, NULL, "taken off the modes below"),
    OURS("file_mode", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER, NULL,
         "of objects without attributes (0666)"),
    OURS("dir_mode", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER, NULL,
         "of directories without attributes (0777)"),
    OURS("attr_timeout", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER, NULL,
         "what the store said of names and attributes is believed so long: 5s, 1m or seconds (1)"),
    RANGED("readahead", MOUNT_OPTION_SIZE, MOUNT_OPTION_OF_USER, 0, GIB,
           "the kernel reads ahead so many bytes, where root mounts (1MiB)"),
    RANGED("parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER, 1, 512,
           "transfers at a time (64)"),
    OURS("storage_class", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER, NULL,
         "of new objects, as STANDARD_IA; the bucket's if not given"),
    OURS("acl", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER, NULL,
         "canned ACL of new objects, as bucket-owner-full-control"),
    OURS("sse", MOUNT_OPTION_CHOICE, MOUNT_OPTION_OF_USER, "AES256 aws:kms aws:kms:dsse",
         "server-side encryption of new objects; the bucket's if not given"),
    OURS("sse_key", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER, NULL,
         "KMS key of server-side encryption; alone it means sse=aws:kms"),
    OURS("requester_pays", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER, NULL,
         "agree to pay for requests"),
    OURS("region", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER, NULL, "of the bucket"),
    OURS("path_style", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER, NULL,
         "the bucket in the path, not in the host"),
    {.spelling = "endpoint",
     .ours = "endpoint",
     .kind = MOUNT_OPTION_ENDPOINT,
     .owner = MOUNT_OPTION_OF_USER,
     .help = "URL of the store"},
    OURS("anonymous", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER, NULL, "do not sign requests"),
    RANGED("deadline", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER, 1, DAY_S,
           "of one request, with its retries: 30s, 2m or seconds (60)"),
    RANGED("retries", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER, 1, 1000000,
           "tries of one request within its deadline (1000)"),

    /* Ours: what it costs the node, and what the node trusts. */
    RANGED("memory", MOUNT_OPTION_SIZE, MOUNT_OPTION_OF_OPERATOR, 16 * MIB, TIB,
           "of the mounter: 512MiB or bytes (half of the control group's limit, else a 16th of the "
           "machine's, if that is 64MiB to 1GiB)"),
    RANGED("threads", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_OPERATOR, 1, 64,
           "that read requests of the kernel (4)"),
    OURS("resend", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_OPERATOR, NULL,
         "use the kernel's RESEND (on)"),
    OURS("cache", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR, NULL,
         "directory for blocks that were read, kept over mounts (none)"),
    RANGED("cache_size", MOUNT_OPTION_SIZE, MOUNT_OPTION_OF_OPERATOR, MIB, 16 * TIB,
           "of the disk cache: 100GiB or bytes (10GiB)"),
    OURS("journal", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR, NULL,
         "directory for data that must outlive the mounter and is not in the store yet "
         "(cache=DIR: DIR/journal)"),
    RANGED("drain", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_OPERATOR, 0, DAY_S,
           "unmounted by hand, wait so long for the store before the journal takes the rest (60)"),
    RANGED("journal_size", MOUNT_OPTION_SIZE, MOUNT_OPTION_OF_OPERATOR, MIB, 16 * TIB,
           "of that directory with all volumes in it (8GiB)"),
    OURS("ca_file", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR, NULL,
         "certificates that endpoints must have"),
    OURS("public_only", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_OPERATOR, NULL,
         "no endpoint that resolves to this machine itself, link-local or to Kubernetes' own"),
    OURS("insecure_tls", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_OPERATOR, NULL,
         "do not verify certificates: for trying things out only"),
    OURS("unsigned_payload", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_OPERATOR, NULL,
         "over plain http: no SHA-256 of bodies where the store checks their CRC32C; for networks "
         "that nobody can write to"),
    OURS("metrics", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_OPERATOR, NULL,
         "serve /metrics there, of a mount made by hand: 127.0.0.1:9105 or unix:/path (none)"),
    OURS("log_level", MOUNT_OPTION_CHOICE, MOUNT_OPTION_OF_OPERATOR, "error warn info debug",
         "of the mounter (info)"),

    /* Common spellings of the four. */
    ALIAS("read_only", "ro", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    FIXED("rw", "ro", MOUNT_OPTION_OF_USER, "false"),
    ALIAS("url", "endpoint", MOUNT_OPTION_URL, MOUNT_OPTION_OF_USER),
    ALIAS("endpoint_url", "endpoint", MOUNT_OPTION_URL, MOUNT_OPTION_OF_USER),
    ALIAS("s3_endpoint", "endpoint", MOUNT_OPTION_URL, MOUNT_OPTION_OF_USER),
    ALIAS("s3_region", "region", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    ALIAS("file_perms", "file_mode", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER),
    ALIAS("dir_perms", "dir_mode", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER),
    ALIAS("force_path_style", "path_style", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    ALIAS("s3_force_path_style", "path_style", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    ALIAS("use_path_request_style", "path_style", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    FIXED("subdomain", "path_style", MOUNT_OPTION_OF_USER, "false"),

    /* GeeseFS */
    SCALED("memory_limit", "memory", MOUNT_OPTION_OF_OPERATOR, MIB),
    ALIAS("stat_cache_ttl", "attr_timeout", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER),
    ALIAS("max_flushers", "parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER),
    ALIAS("max_parallel_parts", "parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER),
    SCALED("read_ahead_large", "readahead", MOUNT_OPTION_OF_USER, 1024),
    FIXED("fsync_on_close", "sync", MOUNT_OPTION_OF_USER, "close"),
    FIXED("enable_perms", "attrs", MOUNT_OPTION_OF_USER, "full"),
    FIXED("enable_mtime", "attrs", MOUNT_OPTION_OF_USER, "full"),
    FIXED("enable_specials", "attrs", MOUNT_OPTION_OF_USER, "full"),
    ALIAS("http_timeout", "deadline", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER),
    ALIAS("sse_kms", "sse_key", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    IGNORED("no_systemd"),
    IGNORED("no_specials"),
    IGNORED("no_detect"),
    IGNORED("no_checksum"),
    IGNORED("use_content_type"),
    IGNORED("use_enomem"),
    IGNORED("enable_patch"),
    IGNORED("debug"),
    IGNORED("debug_s3"),
    IGNORED("debug_fuse"),
    IGNORED("f"),
    IGNORED("iam"),
    SKIPPED("setuid"),
    SKIPPED("setgid"),
    SKIPPED("list_type"),
    SKIPPED("part_sizes"),
    SKIPPED("single_part"),
    SKIPPED("entry_limit"),
    SKIPPED("gc_interval"),
    SKIPPED("read_ahead"),
    SKIPPED("read_ahead_small"),
    SKIPPED("read_ahead_parallel"),
    SKIPPED("large_read_cutoff"),
    SKIPPED("retry_interval"),
    SKIPPED("fuse_read_ahead"),
    ALIAS("log_file", "log_file", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("shared_config", "shared_config", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),

    /* s3fs */
    ALIAS("mp_umask", "umask", MOUNT_OPTION_MODE, MOUNT_OPTION_OF_USER),
    ALIAS("stat_cache_expire", "attr_timeout", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER),
    ALIAS("parallel_count", "parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER),
    SKIPPED("multipart_size"),
    ALIAS("default_acl", "acl", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    ALIAS("use_cache", "cache", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("passwd_file", "passwd_file", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("no_check_certificate", "insecure_tls", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("readwrite_timeout", "deadline", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER),
    ALIAS("public_bucket", "anonymous", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    FIXED("use_xattr", "attrs", MOUNT_OPTION_OF_USER, "full"),
    FIXED("use_sse", "sse", MOUNT_OPTION_OF_USER, "AES256"),
    IGNORED("compat_dir"),
    IGNORED("notsup_compat_dir"),
    IGNORED("complement_stat"),
    IGNORED("del_cache"),
    IGNORED("enable_noobj_cache"),
    IGNORED("nomixupload"),
    IGNORED("sigv4"),
    IGNORED("curldbg"),
    SKIPPED("dbglevel"),
    SKIPPED("connect_timeout"),
    SKIPPED("list_object_max_keys"),
    SKIPPED("max_stat_cache_size"),
    SKIPPED("ensure_diskfree"),
    SKIPPED("multireq_max"),

    /* rclone */
    SKIPPED("dir_cache_time"),
    ALIAS("s3_acl", "acl", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    ALIAS("s3_storage_class", "storage_class", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    ALIAS("s3_upload_concurrency", "parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER),
    SKIPPED("s3_chunk_size"),
    ALIAS("transfers", "parallel", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_USER),
    SCALED("vfs_read_ahead", "readahead", MOUNT_OPTION_OF_USER, 1),
    ALIAS("cache_dir", "cache", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("vfs_cache_max_size", "cache_size", MOUNT_OPTION_SIZE, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("config", "config", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    IGNORED("daemon"),
    IGNORED("allow_non_empty"),
    IGNORED("links"),
    IGNORED("vfs_links"),
    IGNORED("vfs_fast_fingerprint"),
    IGNORED("no_modtime"),
    SKIPPED("vfs_cache_mode"),
    SKIPPED("vfs_cache_max_age"),
    SKIPPED("vfs_write_back"),
    SKIPPED("vfs_read_chunk_size"),
    SKIPPED("vfs_read_chunk_size_limit"),
    SKIPPED("buffer_size"),
    SKIPPED("poll_interval"),
    SKIPPED("s3_provider"),
    SKIPPED("max_read_ahead"),

    /* mountpoint-s3 */
    ALIAS("metadata_ttl", "attr_timeout", MOUNT_OPTION_SECONDS, MOUNT_OPTION_OF_USER),
    SCALED("max_cache_size", "cache_size", MOUNT_OPTION_OF_OPERATOR, MIB),
    SKIPPED("read_part_size"),
    SKIPPED("write_part_size"),
    ALIAS("max_threads", "threads", MOUNT_OPTION_COUNT, MOUNT_OPTION_OF_OPERATOR),
    ALIAS("no_sign_request", "anonymous", MOUNT_OPTION_BOOL, MOUNT_OPTION_OF_USER),
    ALIAS("sse_kms_key_id", "sse_key", MOUNT_OPTION_WORD, MOUNT_OPTION_OF_USER),
    ALIAS("log_directory", "log_directory", MOUNT_OPTION_PATH, MOUNT_OPTION_OF_OPERATOR),
    IGNORED("allow_delete"),
    IGNORED("allow_overwrite"),
    IGNORED("incremental_upload"),
    IGNORED("no_log"),
    IGNORED("auto_unmount"),
    IGNORED("foreground"),
    SKIPPED("upload_checksums"),
    SKIPPED("maximum_throughput_gbps"),

    /* mount(8) and libfuse: on, or without meaning for us */
    KERNEL("exec", GROUP_EXEC, MOUNT_OPTION_OF_USER, "exec"),
    KERNEL("noexec", GROUP_EXEC, MOUNT_OPTION_OF_OPERATOR, "noexec"),
    KERNEL("suid", GROUP_SUID, MOUNT_OPTION_OF_OPERATOR, "suid"),
    KERNEL("nosuid", GROUP_SUID, MOUNT_OPTION_OF_USER, "nosuid"),
    KERNEL("dev", GROUP_DEV, MOUNT_OPTION_OF_OPERATOR, "dev"),
    KERNEL("nodev", GROUP_DEV, MOUNT_OPTION_OF_USER, "nodev"),
    {.spelling = "allow_root",
     .kind = MOUNT_OPTION_REFUSED,
     .choices = "a mount of root's has allow_other, always; an ordinary user's is this user's"},
    IGNORED("allow_other"),
    IGNORED("default_permissions"),
    IGNORED("defaults"),
    IGNORED("async"), /* mount(8)'s opposite of sync, and its default: not our sync=async */
    IGNORED("dirsync"),
    IGNORED("atime"),
    IGNORED("noatime"),
    IGNORED("relatime"),
    IGNORED("norelatime"),
    IGNORED("strictatime"),
    IGNORED("nostrictatime"),
    IGNORED("diratime"),
    IGNORED("nodiratime"),
    IGNORED("lazytime"),
    IGNORED("nolazytime"),
    IGNORED("iversion"),
    IGNORED("noiversion"),
    IGNORED("silent"),
    IGNORED("loud"),
    IGNORED("mand"),
    IGNORED("nomand"),
    IGNORED("_netdev"),
    IGNORED("auto"),
    IGNORED("noauto"),
    IGNORED("nofail"),
    IGNORED("user"), /* also user=NAME, as mount(8) says who it was */
    IGNORED("nouser"),
    IGNORED("users"),
    IGNORED("nousers"),
    IGNORED("group"),
    IGNORED("nogroup"),
    IGNORED("owner"),
    IGNORED("noowner"),
    SKIPPED("comment"),
    IGNORED("nonempty"),
    IGNORED("big_writes"),
    IGNORED("async_read"),
    IGNORED("kernel_cache"),
    IGNORED("auto_cache"),
    SKIPPED("max_read"),
    SKIPPED("max_write"),
    SKIPPED("max_background"),
    SKIPPED("entry_timeout"),
    SKIPPED("negative_timeout"),
    {.spelling = "fsname", .kind = MOUNT_OPTION_SOURCE},
    SKIPPED("subtype"),
};

const size_t mount_option_table_count = sizeof(mount_option_table) / sizeof(mount_option_table[0]);
