/* web.h - a small web server on threads for tests of HTTP clients, in a
 * network of its own where the machine allows one, and names that resolve as
 * the tests want.  One inclusion in a program.
 */
#ifndef SP_TEST_WEB_H
#define SP_TEST_WEB_H

#include <arpa/inet.h>
#include <dlfcn.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { WEB_BOMB_LEN = 64 << 20, WEB_CONN_MAX = 512 };

/* A public address on lo: nothing leaves the namespace. */
#define WEB_GLOBAL "93.184.216.34"

static struct {
    int listener;
    uint16_t port;
    pthread_t thread, conns[WEB_CONN_MAX];
    int conn_count;
    atomic_bool ending;
    atomic_int open, open_most, requests; /* connections at once; requests answered */
    atomic_llong sent;                    /* bytes of endless bodies */
    bool has_global;                      /* WEB_GLOBAL is ours */
} web;

static void web_sleep(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static double web_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- names ---- */

static atomic_int web_slow_lookups;

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    static const struct {
        const char *name, *ip;
    } NAMES[] = {{"home.test", "127.0.0.1"},
                 {"private.test", "10.1.2.3"},
                 {"slow.test", "127.0.0.1"},
                 {"mapped.test", "::ffff:192.168.1.1"},
                 {"public.test", WEB_GLOBAL}};
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    memcpy(&real, &symbol, sizeof(real));
    if (node && strcmp(node, "slow.test") == 0) {
        web_slow_lookups++;
        web_sleep(3000);
    }
    for (size_t i = 0; node && i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (strcmp(node, NAMES[i].name) == 0)
            return real(NAMES[i].ip, service, hints, ret);
    return EAI_NONAME;
}

/* ---- answers ---- */

static bool web_send(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool web_say(int fd, const char *text)
{
    return web_send(fd, text, strlen(text));
}

static void web_body(int fd, const char *status, const char *head, const void *body, size_t len)
{
    char text[4096];
    snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, len, head);
    if (web_say(fd, text))
        web_send(fd, body, len);
}

static void web_gzip(int fd, size_t len)
{
    uint8_t *plain = calloc(1, len), *packed = malloc(len / 100 + 4096);
    z_stream z = {0};

    for (size_t i = 0; i < len; i += 4096)
        plain[i] = (uint8_t)(i >> 12);
    deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    z.next_in = plain;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = (uInt)(len / 100 + 4096);
    deflate(&z, Z_FINISH);
    web_body(fd, "200 OK", "Content-Encoding: gzip\r\n", packed, z.total_out);
    deflateEnd(&z);
    free(plain);
    free(packed);
}

/* Waits until the other side closes, or the server ends. */
static void web_hold(int fd)
{
    char byte;
    while (!web.ending) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 20) > 0 && recv(fd, &byte, 1, 0) <= 0)
            return;
    }
}

static void web_endless(int fd, const char *head, const char *unit)
{
    size_t len = strlen(unit);

    web_say(fd, head);
    while (!web.ending && web_send(fd, unit, len))
        web.sent += (long long)len;
}

static void web_chunks(int fd, size_t len)
{
    char line[64];

    web_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < len;) {
        size_t n = len - at < 777 ? len - at : 777;
        char *bytes = malloc(n);
        memset(bytes, 'c', n);
        snprintf(line, sizeof(line), "%zx\r\n", n);
        web_say(fd, line);
        web_send(fd, bytes, n);
        web_say(fd, "\r\n");
        free(bytes);
        at += n;
    }
    web_say(fd, "0\r\n\r\n");
}

static void web_redirect(int fd, const char *to)
{
    char head[4096];
    snprintf(head, sizeof(head), "Location: %s\r\n", to);
    web_body(fd, "302 Found", head, "", 0);
}

