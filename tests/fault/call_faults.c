/* A preload library that lets the n-th call of a kind, on files below a folder, fail.

   The file named by FAULT_CONTROL holds `struct control`, shared with the test that arms it. A call
   counts only while `armed` is set, so a process may be forked after its imports and armed then. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* In the order of `Call` in calls.py. */
enum call { OPEN, CREATE, READ, WRITE, RENAME, LINK, UNLINK, MKDIR, FSYNC, STAT, CLOSE, LIST, LOCK, ATTRIBUTE, CALLS };

enum effect { NOTHING = 0, KILL = -1, SHORT = -2 }; /* or an error number */

struct control {
    _Atomic int32_t armed, call, effect, sticky, fired, unused;
    _Atomic int64_t number, counts[CALLS];
    char root[1000], where[3000];
};

static struct control *control;

__attribute__((constructor)) static void map(void) {
    const char *name = getenv("FAULT_CONTROL");
    int fd = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) control = at;
    syscall(SYS_close, fd);
}

/* Whether this call is to fail; `effect` is what happens. Kills the process where that is wanted. */
static int hit(enum call call, const char *path, int *effect) {
    if (!path || strncmp(path, control->root, strlen(control->root))) return 0;
    int64_t number = atomic_fetch_add(&control->counts[call], 1) + 1, wanted = control->number;
    if (control->call != (int)call) return 0;
    if (number != wanted && !(control->sticky && wanted > 0 && number > wanted)) return 0;
    if (!atomic_exchange(&control->fired, 1)) snprintf(control->where, sizeof control->where, "%s", path);
    *effect = control->effect;
    if (*effect == KILL) syscall(SYS_kill, getpid(), SIGKILL);
    return *effect != NOTHING;
}

static char *of_descriptor(int fd, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, name, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return path;
}

static char *below(int fd, const char *name, char *path) {
    char parent[PATH_MAX];
    if (!name) return NULL;
    if (name[0] == '/') return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX ? path : NULL;
    if (fd == AT_FDCWD ? !getcwd(parent, sizeof parent) : !of_descriptor(fd, parent)) return NULL;
    return snprintf(path, PATH_MAX, "%s/%s", parent, name) < PATH_MAX ? path : NULL;
}

/* Both leave errno as it was unless the call is to fail. */
static int fails_at(enum call call, int fd, const char *name, int *effect) {
    if (!control || !control->armed) return 0;
    char path[PATH_MAX];
    int before = errno, failing = hit(call, below(fd, name, path), effect);
    errno = before;
    return failing;
}

static int fails_on(enum call call, int fd, int *effect) {
    if (!control || !control->armed) return 0;
    char path[PATH_MAX];
    int before = errno, failing = hit(call, of_descriptor(fd, path), effect);
    errno = before;
    return failing;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define FAIL_AT(call, fd, path, value) \
    do { int effect; if (fails_at(call, fd, path, &effect)) { errno = effect; return value; } } while (0)
#define FAIL_ON(call, fd, value) \
    do { int effect; if (fails_on(call, fd, &effect)) { errno = effect; return value; } } while (0)

#define CREATES(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)
#define KIND(flags) (CREATES(flags) ? CREATE : OPEN)
#define MODE(flags) \
    mode_t mode = 0; \
    if (CREATES(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

#define OPEN_LIKE(name) int name(const char *path, int flags, ...) { \
    MODE(flags) FAIL_AT(KIND(flags), AT_FDCWD, path, -1); return REAL(name)(path, flags, mode); }
#define OPENAT_LIKE(name) int name(int fd, const char *path, int flags, ...) { \
    MODE(flags) FAIL_AT(KIND(flags), fd, path, -1); return REAL(name)(fd, path, flags, mode); }
OPEN_LIKE(open) OPEN_LIKE(open64) OPENAT_LIKE(openat) OPENAT_LIKE(openat64)

int creat(const char *path, mode_t mode) { FAIL_AT(CREATE, AT_FDCWD, path, -1); return REAL(creat)(path, mode); }

#define FOPEN_LIKE(name) FILE *name(const char *path, const char *mode) { \
    FAIL_AT(mode[0] == 'r' ? OPEN : CREATE, AT_FDCWD, path, NULL); return REAL(name)(path, mode); }
FOPEN_LIKE(fopen) FOPEN_LIKE(fopen64)

