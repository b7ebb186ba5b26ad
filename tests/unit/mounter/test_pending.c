/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions without a kernel: the test holds the other end of a socket in place of /dev/fuse, so it
 * decides what arrives when, and sees each answer.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mounter/session/pending.h"
#include "mounter/session/session.h"
#include "test.h"
#include "util/cleanup.h"

static struct {
    struct keep *keep;
    struct session *session;
    int kernel; /* the test's end */
    int device;
    uint64_t unique;
    _Atomic(struct pending *) parked; /* a request that the handler left to the test */
    atomic_int cancelled;
    atomic_bool reply_in_cancel;
    atomic_uint lookups;
    atomic_uint forgets;
    atomic_uint replays;
    atomic_bool interruptible;
} t;

/* The file system: LOOKUP is left to the test, GETATTR answers directly, READ through pending. */

static void cancel(void *context)
{
    atomic_fetch_add(&t.cancelled, 1);
    if (atomic_load(&t.reply_in_cancel)) {
        assert_int_equal(pending_reply_err(context, EIO), -ECANCELED);
    }
}

static void on_lookup(fuse_req_t req, UNUSED fuse_ino_t parent, UNUSED const char *name)
{
    struct pending *p = pending_begin(req);

    assert_non_null(p);
    atomic_fetch_add(&t.lookups, 1);
    atomic_fetch_add(&t.replays, pending_replay(p));
    if (atomic_load(&t.interruptible)) {
        pending_interruptible(p, cancel, p);
    }
    atomic_store(&t.parked, p);
}

static void on_getattr(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    (void)fuse_reply_err(req, ENOENT);
}

static void on_forget(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED uint64_t nlookup)
{
    struct pending *p = pending_begin(req);

    atomic_fetch_add(&t.forgets, 1);
    pending_reply_none(p);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup, .getattr = on_getattr, .forget = on_forget};

/* The kernel */

static void send_request(uint32_t opcode, uint64_t unique, const void *body, size_t len)
{
    char packet[512];
    struct fuse_in_header in = {
        .len = (uint32_t)(sizeof(in) + len), .opcode = opcode, .unique = unique, .nodeid = 1};

    memcpy(packet, &in, sizeof(in));
    memcpy(packet + sizeof(in), body, len);
    assert_int_equal(send(t.kernel, packet, in.len, 0), in.len);
}

static uint64_t send_lookup(void)
{
    t.unique += 2;
    send_request(FUSE_LOOKUP, t.unique, "name", 5);
    return t.unique;
}

/* The next answer within a second. */
static struct fuse_out_header receive_answer(void)
{
    struct pollfd p = {.fd = t.kernel, .events = POLLIN};
    struct fuse_out_header out = {0};
    char packet[4096];

    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_true(recv(t.kernel, packet, sizeof(packet), 0) >= (ssize_t)sizeof(out));
    memcpy(&out, packet, sizeof(out));
    return out;
}

static bool answer_is_there(int wait_ms)
{
    struct pollfd p = {.fd = t.kernel, .events = POLLIN};

    return poll(&p, 1, wait_ms) == 1;
}

static struct pending *wait_parked(void)
{
    struct pending *p = NULL;

    for (int i = 0; i < 5000 && p == NULL; i++) {
        p = atomic_exchange(&t.parked, NULL);
        (void)poll(NULL, 0, p == NULL);
    }
    assert_non_null(p);
    return p;
}

static uint32_t in_flight(void)
{
    struct session_stats stats;

    session_stats(t.session, &stats);
    return stats.in_flight;
}

/* Processes: a session, and one after it with the same memory */

static void start_session(uint64_t deadline_ms, bool resend)
{
    struct session_config config = {.ops = &operations,
                                    .keep = t.keep,
                                    .device = t.device,
                                    .threads = 2,
                                    .small_slots = 16,
                                    .deadline_ms = deadline_ms,
                                    .resend = resend};
    struct error err = ERROR_INIT;

    assert_int_equal(session_new(&config, &t.session, &err), 0);
    if (!session_taken_over(t.session)) {
        struct fuse_init_in init = {.major = 7, .minor = 31, .flags = FUSE_MAX_PAGES};

        t.unique = 2;
        send_request(FUSE_INIT, t.unique, &init, sizeof(init));
    }
    assert_int_equal(session_start(t.session, &err), 0);
    assert_int_equal(receive_answer().unique, 2); /* a successor answers INIT again */
}

static void stop_session(void)
{
    session_stop(t.session);
    assert_int_equal(session_wait(t.session, 5000), 0);
}

static int set_up(UNUSED void **state)
{
    int pair[2];

    memset(&t, 0, sizeof(t));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -1;
    }
    t.kernel = pair[0];
    t.device = pair[1];
    return keep_new(&t.keep);
}

static int tear_down(UNUSED void **state)
{
    session_stop(t.session);
    if (session_wait(t.session, 5000) < 0) {
        return -1;
    }
    session_free(t.session);
    keep_free(t.keep);
    (void)close(t.kernel);
    (void)close(t.device);
    return 0;
}

