/* url.h - the address of a tracker, taken apart. */
#ifndef SP_TRACKER_URL_H
#define SP_TRACKER_URL_H

#include "core/base/out.h"
#include "spate/err.h"

enum sp_url_scheme {
    SP_URL_OTHER, /* well formed, none that we speak */
    SP_URL_HTTP,
    SP_URL_HTTPS,
    SP_URL_UDP,
};

/* Slices lie in the text. */
struct sp_url {
    enum sp_url_scheme scheme;
    struct sp_slice host;   /* no brackets; letters as written */
    uint16_t port;          /* the scheme's when not written */
    struct sp_slice target; /* path and query, without fragment; may be empty */
};

/* why is set on failure, for a person.
 * SP_EDATA */
SP_MUST_USE enum sp_err sp_url_parse(struct sp_slice text, struct sp_url *ret_url,
                                     const char **ret_why);
/* White space at both ends is no part of it. */
struct sp_slice sp_url_trim(struct sp_slice text);
/* RFC 3986 2.1: all but the unreserved as %XX. */
void sp_url_encode(struct sp_out *o, struct sp_slice bytes);
/* Up to the fragment, with what may not stand in a URL as %XX. */
void sp_url_clean(struct sp_out *o, struct sp_slice text);

#endif
