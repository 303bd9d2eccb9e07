/* Local service discovery on the wire (core/lsd): one socket a family, on
 * reactor 0, for all torrents of the client; who is heard is handed to the
 * reactor that has the torrent.
 *
 * The socket is bound to the group's own address, so nothing that was sent to
 * us alone, from wherever, comes in here.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/lsd/lsd.h"
#include "io/reactor/reactor.h"

enum {
    IFACES_MAX = 32,
    READS_MAX = 64, /* of one turn */
    TTL = 1,        /* no further than the own network */
};
#define COUNT_EVERY_NS SP_SECOND_NS
#define SEE_EVERY_NS   (15 * SP_SECOND_NS) /* interfaces come and go */

struct sp_lsd_io {
    struct sp_lsd lsd;
    struct sp_watch watch4, watch6;
    bool has4, has6;
    uint32_t cursor; /* torrent to begin the next message with */
    sp_time_ns count_at, see_at;
};

/* ---- interfaces ---- */

/* One way out: a device, and whether we listen there. */
struct way {
    unsigned ifindex;
    enum sp_family family;
};

static bool is_named(const struct sp_reactor_env *env, const struct ifaddrs *ifa,
                     const struct sp_addr *own)
{
    struct sp_addr addr;
    const char *name = env->interface;
    if (!name)
        return true;
    if (sp_addr_parse((struct sp_slice){(const uint8_t *)name, strlen(name)}, false, &addr) ==
        SP_OK)
        return sp_addr_same_ip(&addr, own);
    return strcmp(name, ifa->ifa_name) == 0;
}

/* BEP-0014: "on each interface on which it is listening for bittorrent
 * connections" */
static bool is_listened_on(const struct sp_reactor_env *env, const struct sp_addr *own)
{
    static const uint8_t any[16];
    for (uint32_t i = 0; i < env->listen_addr_count; i++) {
        const struct sp_addr *a = &env->listen_addrs[i];
        if (a->family == own->family &&
            (sp_addr_same_ip(a, own) || memcmp(a->ip, any, sizeof(any)) == 0))
            return true;
    }
    return false;
}

static uint32_t find_ways(const struct sp_reactor_env *env, struct way ways[IFACES_MAX])
{
    struct ifaddrs *list, *ifa;
    uint32_t count = 0;

    if (getifaddrs(&list) != 0)
        return 0;
    for (ifa = list; ifa && count < IFACES_MAX; ifa = ifa->ifa_next) {
        struct sockaddr_storage ss = {0};
        unsigned need = IFF_UP | IFF_MULTICAST;
        if (!ifa->ifa_addr || (ifa->ifa_flags & need) != need || ifa->ifa_flags & IFF_LOOPBACK)
            continue;
        int family = ifa->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6)
            continue;
        memcpy(&ss, ifa->ifa_addr,
               family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        struct sp_addr own = sp_addr_of_sockaddr(&ss);
        struct way way = {if_nametoindex(ifa->ifa_name), (enum sp_family)own.family};
        bool known = !way.ifindex || !is_listened_on(env, &own) || !is_named(env, ifa, &own);
        for (uint32_t i = 0; i < count && !known; i++)
            known = ways[i].ifindex == way.ifindex && ways[i].family == way.family;
        if (!known)
            ways[count++] = way;
    }
    freeifaddrs(list);
    return count;
}

/* Joining again where we are is refused, which is in order. */
static void join(const struct sp_lsd_io *io, const struct way *way)
{
    struct sp_addr group = sp_lsd_group(way->family);
    if (way->family == SP_V4) {
        struct ip_mreqn m = {.imr_ifindex = (int)way->ifindex};
        memcpy(&m.imr_multiaddr, group.ip, 4);
        (void)setsockopt(io->watch4.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m));
    } else {
        struct ipv6_mreq m = {.ipv6mr_interface = way->ifindex};
        memcpy(&m.ipv6mr_multiaddr, group.ip, 16);
        (void)setsockopt(io->watch6.fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m, sizeof(m));
    }
}

static void join_all(struct sp_reactor *r)
{
    struct way ways[IFACES_MAX];
    uint32_t count = find_ways(r->env, ways);
    for (uint32_t i = 0; i < count; i++) {
        if (ways[i].family == SP_V4 ? r->lsd->has4 : r->lsd->has6)
            join(r->lsd, &ways[i]);
    }
}

/* ---- calling ---- */

static void send_on(const struct sp_lsd_io *io, const struct way *way, const uint8_t *bytes,
                    size_t len)
{
    struct sp_addr group = sp_lsd_group(way->family);
    bool v4 = way->family == SP_V4;
    int fd = v4 ? io->watch4.fd : io->watch6.fd, ifindex = (int)way->ifindex;
    struct ip_mreqn m = {.imr_ifindex = ifindex};
    struct sockaddr_storage ss;
    socklen_t ss_len = sp_sockaddr_of(&group, &ss);

    int rc = v4 ? setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m))
                : setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &ifindex, sizeof(ifindex));
    if (rc == 0) /* what does not get out is as if lost */
        (void)sendto(fd, bytes, len, MSG_DONTWAIT, (struct sockaddr *)&ss, ss_len);
}

