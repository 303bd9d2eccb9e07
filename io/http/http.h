/* http.h - HTTP(S) downloads on a loop: libcurl's multi interface driven by
 * libuv.  For trackers and web seeds; one per reactor.
 *
 * Bodies are gathered up to a limit after decompression, and never longer:
 * a bomb ends at the limit.  Redirects: 5, http and https only.  Addresses:
 * unless a request says allow_local, no connection goes to a loopback, private
 * or link-local address, whatever a name resolves to or a redirect says; the
 * address that was checked is the one connected to.  With allow_local the URL
 * may lead there, but a redirect never leads nearer to this machine than the
 * request before it went (public, private, link-local, loopback).
 *
 * All calls on the loop's thread, except sp_http_new; nothing here waits for a
 * resolver.  SIGPIPE has to be blocked or ignored on that thread.
 */
#ifndef SP_IO_HTTP_H
#define SP_IO_HTTP_H

#include <uv.h>

#include "core/proxy/proxy.h"
#include "spate/err.h"

enum { SP_HTTP_HOST_CONN_MAX = 8 }; /* connections at once to one scheme://host:port */

struct sp_http;
struct sp_http_result;
struct sp_transfer_stream;

struct sp_http_cfg {
    const char *user_agent;           /* copied */
    const char *ca_file;              /* PEM bundle; NULL: the system's; copied */
    const char *interface;            /* device or address to bind to; NULL: any; copied */
    const struct sp_proxy_url *proxy; /* everything goes through it; NULL: none; borrowed */
    uint32_t conn_max;                /* connections at once; 0: 64 */
};

struct sp_http_get {
    const char *url;     /* copied */
    uint32_t timeout_ms; /* of the whole transfer, once it has its turn for a connection */
    uint32_t connect_ms; /* of resolving and connecting, once a hop; 0: 15 s */
    size_t body_max;     /* bytes */
    uint8_t family;      /* 4, 6 or 0: either */
    bool allow_local;    /* the user named this address */
    /* NULL: the body is gathered.  Else handed on as it comes (transfer.h): no limit
     * but the receiver's; result.body is empty. */
    const struct sp_transfer_stream *stream;
    void (*done)(void *ctx, uint32_t id, const struct sp_http_result *result);
    void *ctx;
};

/* status 0: no answer, why says the reason for people ("connection refused",
 * "certificate is not trusted: ...", "larger than 2 MiB", "too many
 * redirects"; one printable line, never NULL); pointers are valid during done. */
struct sp_http_result {
    int status;
    struct sp_slice body;
    const char *why;
};

SP_MUST_USE enum sp_err sp_http_new(uv_loop_t *loop, const struct sp_http_cfg *cfg,
                                    struct sp_http **ret_http);
/* Starts, or waits for a connection: hosts take turns.  done is called from the
 * loop, never from in here; it may start, cancel and free.  ret_id is never 0.
 * SP_ENOMEM, SP_EDATA (no http or https URL) */
SP_MUST_USE enum sp_err sp_http_start(struct sp_http *h, const struct sp_http_get *get,
                                      uint32_t *ret_id);
/* stream.body said "not now", and it is later: it is called again, maybe from in here. */
void sp_http_resume(struct sp_http *h, uint32_t id);
/* done is not called any more.  Unknown ids are ignored. */
void sp_http_cancel(struct sp_http *h, uint32_t id);
/* Cancels all, closes its handles; freed is called from the loop once memory
 * is gone (the loop must run until then). */
void sp_http_free(struct sp_http *h, void (*freed)(void *ctx), void *ctx);

#endif
