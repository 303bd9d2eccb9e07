#include "io/create/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 1000000, DEPTH_MAX = 64 };

static enum sp_err fail(struct sp_diag *diag, enum sp_err err, const char *path, const char *why)
{
    char text[sizeof(diag->text)];
    snprintf(text, sizeof(text), "%.100s: %.56s", path, why);
    return sp_diag_set(diag, err, 0, text);
}

static enum sp_err fail_errno(struct sp_diag *diag, const char *path)
{
    enum sp_err err = errno == ENOENT ? SP_ENOENT : errno == EACCES ? SP_EACCES : SP_EIO;
    return fail(diag, err, path, strerror(errno));
}

static enum sp_err push(struct sp_tree *t, const char *path, uint64_t len, struct sp_diag *diag)
{
    if (t->count == FILES_MAX)
        return fail(diag, SP_ELIMIT, path, "more than 1,000,000 files");
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 64;
        struct sp_tree_file *files = realloc(t->files, cap * sizeof(*files));
        if (!files)
            return fail(diag, SP_ENOMEM, path, "out of memory");
        t->files = files;
        t->cap = cap;
    }
    char *own = strdup(path);
    if (!own)
        return fail(diag, SP_ENOMEM, path, "out of memory");
    t->files[t->count++] = (struct sp_tree_file){.path = own, .len = len};
    t->total += len;
    return SP_OK;
}

static enum sp_err walk(struct sp_tree *t, int dir_fd, const char *below, int depth,
                        struct sp_diag *diag);

static enum sp_err enter(struct sp_tree *t, int dir_fd, const char *name, const char *path,
                         int depth, struct sp_diag *diag)
{
    if (depth == DEPTH_MAX)
        return fail(diag, SP_ELIMIT, path, "more than 64 directories deep");
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fail_errno(diag, path);
    return walk(t, fd, path, depth + 1, diag);
}

static enum sp_err take(struct sp_tree *t, int dir_fd, const char *name, const char *below,
                        int depth, struct sp_diag *diag)
{
    struct stat st;
    char *path = NULL;
    enum sp_err err = SP_OK;

    if (asprintf(&path, "%s%s%s", below, below[0] ? "/" : "", name) < 0)
        return fail(diag, SP_ENOMEM, name, "out of memory");
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        err = fail_errno(diag, path);
    else if (S_ISDIR(st.st_mode))
        err = enter(t, dir_fd, name, path, depth, diag);
    else if (S_ISREG(st.st_mode))
        err = push(t, path, (uint64_t)st.st_size, diag);
    free(path);
    return err;
}

/* Takes fd. */
static enum sp_err walk(struct sp_tree *t, int dir_fd, const char *below, int depth,
                        struct sp_diag *diag)
{
    DIR *d = fdopendir(dir_fd);
    enum sp_err err = SP_OK;

    if (!d) {
        close(dir_fd);
        return fail(diag, SP_ENOMEM, below, "out of memory");
    }
    for (struct dirent *e; err == SP_OK && (errno = 0, e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = take(t, dirfd(d), e->d_name, below, depth, diag);
    }
    if (err == SP_OK && errno)
        err = fail_errno(diag, below[0] ? below : t->name);
    closedir(d);
    return err;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct sp_tree_file *)a)->path, ((const struct sp_tree_file *)b)->path);
}

/* Splits the absolute path into where it lies and what it is called. */
static enum sp_err split(struct sp_tree *t, const char *path, struct sp_diag *diag)
{
    char *real = realpath(path, NULL);
    if (!real)
        return fail_errno(diag, path);
    char *slash = strrchr(real, '/');
    /* The name is the one typed, also when it is a symlink. */
    char *typed = strdup(path);
    size_t n = typed ? strlen(typed) : 0;
    while (n > 1 && typed[n - 1] == '/')
        typed[--n] = '\0';
    const char *base = typed ? strrchr(typed, '/') : NULL;
    base = base ? base + 1 : typed;
    bool usable = base && base[0] && strcmp(base, ".") != 0 && strcmp(base, "..") != 0;
    t->name = strdup(usable ? base : slash + 1);
    t->on_disk = strdup(slash + 1);
    *(slash == real ? slash + 1 : slash) = '\0';
    t->parent = real;
    free(typed);
    if (!t->name || !t->on_disk)
        return fail(diag, SP_ENOMEM, path, "out of memory");
    if (!t->name[0])
        return fail(diag, SP_EINVAL, path, "has no name to give to the torrent");
    return SP_OK;
}

enum sp_err sp_tree_read(const char *path, struct sp_tree *ret_tree, struct sp_diag *diag)
{
    struct sp_tree t = {0};
    struct stat st;
    enum sp_err err = split(&t, path, diag);

    if (err == SP_OK && stat(path, &st) != 0)
        err = fail_errno(diag, path);
    if (err == SP_OK && S_ISREG(st.st_mode)) {
        t.single = true;
        err = push(&t, t.name, (uint64_t)st.st_size, diag);
    } else if (err == SP_OK && S_ISDIR(st.st_mode)) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = fd < 0 ? fail_errno(diag, path) : walk(&t, fd, "", 0, diag);
    } else if (err == SP_OK) {
        err = fail(diag, SP_EINVAL, path, "is neither a file nor a directory");
    }
    if (err != SP_OK) {
        sp_tree_done(&t);
        return err;
    }
    if (t.count)
        qsort(t.files, t.count, sizeof(*t.files), by_path);
    *ret_tree = t;
    return SP_OK;
}

void sp_tree_done(struct sp_tree *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        free(t->files[i].path);
    free(t->files);
    free(t->parent);
    free(t->name);
    free(t->on_disk);
    *t = (struct sp_tree){0};
}
