/* proxy.h - what a client says to a proxy before the stream is its own, and
 * how datagrams are wrapped for one.
 *
 * Pure: bytes in, bytes out, no socket and no clock.
 *
 *   sp_proxy_begin                a stream to a target, or a relay for datagrams
 *   sp_proxy_say, sp_proxy_said   what is to be sent now; how much of it went
 *   sp_proxy_hear                 what came; takes no byte past the end of the talk
 *   until state is DONE or FAILED
 *
 * Source: RFC 1928 (SOCKS5), RFC 1929 (user and password), RFC 9110 9.3.6
 * (CONNECT), RFC 7617 (Basic).  See docs/core/proxy.md.
 */
#ifndef SP_PROXY_PROXY_H
#define SP_PROXY_PROXY_H

#include "core/base/addr.h"

enum {
    SP_PROXY_NAME_MAX = 255,  /* of a host, a user, a password: one length byte of SOCKS5 */
    SP_PROXY_HEAD_MAX = 8192, /* bytes of the answer to CONNECT */
    SP_PROXY_LINE_MAX = 100,  /* its lines */
    SP_PROXY_WRAP_MAX = 262,  /* before the payload of a wrapped datagram */
};

enum sp_proxy_kind {
    SP_PROXY_NONE,
    SP_PROXY_SOCKS5, /* streams and datagrams */
    SP_PROXY_HTTP,   /* streams alone */
};

/* Where the proxy is.  Texts end with a NUL. */
struct sp_proxy_url {
    enum sp_proxy_kind kind;
    char host[SP_PROXY_NAME_MAX + 1]; /* a name or an address without brackets */
    uint16_t port;
    bool has_user;
    char user[SP_PROXY_NAME_MAX + 1], password[SP_PROXY_NAME_MAX + 1];
};

/* socks5://[USER[:PASSWORD]@]HOST[:PORT], the same with socks5h:// and with
 * http://.  Names are always left to the proxy, so that the two of SOCKS are
 * one.  User and password may have %XX; the port is 1080, or 8080 for http.
 * ret_why is set on failure, for a person.   SP_EDATA */
SP_MUST_USE enum sp_err sp_proxy_parse(struct sp_slice text, struct sp_proxy_url *ret_url,
                                       const char **ret_why);

/* Whom the proxy shall reach: a name when host is not NULL, else addr. */
struct sp_proxy_target {
    struct sp_addr addr; /* its port counts for a name too */
    const char *host;    /* borrowed; at most SP_PROXY_NAME_MAX bytes */
};

enum sp_proxy_want {
    SP_PROXY_STREAM,
    SP_PROXY_RELAY, /* UDP ASSOCIATE */
};

enum sp_proxy_state {
    SP_PROXY_TALKING,
    SP_PROXY_DONE,
    SP_PROXY_FAILED,
};

struct sp_proxy {
    const struct sp_proxy_url *url; /* borrowed until the end */
    enum sp_proxy_state state;
    const char *why;      /* FAILED: a static text for people */
    bool target_is_wrong; /* FAILED: of the target alone; the proxy itself works */
    struct sp_addr bound; /* DONE: what the proxy names in its answer; for a relay, where
                             datagrams go (all zeros: the proxy's own address) */
    /* The machine's. */
    enum sp_proxy_want want;
    struct sp_proxy_target target;
    uint8_t step;
    uint16_t out_len, out_at, in_len, head_len, line_count, status;
    uint8_t in[SP_PROXY_NAME_MAX + 7]; /* an answer of SOCKS5, or a status line */
    uint8_t out[2048];
};

/* The target is borrowed until DONE or FAILED.  A relay needs none. */
void sp_proxy_begin(struct sp_proxy *p, const struct sp_proxy_url *url, enum sp_proxy_want want,
                    const struct sp_proxy_target *target);
/* Empty: nothing now.  Valid until the next call. */
struct sp_slice sp_proxy_say(const struct sp_proxy *p);
void sp_proxy_said(struct sp_proxy *p, size_t len);
/* How many of the bytes belonged to the talk; the rest is the stream's own. */
size_t sp_proxy_hear(struct sp_proxy *p, struct sp_slice bytes);
/* The proxy ended the stream. */
void sp_proxy_closed(struct sp_proxy *p);

/* ---- datagrams of a SOCKS5 relay (RFC 1928 7) ---- */

/* Writes what goes before the payload; gives its length, 0: the target cannot be told. */
size_t sp_proxy_wrap(const struct sp_proxy_target *target, uint8_t ret_head[SP_PROXY_WRAP_MAX]);
/* Who sent it, and its payload in the packet.  A sender told by name has
 * SP_FAMILY_NONE, and its port.
 * SP_EDATA  malformed, or a fragment: "an implementation that does not support
 *           fragmentation MUST drop any datagram whose FRAG field is other than X'00'" */
SP_MUST_USE enum sp_err sp_proxy_unwrap(struct sp_slice packet, struct sp_addr *ret_from,
                                        struct sp_slice *ret_payload);

#endif
