/* portmap.h - asks gateways to let peers in: PCP (RFC 6887) and its elder
 * NAT-PMP (RFC 6886).
 *
 * Pure: datagrams and the time go in; datagrams and events are pulled.
 *
 *   a gateway was found        sp_portmap_path
 *   it, or our address, is gone sp_portmap_path_gone
 *   datagram of a path's socket sp_portmap_datagram
 *   datagram to a multicast group sp_portmap_heard
 *   ICMP says nobody is there  sp_portmap_refused
 *   deadline reached           sp_portmap_tick
 *   after any of these         sp_portmap_next until false
 *   before sleeping            sp_portmap_deadline
 *   at the end                 sp_portmap_stop, then all this until sp_portmap_idle
 *
 * A path is a gateway and the address of ours that it is asked about: for
 * IPv4 it maps ports, for IPv6 it opens pinholes.  Paths know nothing of each
 * other.  On each, every wanted port is mapped for as long as the machine
 * runs: renewed in time, asked for again when the gateway has forgotten it.
 *
 * Which of the two is spoken is found out on the way: PCP is asked first,
 * NAT-PMP a quarter of a second later, the first answer decides.
 *
 * See docs/core/portmap.md.
 */
#ifndef SP_PORTMAP_PORTMAP_H
#define SP_PORTMAP_PORTMAP_H

#include "core/base/addr.h"
#include "core/base/hash.h"
#include "core/base/rng.h"

enum {
    SP_PORTMAP_PATHS_MAX = 8,
    SP_PORTMAP_WANTS_MAX = 4,
    SP_PORTMAP_SERVER_PORT = 5351, /* of gateways */
    SP_PORTMAP_CLIENT_PORT = 5350, /* where they announce a restart: 224.0.0.1, ff02::1 */
    SP_PORTMAP_REQUEST_MAX = 60,
    SP_PORTMAP_LIFETIME_S =
        3600, /* asked for by default: what a crash leaves behind is gone soon */
};

/* A path that has not answered by then is told as failed; it is asked on. */
#define SP_PORTMAP_SILENT_NS (2 * SP_SECOND_NS)

enum sp_portmap_protocol { SP_PORTMAP_TCP = 6, SP_PORTMAP_UDP = 17 };

enum sp_portmap_method { SP_PORTMAP_NONE, SP_PORTMAP_PCP, SP_PORTMAP_NATPMP };

struct sp_portmap_want {
    uint8_t protocol; /* enum sp_portmap_protocol */
    uint16_t port;    /* that we listen on */
};

struct sp_portmap_cfg {
    uint64_t seed; /* of jitter */
    /* Of nonces: who knows one can move our mappings.  The same in every run,
     * so that a client that crashed can take over what it left. */
    struct sp_hash_key secret;
    uint32_t lifetime_s; /* 0: SP_PORTMAP_LIFETIME_S */
    struct sp_portmap_want wants[SP_PORTMAP_WANTS_MAX];
    uint32_t want_count;
};

enum sp_portmap_action_kind {
    SP_PORTMAP_SEND,   /* bytes to the gateway of path_ix, from the address of the path */
    SP_PORTMAP_MAPPED, /* external reaches the port; again when it has changed */
    SP_PORTMAP_LOST,   /* it did, and does no longer */
    SP_PORTMAP_FAILED, /* it is not mapped, or not renewed: why.  Asked for again later */
};

struct sp_portmap_action {
    enum sp_portmap_action_kind kind;
    uint32_t path_ix, want_ix;
    enum sp_portmap_method method; /* NONE: no answer by either */
    struct sp_addr external;       /* MAPPED, LOST; the address may be unspecified or private */
    uint32_t lifetime_s;           /* MAPPED */
    const char *why;               /* FAILED, for people; static */
    uint8_t bytes[SP_PORTMAP_REQUEST_MAX];
    size_t len;
};

/* ---- private from here to the functions ---- */

