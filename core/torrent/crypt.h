/* crypt.h - what stands between a connection and its stream when the stream is
 * enciphered (MSE): the handshake while we dial, RC4 both ways, and what is
 * enciphered but not sent.
 *
 * Received bytes are deciphered where they lie.  Sent ones need a place of
 * their own, because blocks are shared with the cache: a batch is enciphered,
 * at that moment it counts as sent, and what the socket does not take waits.
 * A batch grows while sockets take it whole and shrinks when they do not.
 */
#ifndef SP_TORRENT_CRYPT_H
#define SP_TORRENT_CRYPT_H

#include "core/base/buf.h"
#include "core/mse/mse.h"
#include "spate/client.h"

struct sp_conn;
struct sp_torrent;
struct sp_candidate;

enum {
    CRYPT_BATCH_MIN = 16 * 1024,
    CRYPT_BATCH_MAX = 128 * 1024,
};

struct sp_crypt {
    struct sp_mse *mse; /* our handshake under way; NULL: it is over */
    struct sp_rc4 rx, tx;
    uint32_t rx_left; /* so many bytes still come in RC4; UINT32_MAX: all */
    bool rc4;         /* what we send is enciphered */
    uint32_t batch;   /* bytes enciphered at once */
    struct sp_buf out;
};

/* ---- whom to dial how ---- */

/* Begin with MSE?  By the policy, and by what the candidate answered to before. */
bool sp_crypt_is_first(const struct sp_torrent *t, const struct sp_candidate *a);
/* c, which dialled a, is gone.  True when a is to be tried in the other way
 * soon (retry_at is set); only once in turn, then it is a failure as any. */
bool sp_crypt_retry(const struct sp_conn *c, struct sp_candidate *a, sp_time_ns now);

/* ---- a connection's cipher ---- */

/* The dialled stream is open: begins with MSE if the connection is to.  Ends
 * it without memory. */
void sp_crypt_opened(struct sp_conn *c, sp_time_ns now);
/* For an accepted stream whose handshake m has answered.  NULL: no memory. */
struct sp_crypt *sp_crypt_of(const struct sp_mem *mem, const struct sp_mse *m);
void sp_crypt_free(const struct sp_mem *mem, struct sp_crypt *k);

/* Received, in place.  Gives what of it is for the wire: nothing while the
 * handshake lasts.  May end c. */
struct sp_slice sp_crypt_received(struct sp_conn *c, uint8_t *bytes, size_t len, sp_time_ns now);
/* The same for bytes in the places of blocks, once the handshake is over. */
void sp_crypt_decipher(struct sp_crypt *k, uint8_t *bytes, size_t len);

/* As sp_conn_send_list, sp_conn_sent.  False: it was plain text. */
uint32_t sp_crypt_send_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, sp_time_ns now);
bool sp_crypt_sent(struct sp_conn *c, size_t len, sp_time_ns now);
/* Gives back what an idle connection does not need. */
void sp_crypt_trim(struct sp_conn *c);

#endif
