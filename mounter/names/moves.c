/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/moves.h"
#include "mounter/session/eio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "util/encode.h"
#include "util/log.h"

#define FOLDER VOLUME_RESERVED "move/"
#define KEPT VOLUME_RESERVED "exchange/" /* what an exchange has taken out of the way */

enum {
    META_TIMEOUT_MS = 50000,
    RENEW_MS = 30000,
    NOTE_MAX = 16384,
    NOTES_MAX = 100,
    FIRST_LOOK_MS = 2000,
};

/* Listings tell times finer than headers do. */
static const int64_t grain_ns = 1000000000;

/* ---- notes ---- */

void move_note_done(struct move_note *note)
{
    free(note->a);
    free(note->b);
    note->a = note->b = NULL;
}

int move_note_init(struct move_note *note, uint64_t token, const char *a, const char *b)
{
    *note = (struct move_note){.a = strdup(a), .b = strdup(b)};
    (void)snprintf(note->id, sizeof(note->id), "%016" PRIx64, token);
    if (note->a == NULL || note->b == NULL) {
        move_note_done(note);
        return -ENOMEM;
    }
    return 0;
}

static void note_key(const struct move_note *note, struct buf *out)
{
    buf_addstr(out, FOLDER);
    buf_addstr(out, note->id);
}

static void print(const struct move_note *note, struct buf *out)
{
    buf_addf(out, "%s %d%d %u %" PRId64 " ", note->exchange ? "exchange" : "move", note->a_dir,
             note->b_dir, note->phase, note->begun_ns);
    encode_percent(out, slice_of(note->a), true);
    buf_addstr(out, " ");
    encode_percent(out, slice_of(note->b), true);
    buf_addf(out, " %" PRId64 "\n", fs_now_ns()); /* so that no two notes have one ETag */
}

static char *next_word(char **text)
{
    return strsep(text, " \n");
}

static char *decoded(const char *word)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    return word != NULL && decode_percent(&out, slice_of(word), false) == 0 && buf_error(&out) == 0
               ? strdup(buf_str(&out))
               : NULL;
}

static int parse(char *text, struct move_note *ret)
{
    const char *kind = next_word(&text);
    const char *dirs = next_word(&text);
    const char *phase = next_word(&text);
    const char *begun = next_word(&text);
    const char *a = next_word(&text);
    const char *b = next_word(&text);

    if (kind == NULL || dirs == NULL || strlen(dirs) != 2 || phase == NULL || begun == NULL ||
        (strcmp(kind, "exchange") != 0 && strcmp(kind, "move") != 0)) {
        return -EBADMSG;
    }
    free(ret->a);
    free(ret->b);
    ret->exchange = kind[0] == 'e';
    ret->a_dir = dirs[0] == '1';
    ret->b_dir = dirs[1] == '1';
    ret->phase = (unsigned)strtoul(phase, NULL, 10);
    ret->begun_ns = strtoll(begun, NULL, 10);
    ret->a = decoded(a);
    ret->b = decoded(b);
    return ret->a == NULL || ret->b == NULL || ret->a[0] == '\0' || ret->b[0] == '\0' ? -EBADMSG
                                                                                      : 0;
}

int move_note_read(struct fs *fs, struct move_note *note)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {.op = OBJSTORE_GET, .timeout_ms = META_TIMEOUT_MS};
    AUTOFREE char *text = NULL;
    int ret;

    note_key(note, &key);
    get.key = buf_str(&key);
    answer.body.max = NOTE_MAX;
    ret = volume_call_internal(fs->volume, &get, &answer);
    if (ret != 0) {
        return ret;
    }
    text = strdup(buf_str(&answer.body));
    ret = text == NULL ? -ENOMEM : parse(text, note);
    memcpy(note->etag, answer.result.info.etag, sizeof(note->etag));
    note->begun_ns = note->begun_ns == 0 ? answer.result.info.mtime_ns : note->begun_ns;
    return ret;
}

/* -ESTALE, -ENOENT: somebody else has gone on with it. */
static int put_note(struct fs *fs, struct move_note *note)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    CLEANUP(buf_done) struct buf text = BUF_INIT(NOTE_MAX);
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request put = {.op = OBJSTORE_PUT, .timeout_ms = META_TIMEOUT_MS};
    int ret;

    note_key(note, &key);
    print(note, &text);
    if (buf_error(&key) != 0 || buf_error(&text) != 0) {
        return -ENOMEM;
    }
    put.key = buf_str(&key);
    put.source.data = buf_str(&text);
    put.source.size = buf_len(&text);
    if (note->etag[0] != '\0' && fs->caps.if_match_put) {
        put.if_match = note->etag;
    }
    ret = volume_call_internal(fs->volume, &put, &answer);
    if (ret == 0) {
        memcpy(note->etag, answer.result.info.etag, sizeof(note->etag));
        note->noted_ms = fs_now_ms();
    }
    return ret;
}

