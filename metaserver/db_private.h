/* SPDX-License-Identifier: Apache-2.0 */
/* db_private.h - the connection. Private to metaserver/db*.c. */
#ifndef METASERVER_DB_PRIVATE_H
#define METASERVER_DB_PRIVATE_H

#include <sqlite3.h>

#include "metaserver/db.h"
#include "util/mutex.h"
#include "util/random.h"

struct db {
    struct mutex lock;
    sqlite3 *sqlite;
    char incarnation[RANDOM_ID_SIZE];
};

#endif
