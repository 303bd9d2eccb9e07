#include "io/http/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { STREAM_BUFFER_LEN = 256 * 1024 };

/* ---- what may be connected to ---- */

static struct sp_addr addr_of(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        return sp_addr_v4((const uint8_t *)&in.sin_addr, ntohs(in.sin_port));
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        return sp_addr_v6((const uint8_t *)&in6.sin6_addr, ntohs(in6.sin6_port));
    }
    return (struct sp_addr){0};
}

static const char *scope_word(enum sp_scope scope)
{
    switch (scope) {
    case SP_SCOPE_GLOBAL:
        return "public";
    case SP_SCOPE_PRIVATE:
        return "private";
    case SP_SCOPE_LINK:
        return "link-local";
    case SP_SCOPE_LOOPBACK:
        return "of this machine";
    case SP_SCOPE_NONE:
        break;
    }
    return "not of a host";
}

/* Says in t->refused why a may not be asked; true: it may. */
static bool may_reach(struct sp_transfer *t, const struct sp_addr *a)
{
    char text[SP_ADDR_TEXT_LEN];
    enum sp_scope scope = sp_addr_scope(a);

    if (t->family != 0 && a->family != t->family)
        snprintf(t->refused, sizeof(t->refused), "the address is not IPv%d: %s", t->family,
                 sp_addr_text(a, text));
    else if (scope == SP_SCOPE_NONE || scope > t->reach)
        snprintf(t->refused, sizeof(t->refused), "the address is %s: %s", scope_word(scope),
                 sp_addr_text(a, text));
    else
        return true;
    return false;
}

static bool is_localhost(const char *host)
{
    static const char name[] = "localhost";
    size_t len = strlen(host), n = sizeof(name) - 1;
    while (len > 0 && host[len - 1] == '.')
        len--;
    return len >= n && strncasecmp(host + len - n, name, n) == 0 &&
           (len == n || host[len - n - 1] == '.');
}

/* Through a proxy no address is seen but its own: what the URL itself says is
 * held to the rules.  Where a name leads only the proxy knows. */