void move_note_end(struct fs *fs, const struct move_note *note)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    int ret;

    note_key(note, &key);
    ret = remote_delete(fs, buf_str(&key));
    if (ret != 0 && ret != -ENOENT) {
        log_warn("rename: the note of a finished move stays", "key", buf_str(&key), "error",
                 strerror(-ret), NULL);
    }
}

/* ---- carrying out ---- */

struct running {
    struct fs *fs;
    struct move_note *note;
};

static int tell(void *arg, uint64_t moved)
{
    struct running *run = arg;
    struct move_note *note = run->note;
    bool ending;

    mutex_lock(&run->fs->lock);
    ending = run->fs->ending;
    mutex_unlock(&run->fs->lock);
    if (ending && note->resumed) {
        return -ECANCELED;
    }
    if (fs_now_ms() < note->noted_ms + RENEW_MS) {
        return 0;
    }
    log_info("rename: moving a directory", "from", note->a, "to", note->b, "objects",
             log_num((long long)moved), NULL);
    return put_note(run->fs, note);
}

static int move_dir(struct running *run, const char *from, const char *to)
{
    AUTOFREE char *from_dir = NULL;
    AUTOFREE char *to_dir = NULL;
    struct tree tree = {.progress = tell,
                        .arg = run,
                        .before_ns = run->note->resumed && !run->note->exchange
                                         ? run->note->begun_ns + grain_ns
                                         : 0};

    if (asprintf(&from_dir, "%s/", from) < 0 || asprintf(&to_dir, "%s/", to) < 0) {
        return -ENOMEM;
    }
    tree.from = from_dir;
    tree.to = to_dir;
    return tree_move(run->fs, &tree);
}

/* A source that is gone has been moved by an earlier try, if what it became is there. */
static int move_file(struct running *run, const char *from, const char *to, bool remove)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {
        .op = OBJSTORE_HEAD, .key = from, .timeout_ms = META_TIMEOUT_MS};
    struct copy_what what = {.from = from, .to = to};
    char etag[STATE_ETAG_SIZE];
    int ret = volume_call_internal(run->fs->volume, &head, &answer);

    if (ret == -ENOENT && remove) {
        objstore_answer_done(&answer);
        answer = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        head.key = to;
        return volume_call_internal(run->fs->volume, &head, &answer);
    }
    what.size = answer.result.info.size;
    what.if_match = answer.result.info.etag;
    ret = ret == 0 ? remote_copy(run->fs, &what, etag) : ret;
    return ret == 0 && remove ? remote_delete(run->fs, from) : ret;
}

/*
 * a to a third place, b to a, the third to b. Files are not removed before they are overwritten, so
 * that others see no name without a file; but a file and a directory have different keys.
 */
static int exchange_step(struct running *run)
{
    const struct move_note *note = run->note;
    bool remove = note->phase == 2 || note->a_dir != note->b_dir;
    bool is_dir = note->phase == 1 ? note->b_dir : note->a_dir;
    AUTOFREE char *third = NULL;
    const char *from;
    const char *to;

    if (asprintf(&third, KEPT "%s", note->id) < 0) {
        third = NULL;
        return -ENOMEM;
    }
    from = note->phase == 0 ? note->a : note->phase == 1 ? note->b : third;
    to = note->phase == 0 ? third : note->phase == 1 ? note->a : note->b;
    return is_dir ? move_dir(run, from, to) : move_file(run, from, to, remove);
}

/* When it was noted first, as the store's clock has it: what is written later is not moved. */
static int learn_time(struct fs *fs, struct move_note *note)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(256);
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .timeout_ms = META_TIMEOUT_MS};
    int ret;

    note_key(note, &key);
    head.key = buf_str(&key);
    ret = volume_call_internal(fs->volume, &head, &answer);
    note->begun_ns = answer.result.info.mtime_ns;
    return ret;
}

/*
 * A note that the mounter before us had sent may be stored after we read it: it is still ours, as
 * far as that one says. Others go on with it only when nobody has renewed it for long.
 */
static int begin_note(struct fs *fs, struct move_note *note)
{
    int ret = put_note(fs, note);

    if (ret == -ESTALE && !note->resumed) {
        ret = move_note_read(fs, note);
        ret = ret == 0 ? put_note(fs, note) : ret;
    }
    return ret;
}