/* openat2 has no function of its own. */
long syscall(long number, ...) {
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    static long (*real)(long, ...);
    if (!real) real = dlsym(RTLD_NEXT, "syscall");
#ifdef SYS_openat2
    if (number == SYS_openat2) FAIL_AT(KIND((int)*(uint64_t *)a[2]), (int)a[0], (const char *)a[1], -1);
#endif
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define HALF(size) ((size) > 1 ? (size) / 2 : (size))
#define TRANSFER(call, fd, size) \
    do { int effect; if (fails_on(call, fd, &effect)) { \
        if (effect == SHORT) size = HALF(size); else { errno = effect; return -1; } } } while (0)
ssize_t read(int fd, void *data, size_t size) { TRANSFER(READ, fd, size); return REAL(read)(fd, data, size); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { TRANSFER(READ, fd, size); return REAL(pread64)(fd, data, size, at); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { TRANSFER(READ, fd, size); return REAL(pread)(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) { TRANSFER(WRITE, fd, size); return REAL(write)(fd, data, size); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { TRANSFER(WRITE, fd, size); return REAL(pwrite64)(fd, data, size, at); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { TRANSFER(WRITE, fd, size); return REAL(pwrite)(fd, data, size, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { TRANSFER(WRITE, fd, count); return REAL(writev)(fd, parts, count); }
int ftruncate(int fd, off_t size) { FAIL_ON(WRITE, fd, -1); return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { FAIL_ON(WRITE, fd, -1); return REAL(ftruncate64)(fd, size); }

int rename(const char *from, const char *to) { FAIL_AT(RENAME, AT_FDCWD, to, -1); return REAL(rename)(from, to); }
int renameat(int f, const char *from, int t, const char *to) { FAIL_AT(RENAME, t, to, -1); return REAL(renameat)(f, from, t, to); }
int renameat2(int f, const char *from, int t, const char *to, unsigned flags) { FAIL_AT(RENAME, t, to, -1); return REAL(renameat2)(f, from, t, to, flags); }
int link(const char *from, const char *to) { FAIL_AT(LINK, AT_FDCWD, to, -1); return REAL(link)(from, to); }
int linkat(int f, const char *from, int t, const char *to, int flags) { FAIL_AT(LINK, t, to, -1); return REAL(linkat)(f, from, t, to, flags); }
int unlink(const char *path) { FAIL_AT(UNLINK, AT_FDCWD, path, -1); return REAL(unlink)(path); }
int unlinkat(int fd, const char *path, int flags) { FAIL_AT(UNLINK, fd, path, -1); return REAL(unlinkat)(fd, path, flags); }
int rmdir(const char *path) { FAIL_AT(UNLINK, AT_FDCWD, path, -1); return REAL(rmdir)(path); }
int mkdir(const char *path, mode_t mode) { FAIL_AT(MKDIR, AT_FDCWD, path, -1); return REAL(mkdir)(path, mode); }
int mkdirat(int fd, const char *path, mode_t mode) { FAIL_AT(MKDIR, fd, path, -1); return REAL(mkdirat)(fd, path, mode); }
int fsync(int fd) { FAIL_ON(FSYNC, fd, -1); return REAL(fsync)(fd); }
int fdatasync(int fd) { FAIL_ON(FSYNC, fd, -1); return REAL(fdatasync)(fd); }
int syncfs(int fd) { FAIL_ON(FSYNC, fd, -1); return REAL(syncfs)(fd); }

#define STAT_LIKE(name, type) int name(const char *path, struct type *status) { \
    FAIL_AT(STAT, AT_FDCWD, path, -1); return REAL(name)(path, status); }
#define FSTAT_LIKE(name, type) int name(int fd, struct type *status) { FAIL_ON(STAT, fd, -1); return REAL(name)(fd, status); }
#define FSTATAT_LIKE(name, type) int name(int fd, const char *path, struct type *status, int flags) { \
    FAIL_AT(STAT, fd, path, -1); return REAL(name)(fd, path, status, flags); }
STAT_LIKE(stat, stat) STAT_LIKE(lstat, stat) STAT_LIKE(stat64, stat64) STAT_LIKE(lstat64, stat64)
FSTAT_LIKE(fstat, stat) FSTAT_LIKE(fstat64, stat64) FSTATAT_LIKE(fstatat, stat) FSTATAT_LIKE(fstatat64, stat64)
int access(const char *path, int mode) { FAIL_AT(STAT, AT_FDCWD, path, -1); return REAL(access)(path, mode); }
int faccessat(int fd, const char *path, int mode, int flags) { FAIL_AT(STAT, fd, path, -1); return REAL(faccessat)(fd, path, mode, flags); }

/* As Linux does, a close that fails has closed the descriptor. */
int close(int fd) {
    int effect, failing = fails_on(CLOSE, fd, &effect), result = REAL(close)(fd);
    if (!failing) return result;
    errno = effect;
    return -1;
}

DIR *opendir(const char *path) { FAIL_AT(LIST, AT_FDCWD, path, NULL); return REAL(opendir)(path); }
DIR *fdopendir(int fd) { FAIL_ON(LIST, fd, NULL); return REAL(fdopendir)(fd); }
struct dirent *readdir(DIR *folder) { FAIL_ON(LIST, dirfd(folder), NULL); return REAL(readdir)(folder); }
struct dirent64 *readdir64(DIR *folder) { FAIL_ON(LIST, dirfd(folder), NULL); return REAL(readdir64)(folder); }
int flock(int fd, int operation) { FAIL_ON(LOCK, fd, -1); return REAL(flock)(fd, operation); }

int chmod(const char *path, mode_t mode) { FAIL_AT(ATTRIBUTE, AT_FDCWD, path, -1); return REAL(chmod)(path, mode); }
int fchmod(int fd, mode_t mode) { FAIL_ON(ATTRIBUTE, fd, -1); return REAL(fchmod)(fd, mode); }
int fchmodat(int fd, const char *path, mode_t mode, int flags) { FAIL_AT(ATTRIBUTE, fd, path, -1); return REAL(fchmodat)(fd, path, mode, flags); }
int fchownat(int fd, const char *path, uid_t user, gid_t group, int flags) { FAIL_AT(ATTRIBUTE, fd, path, -1); return REAL(fchownat)(fd, path, user, group, flags); }
int utimensat(int fd, const char *path, const struct timespec times[2], int flags) { FAIL_AT(ATTRIBUTE, fd, path, -1); return REAL(utimensat)(fd, path, times, flags); }