static bool may_ask(struct sp_transfer *t)
{
    char *url = NULL, *host = NULL;
    struct sp_addr a;
    CURLU *u = curl_url();
    bool may = false;

    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (u && url && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        struct sp_slice s = {(const uint8_t *)host, strlen(host)};
        if (s.len > 2 && host[0] == '[')
            s = (struct sp_slice){s.ptr + 1, s.len - 2};
        bool is_addr = sp_addr_parse(s, false, &a) == SP_OK;
        if (!is_addr && is_localhost(host))
            a = sp_addr_v4((const uint8_t[]){127, 0, 0, 1}, 0);
        may = (!is_addr && !is_localhost(host)) || may_reach(t, &a);
        if (may)
            t->reach = is_addr || is_localhost(host) ? sp_addr_scope(&a) : SP_SCOPE_GLOBAL;
    }
    curl_free(host);
    curl_url_cleanup(u);
    return may;
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
    const struct sp_addr a = addr_of(&to->addr);

    struct sp_transfer *t = ctx;

    (void)purpose;
    if (t->is_proxied ? !may_ask(t) : !may_reach(t, &a))
        return CURL_SOCKET_BAD;
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* Before each request, redirected ones too.  A connection that another transfer
 * opened and left to this one passes here, not in open_socket.  And no redirect
 * leads nearer to this machine than the request before it went. */
static int before_request(void *ctx, char *ip, char *local_ip, int port, int local_port)
{
    struct sp_transfer *t = ctx;
    struct sp_addr a = {0};

    (void)local_ip;
    (void)local_port;
    if (t->is_proxied)
        return may_ask(t) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
    if (strchr(ip, '%')) /* a zone: fe80::1%eth0 */
        *strchr(ip, '%') = '\0';
    if (sp_addr_parse((struct sp_slice){(const uint8_t *)ip, strlen(ip)}, false, &a) != SP_OK)
        a = (struct sp_addr){0};
    a.port = (uint16_t)port;
    if (!may_reach(t, &a))
        return CURL_PREREQFUNC_ABORT;
    t->reach = sp_addr_scope(&a);
    t->refused[0] = '\0'; /* another address of the host was good */
    return CURL_PREREQFUNC_OK;
}

/* ---- what may be gathered ---- */

static bool make_room(struct sp_transfer *t, size_t need)
{
    size_t cap = t->cap ? t->cap : 4096;

    while (cap < need)
        cap *= 2;
    if (cap > t->max)
        cap = t->max;
    if (cap <= t->cap)
        return true;
    uint8_t *body = realloc(t->body, cap);
    if (!body)
        return false;
    t->body = body;
    t->cap = cap;
    return true;
}

/* curl hands over at most CURL_MAX_WRITE_SIZE decompressed bytes at a time. */
static size_t take_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sp_transfer *t = ctx;
    size_t len = size * count;

    if (len > t->max - t->len) {
        t->too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (!make_room(t, t->len + len)) {
        t->no_memory = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (len > 0)
        memcpy(t->body + t->len, bytes, len);
    t->len += len;
    return len;
}

/* ---- what is handed on ---- */

static uint64_t length_told(struct sp_transfer *t)
{
    curl_off_t len = -1;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
    return len < 0 ? UINT64_MAX : (uint64_t)len;
}

static void tell_head(struct sp_transfer *t)
{
    struct sp_transfer_head head = {.content_len = length_told(t)};
    curl_off_t retry_s = 0;
    long status = 0;

    if (t->head_told)
        return;
    t->head_told = true;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_s);
    head.status = (int)status;
    head.retry_after_s = retry_s < 0 ? 0 : retry_s > UINT32_MAX ? UINT32_MAX : (uint32_t)retry_s;
    head.content_range = (struct sp_slice){(uint8_t *)t->content_range, strlen(t->content_range)};
    t->stream.head(t->stream.ctx, &head);
}

static size_t hand_on(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sp_transfer *t = ctx;
    tell_head(t);
    struct sp_slice body = {(uint8_t *)bytes, size * count};
    return t->stream.body(t->stream.ctx, body) ? size * count : CURL_WRITEFUNC_PAUSE;
}

void sp_transfer_resume(struct sp_transfer *t)
{
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

/* "Content-Range: VALUE"; a status line begins another head. */
static void note_head(struct sp_transfer *t, const char *line, size_t len)
{
    static const char NAME[] = "content-range:";
    size_t name = sizeof(NAME) - 1;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (len >= 5 && strncmp(line, "HTTP/", 5) == 0)
        t->content_range[0] = '\0';
    if (len < name || strncasecmp(line, NAME, name) != 0 || len - name >= sizeof(t->content_range))
        return;
    memcpy(t->content_range, line + name, len - name);
    t->content_range[len - name] = '\0';
}

static size_t take_head(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sp_transfer *t = ctx;

    t->head_len += size * count;
    note_head(t, bytes, size * count);
    return t->head_len <= SP_TRANSFER_HEAD_MAX ? size * count : CURL_WRITEFUNC_ERROR;
}

/* The body of a redirect does not come to take_body, and may be endless. */
static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct sp_transfer *t = ctx;

    (void)total;
    (void)up_total;
    (void)up_now;
    if (now < 0 || (uint64_t)now <= t->max || t->head_told)
        return 0;
    t->too_large = true;
    return 1;
}

/* ---- set-up ---- */

static CURLcode global_code;

static void global_init(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum sp_err sp_transfer_global(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, global_init);
    return global_code == CURLE_OK ? SP_OK : SP_ENOMEM;
}

bool sp_transfer_takes(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode code_ = curl_easy_setopt(t->easy, (option), (value));                             \
        if (code_ != CURLE_OK)                                                                     \
            return code_;                                                                          \
    } while (0)

static uint32_t connect_ms_of(const struct sp_transfer_cfg *cfg)
{
    uint32_t ms = cfg->connect_ms ? cfg->connect_ms : SP_TRANSFER_CONNECT_MAX_MS;
    return cfg->timeout_ms != 0 && cfg->timeout_ms < ms ? cfg->timeout_ms : ms;
}

/* The proxy resolves all names but its own. */
static CURLcode set_proxy(struct sp_transfer *t, const struct sp_proxy_url *proxy)
{
    char text[SP_PROXY_NAME_MAX + 32];

    /* Whoever sets http_proxy or no_proxy for another program decides nothing here. */
    SET(CURLOPT_NOPROXY, "");
    if (!proxy) {
        SET(CURLOPT_PROXY, "");
        return CURLE_OK;
    }
    bool is_v6 = strchr(proxy->host, ':') != NULL;
    snprintf(text, sizeof(text), "%s://%s%s%s:%u",
             proxy->kind == SP_PROXY_SOCKS5 ? "socks5h" : "http", is_v6 ? "[" : "", proxy->host,
             is_v6 ? "]" : "", proxy->port);
    SET(CURLOPT_PROXY, text);
    if (proxy->has_user) {
        SET(CURLOPT_PROXYUSERNAME, proxy->user);
        SET(CURLOPT_PROXYPASSWORD, proxy->password);
    }
    SET(CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
    SET(CURLOPT_SOCKS5_AUTH, (long)CURLAUTH_BASIC);
    return CURLE_OK;
}

static CURLcode set_limits(struct sp_transfer *t, const struct sp_transfer_cfg *cfg)
{
    SET(CURLOPT_TIMEOUT_MS, (long)cfg->timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)t->connect_ms);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)cfg->body_max);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)SP_TRANSFER_REDIRECT_MAX);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip");
    SET(CURLOPT_NOSIGNAL, 1L);
    /* A transfer that ends while its name is being resolved leaves the
     * resolver's thread behind; without this curl would wait for it. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    return set_proxy(t, cfg->proxy);
}

static CURLcode set_calls(struct sp_transfer *t)
{
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_ERRORBUFFER, t->curl_says);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, take_head);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    return CURLE_OK;
}

/* Said as device or as address: left open, curl would resolve it as a name. */
static CURLcode set_interface(struct sp_transfer *t, const char *interface)
{
    struct sp_addr a;
    char text[256];
    const struct sp_slice name = {(const uint8_t *)interface, strlen(interface)};
    bool is_addr = sp_addr_parse(name, false, &a) == SP_OK;

    if ((size_t)snprintf(text, sizeof(text), "%s!%s", is_addr ? "host" : "if", interface) >=
        sizeof(text))
        return CURLE_INTERFACE_FAILED;
    SET(CURLOPT_INTERFACE, text);
    return CURLE_OK;
}

