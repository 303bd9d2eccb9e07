#include "io/disk/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "io/base/blocking.h"
#include "io/base/fd.h"

atomic_bool sp_path_walk_always;

static pthread_once_t probed = PTHREAD_ONCE_INIT;
static bool has_openat2;

static int openat2_call(int dir, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Once and for all: a refusal (ENOSYS, or EPERM by a seccomp filter) must not be taken for an
 * answer about one file. */
static void probe(void)
{
    SP_FD fd = openat2_call(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0);
    has_openat2 = fd >= 0;
}

bool sp_path_is_clean(const char *path)
{
    if (strlen(path) >= SP_PATH_MAX)
        return false;
    for (const char *part = path;; part++) {
        size_t len = strcspn(part, "/");
        if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0))
            return false;
        part += len;
        if (*part == '\0')
            return true;
    }
}

/* Copies the next part of *path and moves behind it; false when it is the last. */
static bool next_part(const char **path, char part[SP_PATH_MAX])
{
    size_t len = strcspn(*path, "/");
    if ((*path)[len] == '\0')
        return false;
    memcpy(part, *path, len);
    part[len] = '\0';
    *path += len + 1;
    return true;
}

static int step_down(int at, const char *part)
{
    return openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The parent of path's last part, one O_NOFOLLOW step at a time.  make: mkdir on the way. */
static int walk(int dir, const char *path, bool make, const char **ret_name)
{
    char part[SP_PATH_MAX];
    SP_FD at = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    while (at >= 0 && next_part(&path, part)) {
        if (make && mkdirat(at, part, 0777) != 0 && errno != EEXIST)
            return -1;
        int down = step_down(at, part);
        int why = errno;
        sp_fd_close(&at);
        errno = why;
        at = down;
    }
    *ret_name = path;
    return sp_fd_take(&at);
}

static bool use_openat2(void)
{
    pthread_once(&probed, probe);
    return has_openat2 && !atomic_load_explicit(&sp_path_walk_always, memory_order_relaxed);
}

int sp_path_open(int dir, const char *path, int flags, mode_t mode)
{
    sp_may_block("open");
    if (use_openat2()) {
        int fd;
        /* EAGAIN: the tree was changed under the look-up, which says nothing about the name. */
        for (int tries = 0; (fd = openat2_call(dir, path, flags, mode)) < 0 &&
                            (errno == EINTR || (errno == EAGAIN && tries < 100));
             tries++)
            continue;
        return fd;
    }
    const char *name;
    SP_FD at = walk(dir, path, false, &name);
    if (at < 0)
        return -1;
    return openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
}

int sp_path_parent(int dir, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    if (!slash || !use_openat2())
        return walk(dir, path, false, ret_name);

    char parent[SP_PATH_MAX];
    size_t len = (size_t)(slash - path);
    memcpy(parent, path, len);
    parent[len] = '\0';
    *ret_name = slash + 1;
    return sp_path_open(dir, parent, O_PATH | O_DIRECTORY, 0);
}

bool sp_path_make_parents(int dir, const char *path)
{
    sp_may_block("mkdir");
    const char *name;
    SP_FD at = walk(dir, path, true, &name);
    return at >= 0;
}

/* Makes one directory and its name durable. */
static bool make_one(const char *path, const char *parent)
{
    if (mkdir(path, 0777) != 0)
        return errno == EEXIST;
    SP_FD fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd); /* a file system that cannot sync directories has nothing to lose */
    return true;
}

bool sp_path_make_dir(const char *dir)
{
    char path[SP_PATH_MAX], parent[SP_PATH_MAX];
    size_t len = strlen(dir);

    sp_may_block("mkdir");
    if (len == 0 || len >= SP_PATH_MAX) {
        errno = len ? ENAMETOOLONG : ENOENT;
        return false;
    }
    memcpy(parent, dir[0] == '/' ? "/" : ".", 2);
    for (size_t end = strspn(dir, "/"); end < len; end += strspn(dir + end, "/")) {
        end += strcspn(dir + end, "/");
        memcpy(path, dir, end);
        path[end] = '\0';
        if (!make_one(path, parent))
            return false;
        memcpy(parent, path, end + 1);
    }
    return true;
}
