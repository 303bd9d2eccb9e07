/* door.h - an accepted stream that has no name yet: which torrent is it about?
 *
 * The first bytes are BitTorrent's handshake, or else the peer is taken to
 * begin with that of message stream encryption, which is answered here.  What
 * comes out is an info-hash, a cipher, and bytes that belong to the connection
 * (sp_session_enter).  Holds nothing of a session: so a door may be opened on
 * one thread and entered on another.
 *
 *   sp_door_init
 *   readable    sp_door_room, read, sp_door_received
 *   writable    sp_door_out, write, sp_door_sent
 *   sometimes   sp_door_go_on, while it waits for power
 *   until it is SP_DOOR_NAMED or SP_DOOR_FAILED; it is for the shell to give
 *   a stream some seconds and then up, and to bound how many there are.
 *
 * Strangers can make us compute powers (core/mse/dh.h): two for each
 * handshake.  They come from a purse that fills with time; the second is
 * given only when the peer went on after our answer.  Who finds it empty
 * waits, so that a flood costs SP_PURSE_PER_S of each in a second.
 */
#ifndef SP_SESSION_DOOR_H
#define SP_SESSION_DOOR_H

#include "core/base/addr.h"
#include "core/mse/mse.h"
#include "spate/client.h"

struct sp_session;
struct sp_conn;

enum {
    SP_DOOR_IN_MAX = 1024,
    SP_PURSE_PER_S = 500, /* of first powers, and of second ones */
    SP_PURSE_BURST = 128,
};

struct sp_purse {
    sp_time_ns spent_to[2]; /* when all that was given will have been earned */
};

enum sp_door_state {
    SP_DOOR_ASKING,
    SP_DOOR_NAMED,
    SP_DOOR_FAILED,
};

struct sp_door {
    uint8_t state;                  /* enum sp_door_state */
    uint8_t info_hash[SP_SHA1_LEN]; /* once NAMED */
    const char *why;                /* FAILED: static text */

    /* private */
    enum sp_encryption policy;
    bool enciphered; /* it is MSE: mse is in use */
    bool answered;   /* the first power is spent */
    bool went_on;    /* bytes came after that */
    uint32_t total;  /* bytes that came */
    uint16_t in_len;
    uint8_t in[SP_DOOR_IN_MAX]; /* not taken by the handshake; the connection's once NAMED */
    struct sp_mse_dice dice;
    sp_mse_find *find;
    void *find_ctx;
    struct sp_mse mse;
};

/* find: of all torrents of the client; it may be called until the door is NAMED.
 * dice: see sp_session_dice. */
void sp_door_init(struct sp_door *d, enum sp_encryption policy, const struct sp_mse_dice *dice,
                  sp_mse_find *find, void *find_ctx);

/* Where to read to; empty: not now. */
struct sp_iov sp_door_room(struct sp_door *d);
enum sp_door_state sp_door_received(struct sp_door *d, size_t len, struct sp_purse *purse,
                                    sp_time_ns now);
/* It waits for power: something may have come into the purse. */
bool sp_door_waits(const struct sp_door *d);
enum sp_door_state sp_door_go_on(struct sp_door *d, struct sp_purse *purse, sp_time_ns now);

/* To be sent; what is left once NAMED goes with the connection. */
struct sp_slice sp_door_out(const struct sp_door *d);
void sp_door_sent(struct sp_door *d, size_t len);

/* The next secrets of this session. */
void sp_session_dice(struct sp_session *s, struct sp_mse_dice *ret_dice);

/* A door that is NAMED becomes a connection, as sp_session_accept; the bytes
 * read so far are taken.  NULL: not wanted, or no torrent of this session. */
struct sp_conn *sp_session_enter(struct sp_session *s, const struct sp_door *d,
                                 const struct sp_addr *addr, void *user, sp_time_ns now);

#endif
