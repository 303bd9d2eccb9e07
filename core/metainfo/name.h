/* name.h - one path component from a stranger, made fit for a file system.
 *
 * Two steps: what is an attack or no name at all is refused (sp_name_refusal);
 * the rest is cleaned, so that the result is valid UTF-8 of 1..255 bytes
 * without separators, control or bidirectional characters, that no system
 * reserves and that is neither "." nor "..".  Deterministic: the same
 * bytes give the same name on every machine.
 */
#ifndef SP_METAINFO_NAME_H
#define SP_METAINFO_NAME_H

#include "core/base/hash.h"
#include "spate/err.h"

enum { SP_NAME_MAX = 255 }; /* bytes */

struct sp_name {
    char text[SP_NAME_MAX + 1]; /* NUL-terminated */
    size_t len;                 /* bytes, 1..SP_NAME_MAX */
};

/* Why raw cannot be a component ("is empty", ...), or NULL. */
const char *sp_name_refusal(struct sp_slice raw);

/* raw has no refusal. */
void sp_name_clean(struct sp_slice raw, struct sp_name *ret_name);

/* name with a mark ("~2") before its extension, shortened to fit. */
void sp_name_mark(const struct sp_name *name, const char *mark, struct sp_name *ret_name);

/* Equal for names that a file system may take for the same: canonical
 * decomposition and case folding.  parent separates directories. */
uint64_t sp_name_hash(const struct sp_hash_key *key, uint32_t parent, struct sp_slice name);
bool sp_name_same(struct sp_slice a, struct sp_slice b);

/* Text for people into out (room for raw.len bytes): invalid UTF-8, control
 * and bidirectional characters become '_'.  keep_lines leaves '\n'.  Gives
 * the length, at most raw.len. */
size_t sp_text_clean(struct sp_slice raw, bool keep_lines, char *out);

bool sp_utf8_is_valid(struct sp_slice s);

#endif
