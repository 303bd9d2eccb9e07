/* client.h - a client, as its commands see it; impl.h has how it stands. */
#ifndef SP_IO_CLIENT_H
#define SP_IO_CLIENT_H

#include "io/reactor/reactor.h"
#include "spate/client.h"

struct sp_reactor *sp_client_reactor(struct sp_client *c, uint32_t ix);
uint32_t sp_client_reactor_count(const struct sp_client *c);
/* Of a torrent; NULL when it is unknown. */
struct sp_reactor *sp_client_reactor_of(struct sp_client *c, sp_torrent_id torrent);

/* Gives h a number.  SP_EEXIST: its info-hash is here. */
enum sp_err sp_client_enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent);
/* Nothing is shown of it any more. */
void sp_client_forget(struct sp_client *c, sp_torrent_id torrent);

/* What routers have mapped is removed; counts as one more reactor of the stop. */
void sp_client_stop_portmap(struct sp_client *c);

/* The torrent with its lock held, so that it is not freed meanwhile; NULL. */
struct sp_held *sp_client_lock_held(const struct sp_client *c, sp_torrent_id torrent);
void sp_client_unlock_held(const struct sp_client *c, struct sp_held *h);

#endif
