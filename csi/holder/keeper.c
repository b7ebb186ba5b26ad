/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* One packet of fixed size, with at most one descriptor. */
enum op { OP_PUT = 1, OP_DROP, OP_LIST, OP_EXIT, OP_OK, OP_ITEM, OP_FULL };

struct packet {
    uint32_t op;
    char key[HOLDER_KEY_MAX];
    char name[KEEPER_NAME_MAX];
};

struct kept {
    char key[HOLDER_KEY_MAX]; /* "": free */
    char name[KEEPER_NAME_MAX];
    int fd;
};

struct keeper {
    struct kept table[KEEPER_ENTRIES_MAX];
    int socket; /* to the supervisor; -1: none */
    int signals;
    pid_t supervisor;
    bool leaving;
    uint64_t started_ms;
    unsigned quick_deaths;
};

/* Static: the one large thing of this process is there before anything can fail. */
static struct keeper self;

/* Packets */

static int send_packet(int socket, const struct packet *p, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct packet copy = *p;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *c;

        header.msg_control = &control;
        header.msg_controllen = sizeof(control);
        c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    while (sendmsg(socket, &header, MSG_NOSIGNAL) < 0) {
        if (errno == EAGAIN) {
            return -ETIMEDOUT; /* SO_SNDTIMEO */
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int receive_packet(int socket, struct packet *ret, int *ret_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    struct cmsghdr *c;
    ssize_t n;

    do {
        n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    }
    *ret_fd = -1;
    c = CMSG_FIRSTHDR(&header);
    if (n > 0 && c != NULL && c->cmsg_type == SCM_RIGHTS) {
        memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
    }
    if (n != (ssize_t)sizeof(*ret)) {
        if (*ret_fd >= 0) {
            (void)close(*ret_fd);
        }
        return -EPIPE;
    }
    ret->key[sizeof(ret->key) - 1] = '\0';
    ret->name[sizeof(ret->name) - 1] = '\0';
    return 0;
}

static void set_timeouts(int socket)
{
    struct timeval t = {.tv_sec = KEEPER_TIMEOUT_MS / 1000};

    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

/* The supervisor's side */

static void name_packet(struct packet *p, enum op op, const char *key, const char *name)
{
    memset(p, 0, sizeof(*p));
    p->op = op;
    (void)snprintf(p->key, sizeof(p->key), "%s", key);
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
}

static int ask(int keeper, enum op op, const char *key, const char *name, int fd)
{
    struct packet p;
    int none;
    int r;

    name_packet(&p, op, key, name);
    set_timeouts(keeper);
    r = send_packet(keeper, &p, fd);
    if (r == 0) {
        r = receive_packet(keeper, &p, &none);
    }
    if (r == 0 && p.op != OP_OK) {
        r = p.op == OP_FULL ? -ENOSPC : -EBADMSG;
    }
    return r;
}

int keeper_put(int keeper, const char *key, const char *name, int fd)
{
    return ask(keeper, OP_PUT, key, name, fd);
}

int keeper_drop(int keeper, const char *key)
{
    return ask(keeper, OP_DROP, key, "", -1);
}

int keeper_exit(int keeper)
{
    return ask(keeper, OP_EXIT, "", "", -1);
}

int keeper_list(int keeper, keeper_visit_fn *visit, void *context)
{
    struct packet p;
    int r;

    name_packet(&p, OP_LIST, "", "");
    set_timeouts(keeper);
    r = send_packet(keeper, &p, -1);
    while (r == 0) {
        int fd;

        r = receive_packet(keeper, &p, &fd);
        if (r == 0 && p.op == OP_OK) {
            return 0;
        }
        if (r == 0) {
            visit(context, p.key, p.name, fd);
        }
    }
    return r;
}

/* The keeper's side */

static struct kept *find(const char *key, const char *name)
{
    for (int i = 0; i < KEEPER_ENTRIES_MAX; i++) {
        if (strcmp(self.table[i].key, key) == 0 && strcmp(self.table[i].name, name) == 0) {
            return &self.table[i];
        }
    }
    return NULL;
}

static enum op put(const struct packet *p, int fd)
{
    struct kept *kept = find(p->key, p->name);

    if (kept != NULL) {
        (void)close(kept->fd);
    } else {
        kept = find("", "");
    }
    if (kept == NULL || fd < 0 || p->key[0] == '\0') {
        if (fd >= 0) {
            (void)close(fd);
        }
        return OP_FULL;
    }
    memcpy(kept->key, p->key, sizeof(kept->key));
    memcpy(kept->name, p->name, sizeof(kept->name));
    kept->fd = fd;
    return OP_OK;
}

static void drop(const char *key)
{
    for (int i = 0; i < KEEPER_ENTRIES_MAX; i++) {
        if (key[0] != '\0' && strcmp(self.table[i].key, key) == 0) {
            (void)close(self.table[i].fd);
            memset(&self.table[i], 0, sizeof(self.table[i]));
        }
    }
}

static bool is_empty(void)
{
    for (int i = 0; i < KEEPER_ENTRIES_MAX; i++) {
        if (self.table[i].key[0] != '\0') {
            return false;
        }
    }
    return true;
}

static int list(void)
{
    int r = 0;

    for (int i = 0; i < KEEPER_ENTRIES_MAX && r == 0; i++) {
        struct packet p;

        if (self.table[i].key[0] != '\0') {
            name_packet(&p, OP_ITEM, self.table[i].key, self.table[i].name);
            r = send_packet(self.socket, &p, self.table[i].fd);
        }
    }
    return r;
}

static int serve(void)
{
    struct packet p = {.op = 0};
    int fd = -1;
    int r = receive_packet(self.socket, &p, &fd);

    if (r < 0) {
        return r;
    }
    if (p.op == OP_PUT) {
        p.op = put(&p, fd);
    } else if (p.op == OP_DROP) {
        drop(p.key);
        p.op = OP_OK;
    } else if (p.op == OP_LIST) {
        r = list();
        p.op = OP_OK;
    } else {
        self.leaving = self.leaving || p.op == OP_EXIT;
        p.op = OP_OK;
    }
    return r < 0 ? r : send_packet(self.socket, &p, -1);
}

/* Processes */

static int start_supervisor(char *const *argv)
{
    char option[32];
    char *args[64];
    int pair[2];
    int count = 0;
    sigset_t none;

    while (argv[count] != NULL && count < 62) {
        args[count] = argv[count];
        count++;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    (void)snprintf(option, sizeof(option), "--keeper-fd=%d", pair[1]);
    args[count] = option;
    args[count + 1] = NULL;
    self.supervisor = fork();
    if (self.supervisor < 0) {
        int r = -errno;

        (void)close(pair[0]);
        (void)close(pair[1]);
        return r;
    }
    if (self.supervisor == 0) {
        int inherited = dup(pair[1]); /* without close-on-exec */

        (void)snprintf(option, sizeof(option), "--keeper-fd=%d", inherited);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void)sigemptyset(&none);
        (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
        (void)execv("/proc/self/exe", args);
        _exit(127);
    }
    (void)close(pair[1]);
    set_timeouts(pair[0]);
    self.socket = pair[0];
    self.started_ms = clock_monotonic_ms(clock_real());
    return 0;
}

static void supervisor_died(void)
{
    enum { QUICK_MS = 5000 };
    uint64_t lived_ms = clock_monotonic_ms(clock_real()) - self.started_ms;

    self.quick_deaths = lived_ms < QUICK_MS ? self.quick_deaths + 1 : 0;
    self.supervisor = 0;
    if (self.socket >= 0) {
        (void)close(self.socket);
        self.socket = -1;
    }
}

/* Reap whatever has been left to us: mounters of a dead supervisor too. Returns its status. */
static int reap(void)
{
    int result = 0;

    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid <= 0) {
            return result;
        }
        if (pid == self.supervisor) {
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            supervisor_died();
        }
    }
}

static void on_signal(int *ret_status)
{
    struct signalfd_siginfo info;

    while (read(self.signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            int status = reap();

            *ret_status = self.supervisor == 0 ? status : *ret_status;
        } else {
            self.leaving = true;
            if (self.supervisor > 0) {
                (void)kill(self.supervisor, SIGTERM);
            }
        }
    }
}

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -EINVAL;
    }
    self.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return self.signals < 0 ? -errno : 0;
}

/* The first deaths are repaired at once; a supervisor that cannot live is tried each second. */
static int restart(char *const *argv)
{
    int r;

    if (self.quick_deaths > 5) {
        (void)poll(NULL, 0, 1000);
    }
    r = start_supervisor(argv);
    if (r < 0) {
        log_error("cannot start the supervisor", "error", error_text(NULL, r), NULL);
        (void)poll(NULL, 0, 1000);
    }
    return r;
}

int keeper_run(char *const *argv)
{
    enum { WAIT_MS = 1000 };
    bool once = false;
    int status = 0;

    self.socket = -1;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (open_signals() < 0) {
        return 1;
    }
    for (;;) {
        struct pollfd p[2] = {{.fd = self.signals, .events = POLLIN}};

        if (self.supervisor == 0) {
            if (self.leaving || (once && status == KEEPER_CANNOT_START && is_empty())) {
                return self.leaving ? 0 : status;
            }
            if (once) {
                log_error("the supervisor died", "status", log_num(status), NULL);
            }
            once = restart(argv) == 0 || once;
        }
        p[1] = (struct pollfd){.fd = self.socket, .events = POLLIN};
        (void)poll(p, 2, WAIT_MS);
        if (p[0].revents != 0) {
            on_signal(&status);
        }
        if (self.socket >= 0 && p[1].revents != 0 && serve() < 0) {
            (void)close(self.socket);
            self.socket = -1; /* it is dying; SIGCHLD will tell */
        }
    }
}