static CURLcode set_stream(struct sp_transfer *t, const struct sp_transfer_stream *stream)
{
    char range[64];

    t->stream = *stream;
    t->is_stream = true;
    SET(CURLOPT_WRITEFUNCTION, hand_on);
    SET(CURLOPT_ACCEPT_ENCODING, NULL);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)0);
    SET(CURLOPT_TIMEOUT_MS, 0L);
    SET(CURLOPT_BUFFERSIZE, (long)STREAM_BUFFER_LEN);
    if (!stream->has_range)
        return CURLE_OK;
    snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, stream->from, stream->to - 1);
    SET(CURLOPT_RANGE, range);
    return CURLE_OK;
}

static CURLcode set_cfg(struct sp_transfer *t, const struct sp_transfer_cfg *cfg)
{
    SET(CURLOPT_URL, cfg->url);
    if (t->family != 0)
        SET(CURLOPT_IPRESOLVE,
            t->family == SP_V4 ? (long)CURL_IPRESOLVE_V4 : (long)CURL_IPRESOLVE_V6);
    if (cfg->user_agent)
        SET(CURLOPT_USERAGENT, cfg->user_agent);
    if (cfg->ca_file)
        SET(CURLOPT_CAINFO, cfg->ca_file);
    if (cfg->interface)
        return set_interface(t, cfg->interface);
    return CURLE_OK;
}

