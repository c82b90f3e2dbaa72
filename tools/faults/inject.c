/* inject: runs a program and lets one of its system calls fail, or kills it there. Linux 5.5 or later, any architecture, any linking.
 *
 *     inject CALLS AT ACTION COUNT PROGRAM [ARGUMENT...]
 *
 * CALLS   names of system calls, with commas: "read,readv"
 * AT      which of these calls, from 1; 0 for none
 * ACTION  what happens there: an errno as a number, "kill" (SIGKILL, the call does not happen), or "stall" (the call never returns)
 * COUNT   a file that gets the number of such calls that were made
 * PROGRAM a path; its runtime's own calls before the first sigaltstack(2), which are the loader's, are neither counted nor touched
 *
 * The program runs under a seccomp filter that asks this process about each of the calls (seccomp_unotify(2)), from whatever thread and
 * library they come, also where none is used. The exit code is the program's, 128 + n where signal n ended it, and 2 for what is wrong here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 16

static const struct { const char *name; int number; } CALLS[] = {
#define CALL(name) {#name, SYS_##name},
    CALL(read) CALL(readv) CALL(pread64) CALL(write) CALL(writev) CALL(pwrite64) CALL(fsync) CALL(fdatasync) CALL(openat) CALL(linkat)
    CALL(unlinkat) CALL(lseek) CALL(flock) CALL(ftruncate) CALL(fchmod) CALL(fchown) CALL(statx) CALL(fstat) CALL(getdents64) CALL(clone)
    CALL(mmap) CALL(fcntl) CALL(mkdirat)
#ifdef SYS_renameat2
    CALL(renameat2)
#endif
#ifdef SYS_clone3
    CALL(clone3)
#endif
/* What older architectures have beside the ones above. */
#ifdef SYS_open
    CALL(open) CALL(mkdir) CALL(rename) CALL(link) CALL(unlink) CALL(stat) CALL(lstat)
#endif
#ifdef SYS_renameat
    CALL(renameat)
#endif
#ifdef SYS_newfstatat
    CALL(newfstatat)
#endif
#undef CALL
};

static void fail(const char *what) {
    perror(what);
    _exit(2);
}

/* The numbers of the calls named; a name that this architecture does not have is left out. */
static int numbers(char *names, int *out) {
    int found = 0;
    for (char *name = strtok(names, ","); name && found < MOST; name = strtok(NULL, ","))
        for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
            if (!strcmp(CALLS[i].name, name)) out[found++] = CALLS[i].number;
    return found;
}

/* Has the system ask about these calls of this process and its children. Returns the descriptor where it asks. */
static int listen_to(const int *calls, int count) {
    struct sock_filter filter[MOST + 4];
    int n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++)
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], count - i, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = n, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (fd < 0) fail("seccomp");
    return fd;
}

/* Sends a descriptor, or receives one where `fd` is negative. */
static int pass(int socket, int fd) {
    char byte = 0, control[CMSG_SPACE(sizeof fd)];
    memset(control, 0, sizeof control);
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (fd < 0) {
        if (recvmsg(socket, &message, 0) < 1) fail("the program could not be started");
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        return fd;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(socket, &message, 0) != 1) fail("sendmsg");
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: inject CALLS AT ACTION COUNT PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    int calls[MOST + 1], count = numbers(argv[1], calls);
    calls[count++] = SYS_sigaltstack;
    long at = atol(argv[2]), seen = 0;
    int kills = !strcmp(argv[3], "kill"), stalls = !strcmp(argv[3], "stall"), error = atoi(argv[3]);

    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) fail("socketpair");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        int fd = listen_to(calls, count);
        pass(sockets[1], fd);
        close(fd);
        execv(argv[5], argv + 5);
        fail(argv[5]);
    }
    close(sockets[1]);
    int listener = pass(sockets[0], -1), started = 0, status = 0;
    /* Sent to the whole group, it is meant for the program. */
    signal(SIGTERM, SIG_IGN);
    while (waitpid(child, &status, WNOHANG) == 0) {
        struct pollfd ready = {listener, POLLIN, 0};
        if (poll(&ready, 1, 20) < 1 || !(ready.revents & POLLIN)) continue;
        struct seccomp_notif asked;
        memset(&asked, 0, sizeof asked);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) continue;
        struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (asked.data.nr == SYS_sigaltstack) {
            started = 1;
        } else if (started && ++seen == at) {
            if (kills) kill(child, SIGKILL);
            if (kills || stalls) continue;
            answer.flags = 0;
            answer.error = -error;
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    FILE *out = fopen(argv[4], "w");
    if (!out || fprintf(out, "%ld\n", seen) < 0 || fclose(out)) fail(argv[4]);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
