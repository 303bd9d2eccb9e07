/* The interface that everything is bound to: when it goes, connections end and
 * nobody is dialled, asked or resolved until it is back.  The kernel lets no bound
 * socket out by another; this is about noticing, and about names. */
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/reactor/reactor.h"

static bool device_is_up(const char *name)
{
    struct ifreq req = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t n = strlen(name);

    if (fd < 0 || n >= sizeof(req.ifr_name)) {
        if (fd >= 0)
            close(fd);
        return n < sizeof(req.ifr_name); /* no descriptor: not the device's fault */
    }
    memcpy(req.ifr_name, name, n + 1);
    bool up = ioctl(fd, SIOCGIFFLAGS, &req) == 0 && (req.ifr_flags & IFF_UP) &&
              (req.ifr_flags & IFF_RUNNING);
    close(fd);
    return up;
}

/* It is an address: ours as long as it can be bound to. */
static bool address_is_here(const struct sp_addr *a)
{
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(a, &ss);
    int fd = socket(a->family == SP_V4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return true;
    bool here = bind(fd, (struct sockaddr *)&ss, len) == 0;
    close(fd);
    return here;
}

void sp_iface_tick(struct sp_reactor *r, sp_time_ns now)
{
    const char *name = r->env->interface;
    char text[SP_CLIENT_TEXT_LEN];
    struct sp_addr a;

    if (!name || r->ending)
        return;
    struct sp_slice s = {(const uint8_t *)name, strlen(name)};
    bool up = sp_addr_parse(s, false, &a) == SP_OK ? address_is_here(&a) : device_is_up(name);
    if (up == !r->iface_is_down)
        return;
    r->iface_is_down = !up;
    snprintf(text, sizeof(text), "interface %.60s is %s", name,
             up ? "back" : "gone; nothing goes out until it is back");
    if (r->ix == 0)
        sp_reactor_event(r, SP_EV_NETWORK, SP_TORRENT_NONE, up ? SP_OK : SP_ENET, text);
    if (!up)
        sp_sock_lose_all(r, "the interface is gone");
    sp_reactor_online(r, now);
}