enum sp_err sp_transfer_init(struct sp_transfer *t, const struct sp_transfer_cfg *cfg)
{
    *t = (struct sp_transfer){
        .max = cfg->body_max,
        .reach = cfg->allow_local ? SP_SCOPE_LOOPBACK : SP_SCOPE_GLOBAL,
        .timeout_ms = cfg->timeout_ms,
        .connect_ms = connect_ms_of(cfg),
        .family = cfg->proxy ? 0 : cfg->family,
        .is_proxied = cfg->proxy != NULL,
    };
    if (!sp_transfer_takes(cfg->url))
        return SP_EDATA;
    t->easy = curl_easy_init();
    if (!t->easy)
        return SP_ENOMEM;
    CURLcode code = set_limits(t, cfg);
    if (code == CURLE_OK)
        code = set_calls(t);
    if (code == CURLE_OK)
        code = set_cfg(t, cfg);
    if (code == CURLE_OK && cfg->stream)
        code = set_stream(t, cfg->stream);
    if (code == CURLE_OK)
        return SP_OK;
    sp_transfer_done(t);
    return code == CURLE_OUT_OF_MEMORY ? SP_ENOMEM : SP_EINVAL;
}

void sp_transfer_done(struct sp_transfer *t)
{
    if (t->easy)
        curl_easy_cleanup(t->easy);
    free(t->body);
    *t = (struct sp_transfer){0};
}

/* ---- the reason in words ---- */

void sp_transfer_size_text(size_t bytes, char ret_text[32])
{
    if (bytes >= (1u << 20) && bytes % (1u << 20) == 0)
        snprintf(ret_text, 32, "%zu MiB", bytes >> 20);
    else if (bytes >= (1u << 10) && bytes % (1u << 10) == 0)
        snprintf(ret_text, 32, "%zu KiB", bytes >> 10);
    else
        snprintf(ret_text, 32, "%zu bytes", bytes);
}

/* curl quotes what servers say: kept on one line of printable ASCII. */
static void clean(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static const char *scheme_free(const char *text)
{
    static const char *const PREFIXES[] = {
        "SSL certificate problem: ", "SSL: ", "OpenSSL SSL_connect: ", "OpenSSL "};
    for (size_t i = 0; i < SP_COUNT(PREFIXES); i++)
        if (strncmp(text, PREFIXES[i], strlen(PREFIXES[i])) == 0)
            return text + strlen(PREFIXES[i]);
    return text;
}

/* The system's words for the errno of the socket, "Connection refused" as
 * "connection refused"; otherwise none. */
static void say_errno(const struct sp_transfer *t, const char *otherwise,
                      char why[SP_TRANSFER_WHY_LEN])
{
    long number = 0;

    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number);
    if (number == 0 || number == EINPROGRESS || number == EAGAIN) {
        snprintf(why, SP_TRANSFER_WHY_LEN, "%s", otherwise);
        return;
    }
    const char *text = strerrordesc_np((int)number);
    snprintf(why, SP_TRANSFER_WHY_LEN, "%s", text ? text : otherwise);
    if (why[0] >= 'A' && why[0] <= 'Z' && why[1] >= 'a')
        why[0] = (char)(why[0] | 0x20);
}

static void say_timeout(const struct sp_transfer *t, char why[SP_TRANSFER_WHY_LEN])
{
    curl_off_t connect_us = 0, first_us = 0;

    curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &connect_us);
    curl_easy_getinfo(t->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_us);
    const char *what = connect_us == 0 ? "no connection" : first_us == 0 ? "no answer" : "not done";
    uint32_t ms = t->timeout_ms;
    if (connect_us == 0)
        ms = t->connect_ms;
    snprintf(why, SP_TRANSFER_WHY_LEN, "%s within %u.%u s", what, ms / 1000, ms / 100 % 10);
}

/* "no such host: tracker.example" */
static void say_host(const struct sp_transfer *t, char why[SP_TRANSFER_WHY_LEN])
{
    const char *colon = strrchr(t->curl_says, ':');
    snprintf(why, SP_TRANSFER_WHY_LEN, "the host's address cannot be found%s%.100s",
             colon ? ":" : "", colon ? colon + 1 : "");
}

