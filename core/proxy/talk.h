/* talk.h - what the two kinds of talk share; private to core/proxy. */
#ifndef SP_PROXY_TALK_H
#define SP_PROXY_TALK_H

#include "core/base/out.h"
#include "core/proxy/proxy.h"

void sp_proxy_fail(struct sp_proxy *p, const char *why, bool target_is_wrong);
/* What was written to p->out is to be sent. */
void sp_proxy_queue(struct sp_proxy *p, const struct sp_out *o);
/* The target is a known kind of address, or a name that fits. */
bool sp_proxy_can_tell(const struct sp_proxy_target *t);

/* connect.c */
void sp_proxy_say_connect(struct sp_proxy *p);
size_t sp_proxy_hear_connect(struct sp_proxy *p, struct sp_slice bytes);

#endif