static void web_reset(int fd)
{
    struct linger now = {1, 0};
    web_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome bytes");
    web_sleep(50);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static char web_kib[1025]; /* one line of a kibibyte */

/* true: the connection stays open */
static bool web_answer(int fd, const char *path)
{
    char text[256];

    if (strcmp(path, "/ok") == 0)
        web_body(fd, "200 OK", "", "hello", 5);
    else if (strcmp(path, "/empty") == 0)
        web_body(fd, "200 OK", "", "", 0);
    else if (strcmp(path, "/404") == 0)
        web_body(fd, "404 Not Found", "", "no", 2);
    else if (strcmp(path, "/soon") == 0) {
        web_sleep(30);
        web_body(fd, "200 OK", "", "hello", 5);
    } else if (strncmp(path, "/chunks/", 8) == 0)
        web_chunks(fd, strtoul(path + 8, NULL, 10));
    else if (strncmp(path, "/gzip/", 6) == 0)
        web_gzip(fd, strtoul(path + 6, NULL, 10));
    else if (strcmp(path, "/loop") == 0)
        web_redirect(fd, "/loop");
    else if (strncmp(path, "/hops/", 6) == 0) {
        snprintf(text, sizeof(text), "/hops/%d", (int)strtol(path + 6, NULL, 10) - 1);
        web_redirect(fd, strtol(path + 6, NULL, 10) > 1 ? text : "/ok");
    } else if (strncmp(path, "/to/", 4) == 0)
        web_redirect(fd, path + 4);
    else {
        if (strcmp(path, "/endless") == 0)
            web_endless(fd, "HTTP/1.1 200 OK\r\n\r\n", web_kib);
        else if (strcmp(path, "/gibibyte") == 0)
            web_endless(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", web_kib);
        else if (strcmp(path, "/away/endless") == 0)
            web_endless(fd, "HTTP/1.1 302 Found\r\nLocation: /ok\r\n\r\n", web_kib);
        else if (strcmp(path, "/away/chunked") == 0)
            web_endless(fd,
                        "HTTP/1.1 302 Found\r\nLocation: /ok\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n",
                        "8\r\n12345678\r\n");
        else if (strcmp(path, "/away/sized") == 0)
            web_endless(fd,
                        "HTTP/1.1 302 Found\r\nLocation: /ok\r\n"
                        "Content-Length: 1073741824\r\n\r\n",
                        web_kib);
        else if (strcmp(path, "/heads") == 0)
            web_endless(fd, "HTTP/1.1 200 OK\r\n", "X-Header: and so on and so on and so on\r\n");
        else if (strcmp(path, "/silent") == 0)
            web_hold(fd);
        else if (strcmp(path, "/stuck") == 0) {
            web_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
            web_hold(fd);
        } else if (strcmp(path, "/reset") == 0)
            web_reset(fd);
        else if (strcmp(path, "/short") == 0)
            web_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
        else if (strcmp(path, "/broken") == 0)
            web_body(fd, "200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8b\x08 no", 6);
        else if (strcmp(path, "/garbage") == 0)
            web_say(fd, "\x01\x02 this is not HTTP\r\n\r\n");
        return false;
    }
    return true;
}

/* ---- the server ---- */

static bool web_read(int fd, char *text, size_t cap)
{
    size_t len = 0;

    while (len + 1 < cap && !web.ending) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = recv(fd, text + len, cap - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, "\r\n\r\n"))
            return true;
    }
    return false;
}

static char web_last_request[8192];
static pthread_mutex_t web_lock = PTHREAD_MUTEX_INITIALIZER;

static void *web_serve(void *ctx)
{
    int fd = (int)(intptr_t)ctx;
    char text[8192], path[2048];
    int open = ++web.open, most = web.open_most;

    while (open > most && !atomic_compare_exchange_weak(&web.open_most, &most, open))
        ;
    while (web_read(fd, text, sizeof(text)) && sscanf(text, "GET %2047s", path) == 1) {
        pthread_mutex_lock(&web_lock);
        memcpy(web_last_request, text, sizeof(text));
        pthread_mutex_unlock(&web_lock);
        web.requests++;
        if (!web_answer(fd, path))
            break;
    }
    close(fd);
    web.open--;
    return NULL;
}

static void *web_run(void *ctx)
{
    (void)ctx;
    while (!web.ending) {
        struct pollfd p = {web.listener, POLLIN, 0};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(web.listener, NULL, NULL);
        if (fd < 0 || web.conn_count == WEB_CONN_MAX) {
            printf("# web: accept\n");
            continue;
        }
        pthread_create(&web.conns[web.conn_count++], NULL, web_serve, (void *)(intptr_t)fd);
    }
    return NULL;
}

static bool web_set_address(const char *name, const char *ip)
{
    struct ifreq r = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, ip, &in.sin_addr);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    memcpy(&r.ifr_addr, &in, sizeof(in));
    bool set = ioctl(fd, SIOCSIFADDR, &r) == 0;
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    set = set && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
    close(fd);
    return set;
}

static void web_start(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof(in);

    memset(web_kib, 'k', 1024);
    if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
        web.has_global = web_set_address("lo", "127.0.0.1") && web_set_address("lo:1", WEB_GLOBAL);
    in.sin_addr.s_addr = htonl(web.has_global ? INADDR_ANY : INADDR_LOOPBACK);
    web.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(web.listener, (struct sockaddr *)&in, sizeof(in)) != 0 ||
        listen(web.listener, 128) != 0 ||
        getsockname(web.listener, (struct sockaddr *)&in, &len) != 0)
        abort();
    web.port = ntohs(in.sin_port);
    pthread_create(&web.thread, NULL, web_run, NULL);
}

static void web_end(void)
{
    web.ending = true;
    pthread_join(web.thread, NULL);
    for (int i = 0; i < web.conn_count; i++)
        pthread_join(web.conns[i], NULL);
    close(web.listener);
}

/* "http://127.0.0.1:PORT/path", in a few rotating buffers. */
static const char *web_url(const char *host, const char *path)
{
    static char urls[64][512];
    static unsigned at;
    char *url = urls[at++ % 64];

    snprintf(url, sizeof(urls[0]), "http://%s:%u%s", host, web.port, path);
    return url;
}

#endif
