/* gate.h - the way out of a reactor when it goes through a proxy.
 *
 * Nothing but the proxy itself is connected to or resolved by us then.  The
 * gate is closed until the proxy has answered a connection, and when one fails
 * it closes again: the session dials nobody meanwhile, and every 2 s one probe
 * asks whether the proxy is back.
 *
 * Names that the proxy shall resolve are handed to the core as addresses of
 * fe80:5350::/32 that stand for them: link-local without a zone, so nothing can
 * be sent there by accident.
 */
#ifndef SP_IO_GATE_H
#define SP_IO_GATE_H

#include <uv.h>

#include "core/proxy/proxy.h"
#include "io/loop/loop.h"

enum { SP_GATE_ADDRS_MAX = 8, SP_GATE_NAMES_MAX = 1024 };

struct sp_reactor;
struct sp_passage;

struct sp_gate {
    bool is_open, is_resolving, is_probing;
    bool is_closing;                         /* the last probe's handle */
    bool told;                               /* that it is closed */
    struct sp_addr addrs[SP_GATE_ADDRS_MAX]; /* of the proxy */
    uint32_t addr_count, addr_at;
    struct sp_watch probe;
    sp_time_ns probe_at, probe_since;
    const char *refusal; /* the last one that was told */
    char **names;
    uint32_t name_count;
};

/* The client has a proxy. */
bool sp_gate_used(const struct sp_reactor *r);
void sp_gate_tick(struct sp_reactor *r, sp_time_ns now);
void sp_gate_close(struct sp_reactor *r);
/* A socket connecting to the proxy; -1 and errno. */
int sp_gate_connect(struct sp_reactor *r);
/* The proxy could not be connected to: closes the gate. */
void sp_gate_failed(struct sp_reactor *r, const char *why);
/* A talk failed: said once where the proxy itself is at fault, e.g. the password. */
void sp_gate_refused(struct sp_reactor *r, const struct sp_passage *p);
/* An address that stands for a name; false: too many, or not a name. */
bool sp_gate_alias(struct sp_reactor *r, const char *host, uint16_t port, struct sp_addr *ret);

/* ---- one stream on its way through the proxy ---- */

/* NULL: out of memory. */
struct sp_passage *sp_passage_new(struct sp_reactor *r, const struct sp_addr *to);
void sp_passage_free(struct sp_passage *p);
/* Goes on with the talk on a connected socket.  TALKING: ret_events are to be
 * waited for; FAILED: ret_why. */
enum sp_proxy_state sp_passage_step(struct sp_passage *p, int fd, int *ret_events,
                                    const char **ret_why);

#endif