static void say(const struct sp_transfer *t, CURLcode code, char why[SP_TRANSFER_WHY_LEN])
{
    const char *says = t->curl_says[0] ? scheme_free(t->curl_says) : curl_easy_strerror(code);
    const char *fixed = NULL;

    switch ((int)code) { /* int: curl's enum has many more */
    case CURLE_COULDNT_CONNECT:
        say_errno(t,
                  t->family == SP_V4   ? "no connection: no IPv4 address is good"
                  : t->family == SP_V6 ? "no connection: no IPv6 address is good"
                                       : "no connection",
                  why);
        return;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        say_errno(t, "the connection was lost", why);
        return;
    case CURLE_OPERATION_TIMEDOUT:
        say_timeout(t, why);
        return;
    case CURLE_COULDNT_RESOLVE_PROXY:
        fixed = "the proxy's address cannot be found";
        break;
    case CURLE_PROXY:
        snprintf(why, SP_TRANSFER_WHY_LEN, "the proxy refuses: %.100s", says);
        return;
    case CURLE_COULDNT_RESOLVE_HOST:
        say_host(t, why);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
        snprintf(why, SP_TRANSFER_WHY_LEN, "certificate is not trusted: %.100s", says);
        return;
    case CURLE_SSL_CONNECT_ERROR:
        snprintf(why, SP_TRANSFER_WHY_LEN, "TLS failed: %.100s", says);
        return;
    case CURLE_SSL_CACERT_BADFILE:
        snprintf(why, SP_TRANSFER_WHY_LEN, "the file of certificates cannot be read: %.100s", says);
        return;
    case CURLE_INTERFACE_FAILED:
        snprintf(why, SP_TRANSFER_WHY_LEN, "cannot bind to the interface: %.100s", says);
        return;
    case CURLE_TOO_MANY_REDIRECTS:
        fixed = "too many redirects";
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
        fixed = strstr(says, "HTTP/0.9") ? "the answer is not HTTP"
                                         : "redirected to what is neither http nor https";
        break;
    case CURLE_URL_MALFORMAT:
        fixed = "not a valid URL";
        break;
    case CURLE_GOT_NOTHING:
        fixed = "connection closed without an answer";
        break;
    case CURLE_PARTIAL_FILE:
        fixed = "the answer ends early";
        break;
    case CURLE_BAD_CONTENT_ENCODING:
        fixed = "the answer's compression is damaged";
        break;
    case CURLE_WEIRD_SERVER_REPLY:
        fixed = "the answer is not HTTP";
        break;
    case CURLE_OUT_OF_MEMORY:
        fixed = "out of memory";
        break;
    default:
        fixed = says;
    }
    snprintf(why, SP_TRANSFER_WHY_LEN, "%.150s", fixed);
}

enum sp_err sp_transfer_judge(struct sp_transfer *t, CURLcode code, int *ret_status,
                              char ret_why[SP_TRANSFER_WHY_LEN])
{
    enum sp_err err = SP_ENET;
    long status = 0;

    *ret_status = 0;
    ret_why[0] = '\0';
    if (code == CURLE_OK) {
        if (t->is_stream)
            tell_head(t); /* there was no body */
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        *ret_status = (int)status;
        return SP_OK;
    }
    if (t->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        char size[32];
        sp_transfer_size_text(t->max, size);
        snprintf(ret_why, SP_TRANSFER_WHY_LEN, "larger than %s", size);
        err = SP_ELIMIT;
    } else if (t->head_len > SP_TRANSFER_HEAD_MAX) {
        snprintf(ret_why, SP_TRANSFER_WHY_LEN, "too many headers");
    } else if (t->refused[0] &&
               (code == CURLE_COULDNT_CONNECT || code == CURLE_ABORTED_BY_CALLBACK)) {
        snprintf(ret_why, SP_TRANSFER_WHY_LEN, "%s", t->refused);
    } else {
        say(t, t->no_memory ? CURLE_OUT_OF_MEMORY : code, ret_why);
    }
    if (t->no_memory || code == CURLE_OUT_OF_MEMORY)
        err = SP_ENOMEM;
    if (code == CURLE_OPERATION_TIMEDOUT)
        err = SP_ETIMEOUT;
    clean(ret_why);
    return err;
}
