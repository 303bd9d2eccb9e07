/* spate/client.h - a running BitTorrent client as a library.
 *
 * One struct sp_client owns everything: its reactor threads, sockets, disk
 * pool and state store.  Commands go in, events come out, snapshots tell how
 * things stand.  No call runs on a reactor or waits for one: commands are
 * posted, snapshots are copies of what was last published (at most 250 ms
 * old).  All functions may be called from any thread.
 *
 *   struct sp_client_cfg cfg;
 *   sp_client_cfg_init(&cfg);
 *   sp_client_new(&cfg, &client, &diag);
 *   sp_client_add(client, &add, &torrent, &diag);
 *   while (sp_client_wait(client, 1000, &ev) != SP_ECANCELED) { ... }
 *   sp_client_stop(client);        trackers told, state saved; then SP_EV_STOPPED
 *   sp_client_free(client);
 *
 * The library installs no signal handler and keeps no process-wide state.
 * Strings handed in are copied.
 */
#ifndef SPATE_CLIENT_H
#define SPATE_CLIENT_H

#include "spate/err.h"
#include "spate/types.h"

struct sp_client;
struct sp_metainfo;

enum { SP_LISTEN_MAX = 8, SP_CLIENT_TEXT_LEN = 192, SP_HOST_TEXT_LEN = 64 };

/* Message stream encryption hides from middlemen that a stream is BitTorrent's.
 * It keeps nothing secret: RC4, and no proof of who the other one is. */
enum sp_encryption {
    SP_ENCRYPT_ALLOW,   /* take both; dial in plain text, enciphered where that is refused */
    SP_ENCRYPT_OFF,     /* plain text alone */
    SP_ENCRYPT_PREFER,  /* take both; dial enciphered, in plain text where that is refused */
    SP_ENCRYPT_REQUIRE, /* RC4 alone, both ways */
};

struct sp_client_cfg {
    const char *state_dir;             /* where resume state is kept; NULL: nowhere */
    const char *listen[SP_LISTEN_MAX]; /* "ADDR:PORT", "[V6]:PORT", ":PORT"; port 0: any free */
    uint32_t listen_count;             /* 0: port 6881 or the next free one, v4 and v6 */
    bool no_listen;                    /* outgoing connections only */
    uint32_t reactor_count;            /* 0: one per core, at most 4 */
    uint64_t memory_bytes;             /* block budget: requested, buffered and cached; 64 MiB */
    uint64_t down_Bps, up_Bps;         /* 0: no limit */
    uint32_t conn_max;                 /* peer connections in all; 1000 */
    uint32_t torrent_conn_max;         /* per torrent; 250 */
    uint32_t half_open_max;            /* being dialled at once; 50 */
    uint32_t upload_slots_max;         /* per torrent; 0: by capacity */
    const char *proxy; /* "socks5://[USER:PASSWORD@]HOST:PORT" or "http://..."; NULL: none.  Peers
                          and HTTP trackers go through it, names are resolved by it, and nothing
                          goes past it; nothing is listened on unless listen says where */
    const char *const
        *ip_filters; /* files of addresses that are not talked to (.p2p, .dat, CIDR) */
    uint32_t ip_filter_count;
    const char *interface;  /* device name or local address to bind to; NULL: any */
    bool no_portmap;        /* routers are not asked to let peers in; nor with a proxy */
    bool allow_local_peers; /* peers a tracker names may be on private and loopback addresses
                               (tracker on such an address implies it) */
    bool no_pex;            /* no peer exchange; never with private torrents */
    bool no_lsd;            /* no discovery on the local network; never with private torrents */
    bool no_utp, no_tcp;    /* peers over one transport alone: TCP, or uTP (BEP 29) */
    const char *user_agent; /* NULL: "Spate/VERSION" */
    const char *ca_file;    /* PEM bundle for https trackers; NULL: the system's */
    uint64_t seed;          /* of all randomness but the peer id, for tests; 0: from the system */
    enum sp_encryption encryption; /* SP_ENCRYPT_ALLOW */
};

/* All defaults as told above. */
SP_API void sp_client_cfg_init(struct sp_client_cfg *cfg);

/* Starts the threads and listens.
 * SP_EINVAL  a cfg value, diag says which    SP_ENET  no address could be listened on
 * SP_EIO, SP_EACCES  the state directory     SP_ENOMEM */
SP_MUST_USE SP_API enum sp_err sp_client_new(const struct sp_client_cfg *cfg,
                                             struct sp_client **ret_client, struct sp_diag *diag);
/* Ends at once what still runs (see sp_client_stop for the clean way).  Takes NULL. */
SP_API void sp_client_free(struct sp_client *client);

