#include "io/reactor/udp.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/cur.h"
#include "io/reactor/reactor.h"

enum {
    BYTES_LEN = 65536,
    RECV_BURST = 32,
    SEND_BURST = 256,
    BUFFER_LEN = 4 << 20,
    MOVED_SETS = 512, /* of MOVED_WAYS */
    MOVED_WAYS = 4,
    PASSED_MAX = 512, /* batches waiting for one reactor */
};

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* ---- sockets ---- */

/* Index of the reactor out of the datagram: see sp_utp_owner, whose words these
 * are; what is not uTP goes to the first one. */
static bool attach_filter(int fd, uint32_t count)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x0f),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 8), /* to the last */
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 2), /* 1 for SYN (4), 0 else */
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog prog = {.len = SP_COUNT(code), .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)) == 0;
}

static void tune(int fd)
{
    int len = BUFFER_LEN, on = 1;
    /* The second needs privileges, and goes beyond the system's limit. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof(len));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof(len));
    (void)setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
}

/* Whether routers may cut what is too long: packets of a connection cannot be
 * cut anew, so all may but probes. */
static void set_whole(int fd, bool v4, bool whole)
{
    int how4 = whole ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT;
    int how6 = whole ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_DONT;
    if (v4)
        (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &how4, sizeof(how4));
    else
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &how6, sizeof(how6));
}

int sp_udp_listen(struct sp_addr *a, const char *iface, uint32_t ix, uint32_t count)
{
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(a, &ss);
    int fd = sp_udp_bind(a->family, iface, (struct sockaddr *)&ss, len);

    if (fd < 0)
        return -1;
    len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0 ||
        (ix == 0 && count > 1 && !attach_filter(fd, count))) {
        close(fd);
        return -1;
    }
    a->port = sp_addr_of_sockaddr(&ss).port;
    tune(fd);
    set_whole(fd, a->family == SP_V4, false);
    return fd;
}

/* ---- connections of other reactors ---- */

struct sp_moved {
    struct {
        struct sp_addr from; /* family NONE: free */
        uint16_t id;
        uint8_t to;
        sp_time_ns at;
    } e[MOVED_SETS][MOVED_WAYS];
};

struct passed {
    struct sp_post post;
    struct sp_addr from;
    struct sp_utp_knock knock;
    bool has_knock;
    uint32_t seg_len;
    size_t len;
    uint8_t bytes[];
};

static uint32_t set_of(struct sp_reactor *r, const struct sp_addr *from, uint16_t id)
{
    uint64_t h = sp_addr_hash(&r->env->print_key, from) ^ id * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)((h ^ h >> 29) % MOVED_SETS);
}

/* The reactor it was passed on to; reactor_count: none. */
static uint32_t find_moved(struct sp_reactor *r, const struct sp_addr *from, uint16_t id,
                           sp_time_ns now)
{
    uint32_t set = r->udp.moved ? set_of(r, from, id) : 0;
    for (int i = 0; r->udp.moved && i < MOVED_WAYS; i++) {
        if (r->udp.moved->e[set][i].id == id && sp_addr_eq(&r->udp.moved->e[set][i].from, from)) {
            r->udp.moved->e[set][i].at = now;
            return r->udp.moved->e[set][i].to;
        }
    }
    return r->env->reactor_count;
}

/* The one that was silent longest gives its place. */
static bool add_moved(struct sp_reactor *r, const struct sp_addr *from, uint16_t id, uint32_t to,
                      sp_time_ns now)
{
    struct sp_udp *u = &r->udp;
    if (!u->moved)
        u->moved = calloc(1, sizeof(*u->moved));
    if (!u->moved)
        return false;
    uint32_t set = set_of(r, from, id), best = 0;
    for (uint32_t i = 1; i < MOVED_WAYS; i++) {
        if (u->moved->e[set][i].at < u->moved->e[set][best].at)
            best = i;
    }
    u->moved->e[set][best].from = *from;
    u->moved->e[set][best].id = id;
    u->moved->e[set][best].to = (uint8_t)to;
    u->moved->e[set][best].at = now;
    return true;
}

static void run_passed(struct sp_reactor *r, struct sp_post *post)
{
    struct passed *p = (struct passed *)post;
    sp_time_ns now = sp_reactor_now(r);

    __atomic_sub_fetch(&r->udp.passed_on, 1, __ATOMIC_RELAXED);
    if (!r->stopping && p->has_knock)
        sp_session_vouch(r->session, &p->knock, now);
    if (!r->stopping)
        sp_session_datagrams(r->session, &p->from, (struct sp_slice){p->bytes, p->len}, p->seg_len,
                             now);
    free(p);
}

