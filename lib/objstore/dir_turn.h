/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_turn.h - who waits to write to an index is woken by who has written, and is next.
 *
 * SQLite sleeps between its tries to lock the index, up to 100 ms, while others come and go. This
 * is no lock: it only says when to try again, and whom to let pass. All waits have an end, so that
 * a process that was killed, or a program that knows nothing of it, costs others some milliseconds.
 *
 * The file beside the index, PATH-turn, is mapped by all processes. A place belongs to one
 * connection and is one thread's at a time; everything takes a place that could not be opened, too,
 * and then says so.
 */
#ifndef OBJSTORE_DIR_TURN_H
#define OBJSTORE_DIR_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct dir_turn_shared;

struct dir_turn {
    struct dir_turn_shared *shared; /* NULL: there are no turns */
    uint32_t number;                /* tells it from other places */
    uint32_t seen;                  /* how many had ended when the index was last found locked */
    uint32_t ended;                 /* and with our last one */
    bool gives_way;                 /* somebody waited for it to end */
};

/* `path`: of the index. Where there is no room for the file, or it is not ours, there are no
 * turns. */
void dir_turn_open(struct dir_turn *turn, const char *path);
void dir_turn_close(struct dir_turn *turn);

/* Before the index is locked: lets who waited for our last turn to end have one, for a while. */
void dir_turn_begin(struct dir_turn *turn);
/* The index was locked: returns when a turn has ended, or after a while. */
void dir_turn_wait(struct dir_turn *turn);
/* The index is free again. True: somebody waited for it. */
bool dir_turn_end(struct dir_turn *turn);

#endif
