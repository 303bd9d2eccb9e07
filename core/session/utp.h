/* utp.h - the session's uTP: connections whose stream is not a socket of the
 * shell's but one over datagrams; private to this room.
 *
 * To the torrents they are connections like others.  What the shell does for
 * a socket (dial, read, write, close) is done here, when the effect comes up.
 */
#ifndef SP_SESSION_UTP_H
#define SP_SESSION_UTP_H

#include "core/session/state.h"

enum { SP_UTP_DOORS_MAX = 256 }; /* accepted and not yet named, at once */

SP_MUST_USE enum sp_err sp_session_utp_init(struct sp_session *s);
void sp_session_utp_done(struct sp_session *s);

/* Is the next dial of c to go over uTP?  Then it does. */
bool sp_session_utp_dial(struct sp_session *s, struct sp_conn *c, sp_time_ns now);
/* The effects of a connection that has a stream. */
void sp_session_utp_close(struct sp_session *s, struct sp_stream *st, sp_time_ns now);
void sp_session_utp_send(struct sp_session *s, struct sp_conn *c, sp_time_ns now);
void sp_session_utp_resume(struct sp_session *s, struct sp_conn *c, sp_time_ns now);

sp_time_ns sp_session_utp_deadline(const struct sp_session *s);
void sp_session_utp_tick(struct sp_session *s, sp_time_ns now);

#endif