static void pass_on(struct sp_reactor *to, const struct sp_addr *from, struct sp_slice bytes,
                    uint32_t seg_len, const struct sp_utp_knock *knock)
{
    if (__atomic_add_fetch(&to->udp.passed_on, 1, __ATOMIC_RELAXED) > PASSED_MAX) {
        __atomic_sub_fetch(&to->udp.passed_on, 1, __ATOMIC_RELAXED);
        return; /* as if lost on the way */
    }
    struct passed *p = malloc(sizeof(*p) + bytes.len);
    if (!p) {
        __atomic_sub_fetch(&to->udp.passed_on, 1, __ATOMIC_RELAXED);
        return;
    }
    *p = (struct passed){.post.run = run_passed, .from = *from, .seg_len = seg_len};
    p->len = bytes.len;
    if (knock) {
        p->knock = *knock;
        p->has_knock = true;
    }
    memcpy(p->bytes, bytes.ptr, bytes.len);
    sp_reactor_post(to, &p->post);
}

/* A connection begins, and names a torrent that is not ours. */
static bool begins_elsewhere(struct sp_reactor *r, const struct sp_addr *from,
                             struct sp_slice first, struct sp_utp_knock *knock, uint32_t *ret_to,
                             sp_time_ns now)
{
    uint8_t info_hash[SP_SHA1_LEN];
    if (!sp_session_knocks(r->session, from, first, knock, now) ||
        sp_handshake_peek(knock->payload, info_hash) != SP_OK)
        return false;
    *ret_to = info_hash[SP_SHA1_LEN - 1] % r->env->reactor_count;
    return *ret_to != r->ix;
}

/* Datagrams with one connection id. */
static void route(struct sp_reactor *r, const struct sp_addr *from, struct sp_slice bytes,
                  uint32_t seg_len, sp_time_ns now)
{
    struct sp_slice first = {bytes.ptr, bytes.len < seg_len ? bytes.len : seg_len};
    struct sp_utp_knock knock;
    uint16_t id = sp_be16(first.ptr + 2);
    uint32_t count = r->env->reactor_count, to = count > 1 ? find_moved(r, from, id, now) : 1;

    if (to < count) {
        pass_on(r->env->reactors[to], from, bytes, seg_len, NULL);
    } else if (count > 1 && begins_elsewhere(r, from, first, &knock, &to, now) &&
               add_moved(r, from, id, to, now)) {
        knock.payload = (struct sp_slice){0};
        pass_on(r->env->reactors[to], from, bytes, seg_len, &knock);
    } else {
        sp_session_datagrams(r->session, from, bytes, seg_len, now);
    }
}

/* ---- receiving ---- */

/* What came in one call.  Other protocols on this port find their place here. */
static void got(struct sp_reactor *r, const struct sp_addr *from, struct sp_slice bytes,
                uint32_t seg_len, sp_time_ns now)
{
    while (bytes.len > 0) {
        struct sp_slice first = {bytes.ptr, bytes.len < seg_len ? bytes.len : seg_len};
        size_t len = first.len;
        if (sp_utp_is_packet(first)) {
            uint16_t id = sp_be16(first.ptr + 2);
            while (len + SP_UTP_LEAST <= bytes.len && len % seg_len == 0 &&
                   sp_be16(bytes.ptr + len + 2) == id)
                len += bytes.len - len < seg_len ? bytes.len - len : seg_len;
            route(r, from, (struct sp_slice){bytes.ptr, len}, seg_len, now);
        }
        bytes.ptr += len;
        bytes.len -= len;
    }
}

static uint32_t gro_len(struct msghdr *msg, size_t len)
{
    for (struct cmsghdr *k = CMSG_FIRSTHDR(msg); k; k = CMSG_NXTHDR(msg, k)) {
        int n;
        if (k->cmsg_level != SOL_UDP || k->cmsg_type != UDP_GRO)
            continue;
        memcpy(&n, CMSG_DATA(k), sizeof(n));
        if (n > 0)
            return (uint32_t)n;
    }
    return (uint32_t)len;
}

static void recv_some(struct sp_reactor *r, struct sp_watch *w)
{
    for (int i = 0; i < RECV_BURST; i++) {
        struct sockaddr_storage ss;
        _Alignas(struct cmsghdr) char control[64];
        struct iovec iov = {r->udp.bytes, BYTES_LEN};
        struct msghdr msg = {.msg_name = &ss,
                             .msg_namelen = sizeof(ss),
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(w->fd, &msg, MSG_DONTWAIT);
        if (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH))
            continue; /* of a datagram sent before */
        if (n < 0)
            return;
        if (n == 0)
            continue;
        struct sp_addr from = sp_addr_of_sockaddr(&ss);
        got(r, &from, (struct sp_slice){r->udp.bytes, (size_t)n}, gro_len(&msg, (size_t)n),
            sp_reactor_now(r));
    }
}