/* The port peers reach us on; 0 when none. */
SP_API uint16_t sp_client_port(const struct sp_client *client);

/* --- commands ------------------------------------------------------------- */

struct sp_tracker_arg {
    const char *url;
    uint32_t tier; /* those of one tier are alternatives (BEP-0012) */
};

struct sp_magnet;
struct sp_file_range;

struct sp_client_add {
    /* Instead of metainfo: what the torrent is comes from peers (SP_EV_METADATA),
     * or from saved state.  Its trackers, peers and files to select count;
     * borrowed for the call.  One with btmh alone is SP_EDATA for now. */
    const struct sp_magnet *magnet;
    const struct sp_file_range *ranges; /* files wanted of it, instead of its own selection */
    uint32_t range_count;
    const struct sp_metainfo *metainfo; /* borrowed for the call, copied; but see next */
    bool keeps_metainfo; /* it stays until sp_client_free: used as it is, which saves parsing it
                            again and the memory of a copy */
    const char *dir;     /* the data lies in, or goes to, dir/<name> */
    const uint8_t *priorities;             /* per file: 0 not wanted, 1..7, 4 normal; NULL: all 4 */
    const struct sp_tracker_arg *trackers; /* besides the torrent's own */
    uint32_t tracker_count;
    const char *const *web_seeds; /* URLs of the data (BEP 19) besides the torrent's own,
                                     wherever they are */
    uint32_t web_seed_count;
    const char *const *peers; /* "HOST:PORT" to connect to, wherever they are */
    uint32_t peer_count;
    uint64_t down_Bps, up_Bps; /* of this torrent; 0: no limit */
    bool read_only;            /* seed what is there; create and change nothing */
    bool sequential;
    bool super_seed;      /* as the only seed, show and send each piece once (BEP-0016) */
    bool full_allocation; /* reserve the disk space before downloading */
    bool force_check;     /* hash what is there even when saved state says what is good */
    bool paused;
};

/* A torrent's number, unique while the client lives. */
typedef uint32_t sp_torrent_id;

/* SP_EEXIST  this info-hash is in the client already
 * SP_EINVAL  diag says which value
 * What concerns the disk is found out later and comes as an event. */
SP_MUST_USE SP_API enum sp_err sp_client_add(struct sp_client *client,
                                             const struct sp_client_add *add,
                                             sp_torrent_id *ret_torrent, struct sp_diag *diag);
/* Unknown torrents are ignored by all of these. */
SP_API void sp_client_remove(struct sp_client *client, sp_torrent_id torrent, bool delete_data);
SP_API void sp_client_pause(struct sp_client *client, sp_torrent_id torrent);
SP_API void sp_client_resume(struct sp_client *client, sp_torrent_id torrent);
SP_API void sp_client_recheck(struct sp_client *client, sp_torrent_id torrent);
SP_API void sp_client_reannounce(struct sp_client *client, sp_torrent_id torrent);
SP_API void sp_client_add_peer(struct sp_client *client, sp_torrent_id torrent,
                               const char *host_port);
SP_API void sp_client_set_priorities(struct sp_client *client, sp_torrent_id torrent,
                                     const uint8_t *priorities, uint32_t file_count);
/* Reads lists of addresses again, or others; they take the place of those before
 * (count 0: nobody is blocked).  Blocks while it reads.
 * SP_EDATA diag names file and line; the lists before stay   SP_ENOENT   SP_EIO   SP_ENOMEM */
SP_MUST_USE SP_API enum sp_err sp_client_set_ip_filter(struct sp_client *client,
                                                       const char *const *paths, uint32_t count,
                                                       struct sp_diag *diag);
SP_API void sp_client_set_limits(struct sp_client *client, uint64_t down_Bps, uint64_t up_Bps);
SP_API void sp_client_set_torrent_limits(struct sp_client *client, sp_torrent_id torrent,
                                         uint64_t down_Bps, uint64_t up_Bps);
/* Begins the clean end: trackers are told "stopped", state is made durable.
 * SP_EV_STOPPED follows, within 10 s whatever a tracker does. */
SP_API void sp_client_stop(struct sp_client *client);

/* --- events --------------------------------------------------------------- */

