/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.h - does the holder that shares our container keep the mounts of this node?
 *
 * For a probe that runs as a program of its own beside the holder. During an upgrade two holders
 * are there, and the socket is one: its listener is the one that has all mounts (a successor takes
 * them over before it listens). So a holder is ready when the socket answers, and its listener
 * lives in the mount namespace that we live in, which containers do not share.
 */
#ifndef HOLDER_READY_H
#define HOLDER_READY_H

#include "util/error.h"

/* 0; -ECONNREFUSED or -ENOENT: nobody listens; -EAGAIN: another container's holder does; -ETIMEDOUT
 * and the like: it does not answer. Takes 2 s at most for each. */
int ready_check(const char *socket, struct error *err) __attribute__((warn_unused_result));

#endif