static void on_ready(struct sp_watch *w, int events, int status)
{
    struct sp_reactor *r = w->ctx;
    if (status < 0)
        return;
    if (events & UV_WRITABLE) { /* on_turn flushes */
        r->udp.full = false;
        sp_watch_want(w, UV_READABLE);
    }
    if (events & UV_READABLE)
        recv_some(r, w);
}

/* ---- sending ---- */

static ssize_t send_one(int fd, const struct sp_utp_batch *b, const uint8_t *ptr, size_t len,
                        uint16_t seg_len)
{
    struct sockaddr_storage ss;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec iov = {(void *)(uintptr_t)ptr, len};
    struct msghdr msg = {.msg_name = &ss, .msg_iov = &iov, .msg_iovlen = 1};

    msg.msg_namelen = sp_sockaddr_of(&b->to, &ss);
    if (seg_len) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *k = CMSG_FIRSTHDR(&msg);
        k->cmsg_level = SOL_UDP;
        k->cmsg_type = UDP_SEGMENT;
        k->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        memcpy(CMSG_DATA(k), &seg_len, sizeof(seg_len));
    }
    ssize_t n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ECONNREFUSED) /* told of one sent before */
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n;
}

/* One by one; what the socket does not take any more is as if lost. */
static ssize_t send_singly(int fd, const struct sp_utp_batch *b)
{
    for (size_t at = 0; at < b->len; at += b->seg_len) {
        size_t len = b->len - at < b->seg_len ? b->len - at : b->seg_len;
        ssize_t n = send_one(fd, b, b->ptr + at, len, 0);
        if (n < 0)
            return at > 0 ? (ssize_t)at : -1;
    }
    return (ssize_t)b->len;
}

static ssize_t send_batch(struct sp_reactor *r, int fd, const struct sp_utp_batch *b)
{
    bool many = b->len > b->seg_len, v4 = b->to.family == SP_V4;

    if (b->probe) {
        set_whole(fd, v4, true);
        ssize_t n = send_one(fd, b, b->ptr, b->len, 0);
        int err = errno;
        set_whole(fd, v4, false);
        errno = err;
        return n;
    }
    if (many && !r->udp.no_gso) {
        ssize_t n = send_one(fd, b, b->ptr, b->len, (uint16_t)b->seg_len);
        if (n >= 0 || (errno != EIO && errno != EINVAL && errno != EMSGSIZE && errno != EOPNOTSUPP))
            return n;
        r->udp.no_gso = errno != EMSGSIZE;
    }
    return send_singly(fd, b);
}

void sp_udp_flush(struct sp_reactor *r)
{
    struct sp_utp_batch b;
    struct sp_udp *u = &r->udp;

    for (int i = 0; i < SEND_BURST && !u->full; i++) {
        sp_time_ns now = sp_reactor_now(r);
        if (!sp_session_datagram_next(r->session, &b, now))
            return;
        bool v4 = b.to.family == SP_V4, has = v4 ? u->has_v4 : u->has_v6;
        struct sp_watch *w = v4 ? &u->v4 : &u->v6;
        ssize_t n = has ? send_batch(r, w->fd, &b) : -1;
        if (n >= 0) {
            sp_session_datagram_sent(r->session, now);
        } else if (has && (errno == EAGAIN || errno == ENOBUFS)) {
            u->full = true;
            sp_watch_want(w, UV_READABLE | UV_WRITABLE);
        } else {
            sp_session_datagram_refused(r->session, has && errno == EMSGSIZE, now);
        }
    }
    if (!u->full)
        sp_reactor_again(r);
}

/* ---- life ---- */

static bool watch(struct sp_reactor *r, struct sp_watch *w, int fd)
{
    if (fd < 0)
        return false;
    if (sp_watch_init(w, &r->loop, fd, on_ready, r) != SP_OK) {
        close(fd);
        return false;
    }
    sp_watch_want(w, UV_READABLE);
    return true;
}

void sp_udp_start(struct sp_reactor *r, int fd4, int fd6)
{
    r->udp.bytes = malloc(BYTES_LEN);
    if (!r->udp.bytes) {
        if (fd4 >= 0)
            close(fd4);
        if (fd6 >= 0)
            close(fd6);
        return;
    }
    r->udp.has_v4 = watch(r, &r->udp.v4, fd4);
    r->udp.has_v6 = watch(r, &r->udp.v6, fd6);
}

void sp_udp_close(struct sp_reactor *r)
{
    if (r->udp.has_v4)
        sp_watch_close(&r->udp.v4, NULL);
    if (r->udp.has_v6)
        sp_watch_close(&r->udp.v6, NULL);
    r->udp.has_v4 = r->udp.has_v6 = false;
}

void sp_udp_free(struct sp_reactor *r)
{
    free(r->udp.bytes);
    free(r->udp.moved);
}