enum sp_client_event_kind {
    SP_EV_CHECKED,     /* what is on the disk is known; stats tell */
    SP_EV_COMPLETE,    /* all wanted pieces are verified and written */
    SP_EV_ERROR,       /* the torrent is paused: err and text say why, e.g. disk full */
    SP_EV_RECOVERED,   /* the reason of SP_EV_ERROR went away; it goes on */
    SP_EV_PEER_BANNED, /* text: address and reason */
    SP_EV_TRACKER,     /* a tracker answered or failed: text */
    SP_EV_LISTENING,   /* text: the address; port 0 asked for is filled in */
    SP_EV_STOPPED,     /* sp_client_stop is done; nothing follows */
    SP_EV_PORTMAP,     /* text: a router lets peers in (err SP_OK), or does not */
    SP_EV_NETWORK,  /* the way out (proxy, interface): err is why nothing goes, SP_OK: it does again
                     */
    SP_EV_METADATA, /* of a magnet: sp_client_metainfo has it now; CHECKED follows */
    SP_EV_WARNING,  /* text: something went wrong and work goes on, e.g. state is not saved */
};

struct sp_client_event {
    enum sp_client_event_kind kind;
    sp_torrent_id torrent; /* where it concerns one */
    enum sp_err err;
    char text[SP_CLIENT_TEXT_LEN]; /* one line for people */
};

/* The next event, waiting for it up to timeout_ms (0: not at all).
 * SP_AGAIN      none came in time
 * SP_ECANCELED  the client is stopped and all events were given */
SP_API enum sp_err sp_client_wait(struct sp_client *client, uint32_t timeout_ms,
                                  struct sp_client_event *ret_event);
/* A descriptor that polls readable while an event waits; owned by the client. */
SP_API int sp_client_fd(const struct sp_client *client);

/* --- snapshots ------------------------------------------------------------ */

/* Who told of a peer's address; bits, there may be several. */
enum sp_peer_source {
    SP_PEER_USER = 1, /* named by the user: any address */
    SP_PEER_TRACKER = 2,
    SP_PEER_INCOMING = 4, /* itself: it connected to us */
    SP_PEER_PEX = 8,      /* another peer (BEP-0011) */
    SP_PEER_LSD = 16,     /* itself, on the local network (BEP-0014) */
    SP_PEER_DHT = 32,
};
enum { SP_PEER_SOURCES = 6 };

enum sp_torrent_state {
    SP_TORRENT_CHECKING, /* files are opened, or hashed */
    SP_TORRENT_DOWNLOADING,
    SP_TORRENT_SEEDING,  /* all wanted is there */
    SP_TORRENT_PAUSED,   /* by the user */
    SP_TORRENT_ERROR,    /* see error */
    SP_TORRENT_METADATA, /* known by its info-hash alone: peers are asked for the rest */
};

struct sp_torrent_stats {
    enum sp_torrent_state state;
    enum sp_err err;
    char error[SP_CLIENT_TEXT_LEN];
    /* METADATA: bytes of the info dictionary, 0 while nobody has told, and of
     * those how many have come. */
    uint64_t metadata_bytes, metadata_have_bytes;
    uint32_t piece_count, piece_have; /* 0 in METADATA, as all sizes are */
    uint64_t total_bytes;
    uint64_t wanted_bytes;     /* of the selected files */
    uint64_t have_bytes;       /* of them, verified and written */
    uint64_t durable_bytes;    /* of all, claimed in the saved state */
    uint64_t checked_bytes;    /* while CHECKING: how far */
    uint64_t downloaded_bytes; /* payload received, ever */
    uint64_t uploaded_bytes;   /* payload sent, ever */
    uint64_t downloaded_before_bytes, uploaded_before_bytes; /* of these, in earlier runs */
    uint64_t wasted_bytes;                                   /* received twice, unasked or failed */
    uint64_t down_Bps, up_Bps;
    uint32_t peers;                           /* connected */
    uint32_t seeds;                           /* of them, with everything */
    uint32_t peers_known;                     /* addresses in the list */
    uint32_t known_by[SP_PEER_SOURCES];       /* of them, by bit of enum sp_peer_source */
    uint32_t unchoked;                        /* we serve */
    uint32_t unchoking;                       /* serve us */
    uint32_t tracker_seeds, tracker_leechers; /* as the last tracker said */
    uint32_t availability_milli;              /* complete copies among peers, in thousandths */
    uint64_t active_ns, seeding_ns;
};

/* SP_ENOENT */
SP_API enum sp_err sp_client_stats(const struct sp_client *client, sp_torrent_id torrent,
                                   struct sp_torrent_stats *ret_stats);

struct sp_client_totals {
    uint64_t down_Bps, up_Bps, downloaded_bytes, uploaded_bytes;
    uint32_t torrents, peers;
    uint64_t memory_used_bytes, memory_budget_bytes;
};

SP_API void sp_client_totals(const struct sp_client *client, struct sp_client_totals *ret_totals);

enum sp_cipher {
    SP_CIPHER_NONE,
    SP_CIPHER_HANDSHAKE, /* the handshake of MSE, plain text after it */
    SP_CIPHER_RC4,
};

