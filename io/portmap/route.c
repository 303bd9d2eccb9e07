#include "io/portmap/route.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "io/base/blocking.h"
#include "io/base/fd.h"

enum { ANSWER_MAX = 32768, ANSWERS_MAX = 64 };

/* Far away, in every full table and behind every default route: a root of DNS. */
static const uint8_t FAR4[4] = {198, 41, 0, 4};
static const uint8_t FAR6[16] = {0x20, 0x01, 0x05, 0x03, 0xba, 0x3e, [13] = 2, [15] = 0x30};

struct request {
    struct nlmsghdr head;
    union {
        struct rtmsg route;
        struct ifaddrmsg addr;
    } u;
    uint8_t attrs[128];
};

static void add(struct request *q, unsigned short type, const void *bytes, size_t len)
{
    struct rtattr *a = (struct rtattr *)(void *)((uint8_t *)q + NLMSG_ALIGN(q->head.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), bytes, len);
    q->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static int open_netlink(void)
{
    struct timeval patience = {.tv_sec = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* Calls each for the messages of the answer, until the last one. */
static bool ask(const struct request *q, void (*each)(void *ctx, struct nlmsghdr *h), void *ctx)
{
    _Alignas(struct nlmsghdr) uint8_t answer[ANSWER_MAX];
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    bool is_dump = q->head.nlmsg_flags & NLM_F_ROOT;
    SP_FD fd = open_netlink();

    sp_may_block("netlink");
    if (fd < 0 ||
        sendto(fd, q, q->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
        return false;
    for (int i = 0; i < ANSWERS_MAX; i++) {
        ssize_t n = recv(fd, answer, sizeof(answer), 0);
        if (n <= 0)
            return false;
        uint32_t left = (uint32_t)n;
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)answer; NLMSG_OK(h, left);
             h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return true;
            if (h->nlmsg_type == NLMSG_ERROR)
                return false;
            each(ctx, h);
        }
        if (!is_dump)
            return true;
    }
    return false;
}

/* ---- the route ---- */

struct found_route {
    enum sp_family family;
    bool has_gateway;
    struct sp_route route;
};

static struct sp_addr addr_of(enum sp_family family, struct rtattr *a)
{
    size_t len = RTA_PAYLOAD(a);
    if (family == SP_V4 && len >= 4)
        return sp_addr_v4(RTA_DATA(a), 0);
    if (family == SP_V6 && len >= 16)
        return sp_addr_v6(RTA_DATA(a), 0);
    return (struct sp_addr){0};
}

static void on_route(void *ctx, struct nlmsghdr *h)
{
    struct found_route *f = ctx;
    struct rtmsg *m = NLMSG_DATA(h);
    unsigned left = (unsigned)RTM_PAYLOAD(h);
    if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_type != RTN_UNICAST)
        return;
    for (struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_GATEWAY) {
            f->route.gateway = addr_of(f->family, a);
            f->has_gateway = f->route.gateway.family == f->family;
        } else if (a->rta_type == RTA_PREFSRC) {
            f->route.local = addr_of(f->family, a);
        } else if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) >= 4) {
            memcpy(&f->route.device_ix, RTA_DATA(a), 4);
        }
    }
}

/* iface as an address, or family NONE. */
static struct sp_addr address_of(const char *iface)
{
    struct sp_addr a = {0};
    if (iface &&
        sp_addr_parse((struct sp_slice){(const uint8_t *)iface, strlen(iface)}, false, &a) != SP_OK)
        a = (struct sp_addr){0};
    return a;
}

static bool find_route(struct found_route *f, const char *iface, const struct sp_addr *own)
{
    bool v4 = f->family == SP_V4;
    uint8_t bits = v4 ? 32 : 128;
    struct request q = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST},
        .u.route = {.rtm_family = v4 ? AF_INET : AF_INET6, .rtm_dst_len = bits},
    };
    add(&q, RTA_DST, v4 ? FAR4 : FAR6, v4 ? 4 : 16);
    if (own->family != SP_FAMILY_NONE) {
        if (own->family != f->family)
            return false;
        q.u.route.rtm_src_len = bits;
        add(&q, RTA_SRC, own->ip, v4 ? 4 : 16);
    } else if (iface) {
        uint32_t ix = if_nametoindex(iface);
        if (!ix)
            return false;
        add(&q, RTA_OIF, &ix, sizeof(ix));
    }
    if (!ask(&q, on_route, f) || !f->has_gateway || !f->route.device_ix)
        return false;
    if (own->family != SP_FAMILY_NONE)
        f->route.local = *own;
    return if_indextoname(f->route.device_ix, f->route.device) != NULL;
}

/* ---- IPv6: addresses of a device ---- */

struct found_addrs {
    uint32_t device_ix;
    struct sp_addr list[8];
    uint32_t count;
};

static void on_addr(void *ctx, struct nlmsghdr *h)
{
    struct found_addrs *f = ctx;
    struct ifaddrmsg *m = NLMSG_DATA(h);
    unsigned left = (unsigned)IFA_PAYLOAD(h);
    struct sp_addr addr = {0};
    uint32_t flags = 0;
    if (h->nlmsg_type != RTM_NEWADDR || m->ifa_family != AF_INET6 || m->ifa_index != f->device_ix)
        return;
    flags = m->ifa_flags;
    for (struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFA_ADDRESS)
            addr = addr_of(SP_V6, a);
        else if (a->rta_type == IFA_FLAGS && RTA_PAYLOAD(a) >= 4)
            memcpy(&flags, RTA_DATA(a), 4);
    }
    if (flags & (IFA_F_TENTATIVE | IFA_F_DEPRECATED | IFA_F_DADFAILED) || addr.family != SP_V6 ||
        sp_addr_scope(&addr) != SP_SCOPE_GLOBAL || f->count == SP_COUNT(f->list))
        return;
    f->list[f->count++] = addr;
}

static uint32_t addrs_of_device(const struct sp_route *route, struct sp_route *ret_routes,
                                uint32_t cap)
{
    struct found_addrs f = {.device_ix = route->device_ix};
    struct request q = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                 .nlmsg_type = RTM_GETADDR,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .u.addr = {.ifa_family = AF_INET6},
    };
    uint32_t n = 0;
    (void)ask(&q, on_addr, &f);
    for (; n < f.count && n < cap; n++) {
        ret_routes[n] = *route;
        ret_routes[n].local = f.list[n];
    }
    return n;
}

uint32_t sp_routes_find(enum sp_family family, const char *iface, struct sp_route *ret_routes,
                        uint32_t cap)
{
    struct found_route f = {.family = family};
    struct sp_addr own = address_of(iface);
    if (cap == 0 || !find_route(&f, iface, &own))
        return 0;
    if (family == SP_V6 && own.family == SP_FAMILY_NONE)
        return addrs_of_device(&f.route, ret_routes, cap);
    if (f.route.local.family != family)
        return 0;
    ret_routes[0] = f.route;
    return 1;
}