static void a_request_is_answered_later_by_another_thread(UNUSED void **state)
{
    struct fuse_entry_param entry = {.ino = 7};
    struct pending *p;
    uint64_t unique;

    start_session(0, false);
    unique = send_lookup();
    p = wait_parked();
    assert_int_equal(pending_unique(p), unique);
    assert_false(pending_replay(p));
    assert_true(session_in_flight(t.session, unique));
    assert_int_equal(in_flight(), 1);
    assert_int_equal(pending_reply_entry(p, &entry), 0);
    assert_int_equal(receive_answer().unique, unique);
    assert_int_equal(in_flight(), 0);
    assert_false(session_in_flight(t.session, unique));
}

static void more_requests_than_slots_are_served_in_turn(UNUSED void **state)
{
    start_session(0, false);
    for (int i = 0; i < 200; i++) {
        uint64_t unique = send_lookup();

        assert_int_equal(pending_reply_err(wait_parked(), ENOENT), 0);
        assert_int_equal(receive_answer().unique, unique);
        send_request(FUSE_GETATTR, t.unique += 2, &(struct fuse_getattr_in){0},
                     sizeof(struct fuse_getattr_in));
        assert_int_equal(receive_answer().error, -ENOENT);
        send_request(4095, t.unique += 2, "", 0); /* libfuse answers what it does not know */
        assert_int_equal(receive_answer().error, -ENOSYS);
    }
}

static void the_deadline_answers_and_the_operation_comes_too_late(UNUSED void **state)
{
    struct fuse_out_header out;
    struct pending *p;
    uint64_t unique;

    start_session(50, false);
    unique = send_lookup();
    p = wait_parked();
    out = receive_answer();
    assert_int_equal(out.unique, unique);
    assert_int_equal(out.error, -EIO);
    assert_int_equal(pending_claim(p), -ECANCELED);
    assert_int_equal(pending_set_deadline(p, 1000), -ECANCELED);
    assert_int_equal(pending_reply_err(p, 0), -ECANCELED);
    assert_false(answer_is_there(20));
    assert_int_equal(t.cancelled, 0);
}

static void a_claimed_request_is_nobody_elses(UNUSED void **state)
{
    struct pending *p;

    start_session(50, false);
    (void)send_lookup();
    p = wait_parked();
    assert_int_equal(pending_claim(p), 0);
    assert_false(answer_is_there(150));
    assert_int_equal(pending_reply_err(p, ENOENT), 0);
    assert_int_equal(receive_answer().error, -ENOENT);
}

static void a_deadline_can_be_moved(UNUSED void **state)
{
    struct pending *p;

    start_session(60000, false);
    (void)send_lookup();
    p = wait_parked();
    assert_int_equal(pending_set_deadline(p, 1), 0);
    assert_int_equal(receive_answer().error, -EIO);
    assert_int_equal(pending_reply_err(p, 0), -ECANCELED);
}

static void interrupt(uint64_t unique)
{
    send_request(FUSE_INTERRUPT, unique | 1, &(struct fuse_interrupt_in){.unique = unique},
                 sizeof(struct fuse_interrupt_in));
}

static void an_interrupt_cancels_what_can_be_abandoned(UNUSED void **state)
{
    struct fuse_out_header out;
    struct pending *p;
    uint64_t unique;

    atomic_store(&t.interruptible, true);
    start_session(0, false);
    unique = send_lookup();
    p = wait_parked();
    interrupt(unique);
    out = receive_answer();
    assert_int_equal(out.unique, unique);
    assert_int_equal(out.error, -EINTR);
    assert_int_equal(pending_reply_err(p, 0), -ECANCELED);
    assert_int_equal(t.cancelled, 1);
}

static void an_interrupt_leaves_alone_what_cannot(UNUSED void **state)
{
    struct pending *p;
    uint64_t unique;

    start_session(0, false);
    unique = send_lookup();
    p = wait_parked();
    interrupt(unique);
    assert_false(answer_is_there(50));
    assert_int_equal(pending_reply_err(p, ENOENT), 0);
    assert_int_equal(receive_answer().error, -ENOENT);
}

