/* path.h - names of a torrent's files, resolved below one directory and never
 * through a symlink, whatever others do to the tree meanwhile.
 *
 * By openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), or
 * part by part with O_NOFOLLOW where the kernel or a container refuses it.
 * Everything here returns -1 (or false) and errno like the system; a symlink
 * in the way is ELOOP or ENOTDIR.  All of it may block.
 */
#ifndef SP_IO_PATH_H
#define SP_IO_PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { SP_PATH_MAX = 4096 }; /* bytes of a path with its NUL */

/* Tests set it: walk part by part even where openat2 works. */
extern atomic_bool sp_path_walk_always;

/* No empty, "." or ".." part, not absolute, shorter than SP_PATH_MAX. */
bool sp_path_is_clean(const char *path);
/* O_CLOEXEC is added. */
int sp_path_open(int dir, const char *path, int flags, mode_t mode);
/* The directory that holds the last part of path (O_PATH); ret_name points into path. */
int sp_path_parent(int dir, const char *path, const char **ret_name);
/* Makes the directories that lead to path; those that exist are fine. */
bool sp_path_make_parents(int dir, const char *path);
/* Makes a directory that the user named and those that lead to it; their names are durable when
 * it returns. */
bool sp_path_make_dir(const char *dir);

#endif