static void call_out(struct sp_reactor *r, sp_time_ns now)
{
    struct sp_lsd_io *io = r->lsd;
    struct way ways[IFACES_MAX];
    struct sp_lsd_msg msg = {0};
    uint8_t bytes[SP_LSD_LEN_MAX];
    uint32_t total;

    msg.hash_count =
        r->env->lsd_list(r->env->ctx, &io->cursor, msg.hashes, SP_LSD_HASHES_MAX, &total);
    sp_lsd_sent(&io->lsd, now);
    if (msg.hash_count == 0)
        return;
    sp_lsd_sign(&io->lsd, &msg);
    uint32_t count = find_ways(r->env, ways);
    for (uint32_t i = 0; i < count; i++) {
        size_t len;
        if ((ways[i].family == SP_V4 ? io->has4 : io->has6) &&
            sp_lsd_write(&msg, ways[i].family, bytes, sizeof(bytes), &len) == SP_OK)
            send_on(io, &ways[i], bytes, len);
    }
}

void sp_lsd_tick(struct sp_reactor *r, sp_time_ns now)
{
    struct sp_lsd_io *io = r->lsd;
    uint32_t total, none = 0;

    if (!io || now < io->count_at)
        return;
    io->count_at = now + COUNT_EVERY_NS;
    (void)r->env->lsd_list(r->env->ctx, &none, NULL, 0, &total);
    sp_lsd_count(&io->lsd, r->stopping ? 0 : total, now);
    if (now >= io->see_at) {
        io->see_at = now + SEE_EVERY_NS;
        join_all(r);
    }
    if (sp_lsd_is_due(&io->lsd, now))
        call_out(r, now);
}

/* ---- listening ---- */

static void on_message(struct sp_watch *w, int events, int status)
{
    struct sp_reactor *r = w->ctx;
    uint8_t bytes[SP_LSD_HEAR_LEN_MAX + 1];
    struct sp_lsd_msg msg;
    (void)events;

    for (int i = 0; status >= 0 && i < READS_MAX; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        ssize_t n =
            recvfrom(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&ss, &len);
        if (n < 0)
            return;
        if (sp_lsd_hear(&r->lsd->lsd, (struct sp_slice){bytes, (size_t)n}, sp_reactor_now(r),
                        &msg) != SP_OK)
            continue;
        /* BEP-0014: "determine the IP address on which the remote client can be
         * contacted based on the UDP source address" */
        struct sp_addr from = sp_addr_of_sockaddr(&ss);
        from.port = msg.port;
        for (uint32_t h = 0; h < msg.hash_count; h++)
            r->env->lsd_heard(r->env->ctx, msg.hashes[h], &from);
    }
}

static int open_group(enum sp_family family)
{
    struct sp_addr group = sp_lsd_group(family);
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(&group, &ss);
    int fd = sp_udp_open(family, NULL), on = 1, ttl = TTL;

    if (fd < 0)
        return -1;
    /* Other clients on this machine listen there too. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&ss, len) != 0) {
        close(fd);
        return -1;
    }
    if (family == SP_V4)
        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl));
    else
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof(ttl));
    return fd;
}

static bool watch_group(struct sp_reactor *r, enum sp_family family, struct sp_watch *w)
{
    int fd = open_group(family);
    if (fd < 0)
        return false;
    if (sp_watch_init(w, &r->loop, fd, on_message, r) != SP_OK) {
        close(fd);
        return false;
    }
    sp_watch_want(w, UV_READABLE);
    return true;
}

void sp_lsd_open(struct sp_reactor *r, uint64_t seed, uint16_t port)
{
    if (!r->env->lsd_list || r->ix != 0 || port == 0)
        return;
    r->lsd = calloc(1, sizeof(*r->lsd));
    if (!r->lsd)
        return; /* a convenience: the client works without it */
    sp_lsd_init(&r->lsd->lsd, seed, port, sp_reactor_now(r));
    r->lsd->has4 = watch_group(r, SP_V4, &r->lsd->watch4);
    r->lsd->has6 = watch_group(r, SP_V6, &r->lsd->watch6);
}

void sp_lsd_close(struct sp_reactor *r)
{
    if (r->lsd && r->lsd->has4)
        sp_watch_close(&r->lsd->watch4, NULL);
    if (r->lsd && r->lsd->has6)
        sp_watch_close(&r->lsd->watch6, NULL);
    if (r->lsd)
        r->lsd->has4 = r->lsd->has6 = false;
}