static void an_operation_may_end_within_its_cancellation(UNUSED void **state)
{
    atomic_store(&t.interruptible, true);
    atomic_store(&t.reply_in_cancel, true);
    start_session(0, false);
    for (int i = 0; i < 20; i++) {
        interrupt(send_lookup());
        assert_int_equal(receive_answer().error, -EINTR);
        (void)wait_parked();
    }
    for (int i = 0; i < 1000 && in_flight() > 0; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(in_flight(), 0);
}

/* Deadline and answer race: exactly one of them wins, each time. */
static void deadline_and_answer_race(UNUSED void **state)
{
    start_session(60000, false);
    for (unsigned i = 0; i < 300; i++) {
        struct pending *p;
        struct fuse_out_header out;
        int r;

        (void)send_lookup();
        p = wait_parked();
        (void)pending_set_deadline(p, 1);
        (void)poll(NULL, 0, (int)(i % 3));
        r = pending_reply_err(p, ENOENT);
        out = receive_answer();
        assert_int_equal(out.error, r == 0 ? -ENOENT : -EIO);
        assert_false(answer_is_there(0));
    }
}

static void what_is_unanswered_comes_again_to_the_successor(UNUSED void **state)
{
    struct session *first;
    struct pending *left;
    struct pending *p;
    uint64_t unique;

    start_session(0, false);
    unique = send_lookup();
    left = wait_parked();
    stop_session();
    assert_int_equal(session_drain(t.session, 10), -ETIMEDOUT);
    first = t.session; /* a killed process does not tidy up */

    start_session(0, false);
    assert_true(session_taken_over(t.session));
    assert_true(session_in_flight(t.session, unique));
    p = wait_parked();
    assert_int_equal(pending_unique(p), unique);
    assert_true(pending_replay(p));
    assert_int_equal(pending_reply_err(p, ENOENT), 0);
    assert_int_equal(receive_answer().unique, unique);

    (void)pending_reply_err(left, 0); /* only to free what the first one had */
    (void)receive_answer();
    session_free(first);
}

static void with_resend_only_forgets_come_from_the_slots(UNUSED void **state)
{
    struct fuse_out_header notify;
    struct session *first;
    struct pending *left;
    struct pending *p;
    uint64_t unique;
    char packet[64];

    start_session(0, false);
    unique = send_lookup();
    left = wait_parked();
    stop_session();
    first = t.session;

    {
        struct session_config config = {
            .ops = &operations, .keep = t.keep, .device = t.device, .threads = 2, .resend = true};

        assert_int_equal(session_new(&config, &t.session, NULL), 0);
        assert_int_equal(session_start(t.session, NULL), 0);
    }
    assert_int_equal(receive_answer().unique, 2);
    assert_int_equal(recv(t.kernel, packet, sizeof(packet), 0), sizeof(notify));
    memcpy(&notify, packet, sizeof(notify));
    assert_int_equal(notify.unique, 0);
    assert_int_equal(notify.error, 7); /* FUSE_NOTIFY_RESEND */
    assert_null(t.parked);

    send_request(FUSE_LOOKUP, unique | 1ULL << 63, "name", 5);
    p = wait_parked();
    assert_int_equal(pending_unique(p), unique);
    assert_true(pending_replay(p));
    assert_int_equal(pending_reply_err(p, ENOENT), 0);
    assert_true(receive_answer().unique == (unique | 1ULL << 63));

    (void)pending_reply_err(left, 0);
    (void)receive_answer();
    session_free(first);
}

static void forgets_are_handled_without_an_answer(UNUSED void **state)
{
    struct {
        struct fuse_batch_forget_in head;
        struct fuse_forget_one one[3];
    } batch = {.head = {.count = 3}, .one = {{5, 1}, {6, 1}, {7, 1}}};

    start_session(0, false);
    send_request(FUSE_FORGET, t.unique += 2, &(struct fuse_forget_in){1},
                 sizeof(struct fuse_forget_in));
    send_request(FUSE_BATCH_FORGET, t.unique += 2, &batch, sizeof(batch));
    for (int i = 0; i < 1000 && atomic_load(&t.forgets) < 4; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(t.forgets, 4);
    assert_false(answer_is_there(0));
    stop_session();
    assert_int_equal(session_drain(t.session, 1000), 0);
}

static void numbers_out_of_range_are_refused(UNUSED void **state)
{
    struct session_config config = {.ops = &operations, .keep = t.keep, .device = t.device};
    struct session *s = NULL;

    config.threads = 65;
    assert_int_equal(session_new(&config, &s, NULL), -EINVAL);
    config.threads = 4;
    config.large_slots = 4;
    assert_int_equal(session_new(&config, &s, NULL), -EINVAL);
    config.large_slots = 0;
    config.device = -1;
    assert_int_equal(session_new(&config, &s, NULL), -EINVAL);
    start_session(0, false);
}

#define WITH_KERNEL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KERNEL(a_request_is_answered_later_by_another_thread),
        WITH_KERNEL(more_requests_than_slots_are_served_in_turn),
        WITH_KERNEL(the_deadline_answers_and_the_operation_comes_too_late),
        WITH_KERNEL(a_claimed_request_is_nobody_elses),
        WITH_KERNEL(a_deadline_can_be_moved),
        WITH_KERNEL(an_interrupt_cancels_what_can_be_abandoned),
        WITH_KERNEL(an_interrupt_leaves_alone_what_cannot),
        WITH_KERNEL(an_operation_may_end_within_its_cancellation),
        WITH_KERNEL(deadline_and_answer_race),
        WITH_KERNEL(what_is_unanswered_comes_again_to_the_successor),
        WITH_KERNEL(with_resend_only_forgets_come_from_the_slots),
        WITH_KERNEL(forgets_are_handled_without_an_answer),
        WITH_KERNEL(numbers_out_of_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
