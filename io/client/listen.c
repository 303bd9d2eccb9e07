/* The addresses a client listens on, each on every reactor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/client/impl.h"

enum { PORT_FIRST = 6881, PORT_TRIES = 32 };

void sp_client_close_listeners(struct sp_client *c, const struct sp_listeners *l)
{
    for (uint32_t r = 0; r < c->reactor_count; r++) {
        for (uint32_t i = 0; i < l->count; i++)
            close(l->fds[r][i]);
        if (l->udp4[r] >= 0)
            close(l->udp4[r]);
        if (l->udp6[r] >= 0)
            close(l->udp6[r]);
    }
}

void sp_client_init_listeners(struct sp_listeners *l)
{
    l->count = 0;
    for (uint32_t r = 0; r < REACTORS_MAX; r++)
        l->udp4[r] = l->udp6[r] = -1;
}

/* Datagrams of one address, for every reactor or for none; the first address
 * of each family has them. */
static bool listen_udp(struct sp_client *c, struct sp_listeners *l, struct sp_addr *a)
{
    int *fds = a->family == SP_V4 ? l->udp4 : l->udp6;

    /* No datagrams of ours go through a proxy, and none go past it. */
    if (c->cfg.no_utp || c->env.proxy.kind || fds[0] >= 0)
        return false;
    for (uint32_t r = 0; r < c->reactor_count; r++) {
        fds[r] = sp_udp_listen(a, c->cfg.interface, r, c->reactor_count);
        if (fds[r] >= 0)
            continue;
        while (r-- > 0) {
            close(fds[r]);
            fds[r] = -1;
        }
        return false;
    }
    return true;
}

/* One address on every reactor; the first decides on a free port. */
static bool listen_tcp(struct sp_client *c, struct sp_listeners *l, struct sp_addr *a)
{
    for (uint32_t r = 0; r < c->reactor_count; r++) {
        int fd = sp_tcp_listen(a, c->cfg.interface, &a->port);
        if (fd < 0) {
            int err = errno;
            while (r-- > 0)
                close(l->fds[r][l->count]);
            errno = err;
            return false;
        }
        l->fds[r][l->count] = fd;
    }
    c->env.listen_addrs[c->env.listen_addr_count++] = *a;
    l->count++;
    c->listened[c->listened_count++] = *a;
    return true;
}

static bool listen_on(struct sp_client *c, struct sp_listeners *l, struct sp_addr *a)
{
    if (c->cfg.no_tcp)
        return listen_udp(c, l, a);
    if (!listen_tcp(c, l, a))
        return false;
    (void)listen_udp(c, l, a); /* taken by another program: TCP alone then */
    return true;
}

/* Who is not to be found needs a way out all the same. */
static enum sp_err listen_nowhere(struct sp_client *c, struct sp_listeners *l)
{
    static const uint8_t any[16];
    struct sp_addr a4 = sp_addr_v4(any, 0), a6 = {.family = SP_V6};
    (void)listen_udp(c, l, &a4);
    (void)listen_udp(c, l, &a6);
    return SP_OK;
}

/* "ADDR:PORT", "[V6]:PORT", ":PORT"; port 0 is allowed. */
static bool parse_listen(const char *text, struct sp_addr *ret)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    char *end;
    if (!colon || !colon[1] || (size_t)(colon - text) >= sizeof(host))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535)
        return false;
    size_t n = (size_t)(colon - text);
    memcpy(host, text, n);
    host[n] = '\0';
    if (n == 0)
        memcpy(host, "0.0.0.0", 8);
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", 10);
    if (sp_addr_parse((struct sp_slice){(const uint8_t *)host, strlen(host)}, false, ret) != SP_OK)
        return false;
    ret->port = (uint16_t)port;
    return true;
}

static enum sp_err listen_as_told(struct sp_client *c, struct sp_listeners *l, struct sp_diag *diag)
{
    for (uint32_t i = 0; i < c->cfg.listen_count; i++) {
        struct sp_addr a;
        if (!parse_listen(c->cfg.listen[i], &a))
            return sp_client_say(diag, SP_EINVAL, "listen: '%s' is not ADDRESS:PORT",
                                 c->cfg.listen[i]);
        if (sp_tcp_port_is_taken(&a) || !listen_on(c, l, &a))
            return sp_client_say(diag, SP_ENET, "cannot listen on %s: %s", c->cfg.listen[i],
                                 strerror(errno));
        if (!c->port)
            c->port = a.port;
    }
    return SP_OK;
}

static enum sp_err listen_default(struct sp_client *c, struct sp_listeners *l, struct sp_diag *diag)
{
    static const uint8_t any[16];
    for (uint16_t i = 0; i < PORT_TRIES; i++) {
        struct sp_addr a4 = sp_addr_v4(any, (uint16_t)(PORT_FIRST + i));
        struct sp_addr a6 = {.family = SP_V6, .port = a4.port};
        if (sp_tcp_port_is_taken(&a4) || sp_tcp_port_is_taken(&a6))
            continue;
        bool v4 = listen_on(c, l, &a4), v6 = listen_on(c, l, &a6);
        if (v4 || v6) {
            c->port = a4.port;
            return SP_OK;
        }
    }
    return sp_client_say(diag, SP_ENET, "no port from 6881 on is free: %s", strerror(errno));
}

enum sp_err sp_client_listen(struct sp_client *c, struct sp_listeners *l, struct sp_diag *diag)
{
    if (c->cfg.no_listen)
        return listen_nowhere(c, l);
    return c->cfg.listen_count ? listen_as_told(c, l, diag) : listen_default(c, l, diag);
}
