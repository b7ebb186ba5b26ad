/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scripted_server.h - an HTTP server that gives prepared answers in turn and keeps what it was
 * asked.
 *
 *     struct scripted_server *server = scripted_server_start(answers, 2);
 *     ... a client talks to 127.0.0.1:scripted_server_port(server) ...
 *     scripted_server_request(server, 0)   "PUT /b/k HTTP/1.1\r\n...\r\n\r\nbody"
 *     scripted_server_stop(server);
 *
 * Answers are raw bytes ("HTTP/1.1 200 OK\r\n..."); "Content-Length: *" gets the right number. An
 * answer that ends in SCRIPT_CLOSE closes the connection. Requests beyond the script get a 599. One
 * connection is served at a time.
 */
#ifndef TESTS_UNIT_SCRIPTED_SERVER_H
#define TESTS_UNIT_SCRIPTED_SERVER_H

#include <stddef.h>

#define SCRIPT_CLOSE "\x01"

struct scripted_server;

struct scripted_server *scripted_server_start(const char *const *answers, size_t count);
int scripted_server_port(const struct scripted_server *server);

/* Called on the server's thread when request `index` has come and before it is answered. */
void scripted_server_hook(struct scripted_server *server, void (*hook)(size_t index, void *arg),
                          void *arg);

size_t scripted_server_count(struct scripted_server *server);
/* The text of a request that was answered; valid until the stop. */
const char *scripted_server_request(struct scripted_server *server, size_t index);
void scripted_server_stop(struct scripted_server *server);

#endif