int move_note_run(struct fs *fs, struct move_note *note)
{
    struct running run = {fs, note};
    int ret = begin_note(fs, note);

    if (!note->exchange) {
        ret = ret == 0 && note->begun_ns == 0 ? learn_time(fs, note) : ret;
        return ret == 0 ? move_dir(&run, note->a, note->b) : ret;
    }
    while (ret == 0 && note->phase < MOVES_DONE) {
        ret = exchange_step(&run);
        if (ret == 0) {
            note->phase++;
            ret = put_note(fs, note);
        }
    }
    return ret == -ESTALE ? eio("an exchange: what is to be moved has gone") : ret;
}

/* ---- of mounts that are gone ---- */

/* What was there at the last look. */
struct moves {
    struct move_note notes[NOTES_MAX];
    size_t count;
    uint64_t next_ms; /* of the next look */
    bool looking;
    bool pending; /* there were some, or one has failed here */
};

static int look(struct fs *fs, struct moves *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST,
                                    .key = FOLDER,
                                    .max_entries = NOTES_MAX,
                                    .timeout_ms = META_TIMEOUT_MS};
    int r = volume_call_internal(fs->volume, &list, &answer);

    ret->count = 0;
    for (size_t i = 0; r == 0 && i < answer.result.count && i < NOTES_MAX; i++) {
        const struct objstore_entry *e = &answer.result.entries[i];
        struct move_note *note = &ret->notes[ret->count];

        if (strlen(e->key + strlen(FOLDER)) < sizeof(note->id)) {
            *note = (struct move_note){0};
            (void)snprintf(note->id, sizeof(note->id), "%s", e->key + strlen(FOLDER));
            memcpy(note->etag, e->info.etag, sizeof(note->etag));
            ret->count++;
        }
    }
    return r;
}

/* Nobody has renewed it since the last look: then nobody is at work on it. */
static void finish(struct fs *fs, const struct move_note *seen)
{
    struct move_note note = *seen;
    int ret = move_note_read(fs, &note);

    if (ret == 0 && strcmp(note.etag, seen->etag) == 0) {
        note.resumed = true;
        log_warn("rename: finishing what another mount has begun", "from", note.a, "to", note.b,
                 NULL);
        ret = move_note_run(fs, &note);
        if (ret == 0) {
            move_note_end(fs, &note);
        }
    }
    if (ret != 0 && ret != -ENOENT) {
        log_warn("rename: a move of another mount cannot be finished", "note", note.id, "error",
                 strerror(-ret), NULL);
    }
    move_note_done(&note);
}

static void look_run(void *arg)
{
    struct fs *fs = arg;
    struct moves *moves = fs->moves;
    bool again = moves->count > 0;
    bool ending = false;

    for (size_t i = 0; i < moves->count && !ending; i++) {
        finish(fs, &moves->notes[i]);
        mutex_lock(&fs->lock);
        ending = fs->ending;
        mutex_unlock(&fs->lock);
    }
    if (!ending && look(fs, moves) != 0) {
        again = true; /* the store does not answer now */
    }
    mutex_lock(&fs->lock);
    moves->looking = false;
    moves->pending = again || moves->count > 0;
    moves->next_ms = moves->pending ? fs_now_ms() + fs->options.recover_ms : UINT64_MAX;
    mutex_unlock(&fs->lock);
}

void moves_expect(struct fs *fs)
{
    mutex_lock(&fs->lock);
    if (fs->moves != NULL) {
        fs->moves->next_ms = fs_now_ms() + fs->options.recover_ms;
        fs->moves->pending = true;
    }
    mutex_unlock(&fs->lock);
}

bool moves_pending(const struct fs *fs)
{
    return fs->moves != NULL && fs->moves->pending;
}

void moves_tick(struct fs *fs)
{
    struct moves *moves;
    bool due;

    if (fs->options.read_only) {
        return;
    }
    mutex_lock(&fs->lock);
    if (fs->moves == NULL) {
        fs->moves = calloc(1, sizeof(*fs->moves));
        if (fs->moves != NULL) {
            fs->moves->next_ms = fs_now_ms() + FIRST_LOOK_MS;
        }
    }
    moves = fs->moves;
    due = moves != NULL && !moves->looking && fs_now_ms() >= moves->next_ms &&
          LIST_EMPTY(&fs->collapses);
    if (due) {
        moves->looking = true;
    }
    mutex_unlock(&fs->lock);
    if (due && tasks_add(fs->tasks, look_run, fs) != 0) {
        mutex_lock(&fs->lock);
        moves->looking = false;
        mutex_unlock(&fs->lock);
    }
}
