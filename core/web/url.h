/* url.h - the addresses that a web seed's data is asked for at. */
#ifndef SP_WEB_URL_H
#define SP_WEB_URL_H

#include "core/base/out.h"
#include "spate/metainfo.h"

/* http or https: the protocols that are spoken here. */
bool sp_web_takes(const char *url);

/* BEP-0019: where file lies below base.  What is percent-encoded in base stays
 * so; what is added is encoded.  Not NUL-terminated. */
void sp_web_file_url(struct sp_out *o, const char *base, const struct sp_metainfo *mi,
                     const struct sp_file *file);
/* BEP-0017: bytes [from, to) of a piece; all of it: without "ranges". */
void sp_web_piece_url(struct sp_out *o, const char *base, const struct sp_metainfo *mi,
                      uint32_t piece, uint32_t from, uint32_t to);

/* "host:port" as base has it, without a user's name; for people, and to know
 * seeds on one server.  Borrows base. */
struct sp_slice sp_web_host(const char *base);

#endif
