/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measured.h - a store that counts what is asked of it.
 *
 *     objstore_requests_total{op}          requests answered
 *     objstore_errors_total{op,error}      those that failed, by the errno value's name
 *     objstore_read_bytes_total{op}        bytes that GETs have handed on
 *     objstore_written_bytes_total{op}     bytes of PUTs and parts that succeeded
 *     objstore_seconds{op}                 from submit to done
 *
 * Put it outermost: then a request that was tried three times is one, with all its pauses. Absent
 * keys and conditions that did not hold are answers, but counted as errors ENOENT, EEXIST, ESTALE:
 * who alerts chooses by label. Stores of one registry share the metrics.
 *
 * Owns the inner store. Contract and errors: objstore.h.
 */
#ifndef OBJSTORE_MEASURED_H
#define OBJSTORE_MEASURED_H

#include "objstore/objstore.h"
#include "util/metrics.h"

/* `inner` becomes the new store's, also on failure; `metrics` must outlive it. -ENOMEM, -EINVAL. */
int objstore_measured_new(struct objstore *inner, struct metrics *metrics, struct objstore **ret)
    __attribute__((warn_unused_result));

#endif
