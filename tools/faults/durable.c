/* durable: what of a folder would be left after a power cut, for a program that is loaded with this library (LD_PRELOAD).
 *
 *     DURABLE=SHADOW LD_PRELOAD=durable.so PROGRAM ...
 *
 * A file's content is durable as of its last fsync(2) or fdatasync(2), the names in a folder as of the folder's. At each such call this
 * library writes down what becomes durable by it, before the call returns:
 *
 *     SHADOW/file-INODE-BIRTH   the file's content
 *     SHADOW/folder-INODE-BIRTH a line an entry: kind (f, d) INODE-BIRTH name
 *
 * A power cut is then: kill the program, and build the folder anew from the shadow (box.py does). File systems keep more than this; one that
 * keeps less breaks its promise. Statically linked programs and raw system calls are not seen.
 *
 * DURABLE_SLOW_MS has each sync of a folder take so much longer: what is wrong between two of them is then seldom missed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int identity(int folder, const char *name, char kind[2], char *text, size_t size) {
    struct statx s;
    if (statx(folder, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH), STATX_BASIC_STATS | STATX_BTIME, &s)) return -1;
    kind[0] = S_ISDIR(s.stx_mode) ? 'd' : S_ISREG(s.stx_mode) ? 'f' : '?';
    kind[1] = 0;
    snprintf(text, size, "%llu-%lld.%09u", (unsigned long long)s.stx_ino, (long long)s.stx_btime.tv_sec, s.stx_btime.tv_nsec);
    return 0;
}

static void keep(int fd) {
    const char *shadow = getenv("DURABLE");
    char kind[2], id[64], path[4096], part[4128];
    if (!shadow || identity(fd, "", kind, id, sizeof id) || kind[0] == '?') return;
    snprintf(path, sizeof path, "%s/%s-%s", shadow, kind[0] == 'd' ? "folder" : "file", id);
    snprintf(part, sizeof part, "%s.%d.%d", path, getpid(), gettid());
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (out < 0) return;
    char own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    const char *slow = getenv("DURABLE_SLOW_MS");
    if (kind[0] == 'd' && slow) usleep(1000 * atoi(slow));
    if (kind[0] == 'f') {
        int in = open(own, O_RDONLY);
        char chunk[1 << 16];
        for (ssize_t n; in >= 0 && (n = read(in, chunk, sizeof chunk)) > 0;)
            if (write(out, chunk, n) != n) abort();
        if (in >= 0) close(in);
    } else {
        DIR *folder = opendir(own);
        for (struct dirent *e; folder && (e = readdir(folder));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            if (identity(dirfd(folder), e->d_name, kind, id, sizeof id) == 0 && kind[0] != '?') dprintf(out, "%s %s %s\n", kind, id, e->d_name);
        }
        if (folder) closedir(folder);
    }
    close(out);
    rename(part, path);
}

#define WRAP(name)                                                       \
    int name(int fd) {                                                   \
        static int (*real)(int);                                         \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);         \
        int result = real(fd);                                           \
        if (result == 0) keep(fd);                                       \
        return result;                                                   \
    }
WRAP(fsync)
WRAP(fdatasync)
