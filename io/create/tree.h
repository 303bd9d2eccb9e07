/* tree.h - the regular files below a path, in the order they go into a torrent. */
#ifndef SP_IO_CREATE_TREE_H
#define SP_IO_CREATE_TREE_H

#include "spate/err.h"

struct sp_tree_file {
    char *path; /* below the root, '/'-joined; the root's own name for a single file */
    uint64_t len;
};

struct sp_tree {
    char *parent;  /* directory that name lies in */
    char *name;    /* base name of the path given */
    char *on_disk; /* the same with symlinks resolved */
    bool single;   /* the path is a file */
    struct sp_tree_file *files;
    uint32_t count, cap;
    uint64_t total;
};

/* Hidden files are taken too; symlinks, sockets and devices are not (a symlink
 * to what path itself names is followed).  Sorted by the bytes of the path.
 * SP_ENOENT, SP_EACCES, SP_EIO, SP_ELIMIT (1,000,000 files), SP_ENOMEM; diag */
SP_MUST_USE enum sp_err sp_tree_read(const char *path, struct sp_tree *ret_tree,
                                     struct sp_diag *diag);
/* Takes a zeroed one. */
void sp_tree_done(struct sp_tree *t);

#endif
