/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_turn.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"

/* WAIT_MS is for turns that nobody tells us of. */
enum { FILE_MODE = 0640, WAIT_MS = 10, GIVE_WAY_MS = 10 };

struct dir_turn_shared {
    atomic_uint_least32_t ended;  /* turns, ever; what is waited for */
    atomic_uint_least32_t waited; /* by whom; 0: by nobody. Who is killed leaves it, for one turn */
    atomic_uint_least32_t places; /* that were ever opened */
};

void dir_turn_open(struct dir_turn *turn, const char *path)
{
    AUTOFREE char *name = NULL;
    AUTOCLOSE int fd = -1;
    void *memory;

    *turn = (struct dir_turn){.shared = NULL};
    if (asprintf(&name, "%s-turn", path) < 0) {
        name = NULL;
        return;
    }
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    /* Allocated and not only made longer: a full disk would kill who writes to the mapping. */
    if (fd < 0 || posix_fallocate(fd, 0, sizeof(*turn->shared)) != 0) {
        return;
    }
    memory = mmap(NULL, sizeof(*turn->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    turn->shared = memory;
    do {
        turn->number = (uint32_t)(atomic_fetch_add(&turn->shared->places, 1) + 1);
    } while (turn->number == 0);
}

void dir_turn_close(struct dir_turn *turn)
{
    if (turn->shared != NULL) {
        (void)munmap(turn->shared, sizeof(*turn->shared));
        turn->shared = NULL;
    }
}

/* Until a turn ends, unless more than `ended` have; whatever wakes us, the index is looked at. */
static void wait_for_end(struct dir_turn *turn, uint32_t ended, int wait_ms)
{
    const struct timespec most = {.tv_nsec = wait_ms * 1000000L};

    /* Before the kernel looks at what ended: who ends a turn after that wakes us. */
    atomic_store(&turn->shared->waited, turn->number);
    (void)syscall(SYS_futex, &turn->shared->ended, FUTEX_WAIT, ended, &most, NULL, 0);
}

void dir_turn_begin(struct dir_turn *turn)
{
    if (turn->shared == NULL) {
        return;
    }
    if (turn->gives_way) {
        turn->gives_way = false;
        wait_for_end(turn, turn->ended, GIVE_WAY_MS);
    }
    turn->seen = atomic_load(&turn->shared->ended);
}

void dir_turn_wait(struct dir_turn *turn)
{
    if (turn->shared == NULL) {
        (void)nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
        return;
    }
    wait_for_end(turn, turn->seen, WAIT_MS);
    turn->seen = atomic_load(&turn->shared->ended);
}

bool dir_turn_end(struct dir_turn *turn)
{
    uint32_t who;

    if (turn->shared == NULL) {
        return false;
    }
    turn->ended = (uint32_t)(atomic_fetch_add(&turn->shared->ended, 1) + 1);
    who = (uint32_t)atomic_exchange(&turn->shared->waited, 0);
    turn->gives_way = who != 0 && who != turn->number;
    if (who != 0) { /* ours may have taken another's place */
        (void)syscall(SYS_futex, &turn->shared->ended, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    }
    return turn->gives_way;
}