/* A router's promise to lead peers to us. */
struct sp_client_mapping {
    char method[8];                  /* "PCP", "NAT-PMP", "UPnP" */
    char protocol[4];                /* "TCP", "UDP" */
    char external[SP_HOST_TEXT_LEN]; /* what peers connect to, as the router told it */
    uint16_t port;                   /* of ours */
    uint32_t expires_s;              /* unless it is renewed, which it is; 0: not told */
};

/* What is mapped now; up to cap entries. */
SP_API uint32_t sp_client_mappings(const struct sp_client *client,
                                   struct sp_client_mapping *ret_mappings, uint32_t cap);

struct sp_peer_info {
    char address[SP_HOST_TEXT_LEN];
    char client[64];     /* name and version, made printable */
    uint32_t have_milli; /* share of the pieces it has, in thousandths */
    uint64_t down_Bps, up_Bps, downloaded_bytes, uploaded_bytes;
    uint32_t asked; /* blocks we wait for */
    bool utp;       /* over uTP; else TCP */
    bool incoming, choking_us, choked, interested_us, interested, snubbed, optimistic;
    uint8_t sources; /* enum sp_peer_source, or-ed */
    enum sp_cipher cipher;
};

/* What waits at index from on; up to cap entries.  The first call for a
 * torrent may find none: publishing starts when somebody looks. */
SP_API uint32_t sp_client_peers(const struct sp_client *client, sp_torrent_id torrent,
                                struct sp_peer_info *ret_peers, uint32_t cap);

struct sp_client_tracker {
    char url[256];
    uint32_t tier;
    char status[SP_CLIENT_TEXT_LEN]; /* "ok", "announcing", "failed: ..." */
    uint32_t seeds, leechers, peers;
    uint32_t next_announce_s; /* seconds from the snapshot */
};

SP_API uint32_t sp_client_trackers(const struct sp_client *client, sp_torrent_id torrent,
                                   struct sp_client_tracker *ret_trackers, uint32_t cap);

/* The pieces that are there, one bit each as in a BITFIELD message; at most
 * cap bytes; gives how many the torrent has. */
SP_API size_t sp_client_pieces(const struct sp_client *client, sp_torrent_id torrent,
                               uint8_t *ret_bits, size_t cap);

/* The torrent file, of a magnet as soon as it is known.  GIVES bytes (free with
 * sp_bytes_free).  SP_AGAIN not known yet   SP_ENOENT, SP_ENOMEM */
SP_MUST_USE SP_API enum sp_err sp_client_metainfo(const struct sp_client *client,
                                                  sp_torrent_id torrent, uint8_t **ret_bytes,
                                                  size_t *ret_len);

/* --- saved state ----------------------------------------------------------- */

/* What is remembered of a torrent between runs. */
struct sp_client_saved {
    uint8_t info_hash[SP_SHA1_LEN];
    const uint8_t *pieces; /* as in a BITFIELD message: verified and durable on the disk */
    uint32_t piece_count;
    const char *dir; /* absolute */
    uint64_t downloaded_bytes, uploaded_bytes;
    int64_t saved_at; /* seconds since 1970 */
};

/* Calls each for every torrent, by info-hash, on the calling thread; the row is
 * borrowed meanwhile.  Blocks.  A client may be using dir.
 * SP_ENOENT  nothing was saved there
 * SP_EDATA   damaged, or of another version; the rest was given   SP_EIO, SP_EACCES */
SP_MUST_USE SP_API enum sp_err
sp_client_list_state(const char *dir, void (*each)(void *ctx, const struct sp_client_saved *row),
                     void *ctx, struct sp_diag *diag);

/* --- fetching a torrent file ------------------------------------------------ */

/* Downloads url (http, https) into memory, blocking the calling thread: for
 * `spate get http://...`.  GIVES bytes (free with sp_bytes_free).
 * SP_ENET diag   SP_ELIMIT larger than max_bytes   SP_ECANCELED *cancel became true */
SP_MUST_USE SP_API enum sp_err sp_fetch_url(const char *url, size_t max_bytes,
                                            const volatile bool *cancel, uint8_t **ret_bytes,
                                            size_t *ret_len, struct sp_diag *diag);
/* The same by way of a proxy (as sp_client_cfg.proxy; NULL: none) and interface.
 * SP_EINVAL  the proxy, or the interface: diag */
SP_MUST_USE SP_API enum sp_err sp_fetch_url_through(const char *url, const char *proxy,
                                                    const char *interface, size_t max_bytes,
                                                    const volatile bool *cancel,
                                                    uint8_t **ret_bytes, size_t *ret_len,
                                                    struct sp_diag *diag);
SP_API void sp_bytes_free(uint8_t *bytes);

#endif