struct sp_portmap_mapping {
    uint8_t state;  /* enum map_state, state.h */
    uint8_t tries;  /* sends of the request under way */
    uint8_t rounds; /* renewals begun since it was granted */
    uint8_t tell;   /* 1 + enum sp_portmap_action_kind that waits to be pulled */
    bool send;      /* a request waits to be pulled */
    bool blocked;   /* waits for another one of its path */
    bool mapped;
    bool no_suggestion;      /* the port we would like is taken */
    struct sp_addr external; /* as last granted */
    uint32_t lifetime_s;     /* as granted, within limits */
    const char *why, *told;  /* of FAILED; what was told last */
    sp_time_ns due;          /* next send, or giving up */
    sp_time_ns granted_at;
    sp_time_ns expires_at;
    sp_time_ns sent_at;
};

struct sp_portmap_gateway {
    bool used;
    uint8_t method; /* enum sp_portmap_method; NONE: probing */
    bool said_silent;
    uint8_t probes;     /* sent so far */
    bool send_external; /* requests that wait to be pulled */
    bool send_announce;
    uint8_t external_tries;
    struct sp_addr addr, local; /* without ports */
    struct sp_addr external;    /* NAT-PMP: its outer address */
    bool has_epoch;
    uint32_t epoch_s;
    sp_time_ns epoch_at;
    sp_time_ns began_at; /* of probing */
    sp_time_ns probe_at;
    sp_time_ns external_at; /* when it is asked again */
    sp_time_ns poll_at;
    struct sp_portmap_mapping maps[SP_PORTMAP_WANTS_MAX];
};

struct sp_portmap {
    struct sp_portmap_cfg cfg;
    struct sp_rng rng;
    bool stopping;
    struct sp_portmap_gateway paths[SP_PORTMAP_PATHS_MAX];
};

/* ---- functions ---- */

/* Nothing to free. */
void sp_portmap_init(struct sp_portmap *pm, const struct sp_portmap_cfg *cfg);

/* A gateway, and the address that requests to it come from; both of one
 * family, ports ignored.  Begins to ask.  What was at this index is gone. */
void sp_portmap_path(struct sp_portmap *pm, uint32_t path_ix, const struct sp_addr *gateway,
                     const struct sp_addr *local, sp_time_ns now);
/* LOST follows for what was mapped; nothing is sent. */
void sp_portmap_path_gone(struct sp_portmap *pm, uint32_t path_ix);

/* Bytes from the socket of a path.  What is not from its gateway, or answers
 * nothing that was asked, is ignored. */
void sp_portmap_datagram(struct sp_portmap *pm, uint32_t path_ix, const struct sp_addr *from,
                         struct sp_slice bytes, sp_time_ns now);
/* Bytes that came to a multicast group: a gateway may have restarted. */
void sp_portmap_heard(struct sp_portmap *pm, const struct sp_addr *from, struct sp_slice bytes,
                      sp_time_ns now);
/* The gateway told by ICMP that nobody listens. */
void sp_portmap_refused(struct sp_portmap *pm, uint32_t path_ix, sp_time_ns now);

void sp_portmap_tick(struct sp_portmap *pm, sp_time_ns now);
/* SP_TIME_NEVER: nothing to wait for. */
sp_time_ns sp_portmap_deadline(const struct sp_portmap *pm);
/* False when there is nothing more to do now. */
bool sp_portmap_next(struct sp_portmap *pm, struct sp_portmap_action *ret_action, sp_time_ns now);

/* Removes what is mapped: asked three times within a second, then given up. */
void sp_portmap_stop(struct sp_portmap *pm, sp_time_ns now);
bool sp_portmap_idle(const struct sp_portmap *pm);

struct sp_portmap_grant {
    enum sp_portmap_method method;
    struct sp_addr external;
    sp_time_ns expires_at;
};
/* What a path has mapped for a want; false: nothing. */
bool sp_portmap_granted(const struct sp_portmap *pm, uint32_t path_ix, uint32_t want_ix,
                        struct sp_portmap_grant *ret_grant);

/* For tests: what holds between calls; NULL, or the broken one. */
const char *sp_portmap_broken(const struct sp_portmap *pm);

#endif
