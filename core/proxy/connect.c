/* CONNECT of HTTP, RFC 9110 9.3.6, and its answer, RFC 9112.
 *
 * The answer is read byte by byte and only its status is kept: fields mean
 * nothing here ("A client MUST ignore any Content-Length or Transfer-Encoding
 * header fields received in a successful response to CONNECT").  It is held to
 * the letter: a proxy that takes liberties could hide where its head ends, and
 * what follows is the peer's.
 */
#include <string.h>

#include "core/proxy/talk.h"

enum step { STATUS, STATUS_LF, LINE, LINE_BODY, LINE_LF, END_LF };
enum { STATUS_CODE_END = 12 }; /* "HTTP/1.1 200" */

static void put_base64(struct sp_out *o, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16;
        v |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        v |= i + 2 < len ? bytes[i + 2] : 0;
        sp_out_u8(o, (uint8_t)digits[v >> 18]);
        sp_out_u8(o, (uint8_t)digits[v >> 12 & 63]);
        sp_out_u8(o, i + 1 < len ? (uint8_t)digits[v >> 6 & 63] : '=');
        sp_out_u8(o, i + 2 < len ? (uint8_t)digits[v & 63] : '=');
    }
}

static void put_host_port(struct sp_out *o, const struct sp_proxy_target *t)
{
    char text[SP_ADDR_TEXT_LEN];
    struct sp_addr a = t->addr;

    if (t->host) {
        sp_out_str(o, t->host);
    } else {
        a.port = 0;
        if (a.family == SP_V6)
            sp_out_u8(o, '[');
        sp_out_str(o, sp_addr_text(&a, text));
        if (a.family == SP_V6)
            sp_out_u8(o, ']');
    }
    sp_out_u8(o, ':');
    sp_out_dec(o, t->addr.port);
}

static void put_login(struct sp_out *o, const struct sp_proxy_url *url)
{
    uint8_t both[2 * SP_PROXY_NAME_MAX + 1];
    struct sp_out b = sp_out_of(both, sizeof(both));

    sp_out_str(&b, url->user);
    sp_out_u8(&b, ':');
    sp_out_str(&b, url->password);
    sp_out_str(o, "Proxy-Authorization: Basic ");
    put_base64(o, both, b.len);
    sp_out_str(o, "\r\n");
}

/* A name goes into a line of text: nothing in it may end that line. */
static bool is_plain(const char *host)
{
    for (; *host; host++) {
        if (*host <= ' ' || *host > '~' || memchr("/?#@:[]", *host, 7))
            return false;
    }
    return true;
}

void sp_proxy_say_connect(struct sp_proxy *p)
{
    struct sp_out o = sp_out_of(p->out, sizeof(p->out));

    if (p->target.host && !is_plain(p->target.host)) {
        sp_proxy_fail(p, "the proxy cannot be told whom to reach", true);
        return;
    }
    sp_out_str(&o, "CONNECT ");
    put_host_port(&o, &p->target);
    sp_out_str(&o, " HTTP/1.1\r\nHost: ");
    put_host_port(&o, &p->target);
    sp_out_str(&o, "\r\n");
    if (p->url->has_user)
        put_login(&o, p->url);
    sp_out_str(&o, "\r\n");
    sp_proxy_queue(p, &o);
    p->step = STATUS;
}

/* "HTTP/1.x NNN", then a space or the end of the line. */
static bool status_goes_on(const struct sp_proxy *p, uint8_t c)
{
    static const char form[] = "HTTP/1.";
    uint16_t at = p->in_len;

    if (at < sizeof(form) - 1)
        return c == (uint8_t)form[at];
    if (at == sizeof(form) - 1)
        return c == '0' || c == '1';
    if (at == sizeof(form))
        return c == ' ';
    if (at < STATUS_CODE_END)
        return c >= '0' && c <= '9';
    return at > STATUS_CODE_END || c == ' ';
}

static void refused(struct sp_proxy *p)
{
    switch (p->status) {
    case 401:
    case 407:
        sp_proxy_fail(p,
                      p->url->has_user ? "the proxy refuses the user or password"
                                       : "the proxy wants a user and password",
                      false);
        break;
    case 403:
        sp_proxy_fail(p, "the proxy's rules forbid it", true);
        break;
    case 404:
    case 502:
    case 503:
        sp_proxy_fail(p, "the proxy cannot reach that host", true);
        break;
    case 504:
        sp_proxy_fail(p, "no answer, says the proxy", true);
        break;
    case 400:
    case 405:
    case 501:
        sp_proxy_fail(p, "the proxy does not do CONNECT", false);
        break;
    default:
        sp_proxy_fail(p, "the proxy refuses, for a reason that is not known", false);
    }
}

/* "Any 2xx (Successful) response indicates that the sender (and all inbound
 * proxies) will switch to tunnel mode immediately after the response header
 * section". */
static void ended(struct sp_proxy *p)
{
    if (p->status >= 200 && p->status <= 299) {
        p->state = SP_PROXY_DONE;
    } else if (p->status >= 100 && p->status <= 199 && p->status != 101) {
        p->step = STATUS; /* the answer is still to come */
        p->in_len = 0;
    } else {
        refused(p);
    }
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 127);
}

/* False: that byte may not stand there. */
static bool step_status(struct sp_proxy *p, uint8_t c)
{
    if (c == '\r' && p->in_len >= STATUS_CODE_END) {
        p->status = (uint16_t)((p->in[9] - '0') * 100 + (p->in[10] - '0') * 10 + p->in[11] - '0');
        p->step = STATUS_LF;
        return true;
    }
    if (!is_text(c) || !status_goes_on(p, c))
        return false;
    if (p->in_len <= STATUS_CODE_END) /* the phrase after it is not kept */
        p->in[p->in_len++] = c;
    return true;
}

static bool step_byte(struct sp_proxy *p, uint8_t c)
{
    switch ((enum step)p->step) {
    case STATUS:
        return step_status(p, c);
    case STATUS_LF:
    case LINE_LF:
        p->step = LINE;
        return c == '\n' && ++p->line_count <= SP_PROXY_LINE_MAX;
    case LINE:
        p->step = c == '\r' ? END_LF : LINE_BODY;
        return c == '\r' || is_text(c);
    case LINE_BODY:
        if (c == '\r')
            p->step = LINE_LF;
        return c == '\r' || is_text(c);
    case END_LF:
        if (c != '\n')
            return false;
        ended(p);
        return true;
    }
    return false;
}

size_t sp_proxy_hear_connect(struct sp_proxy *p, struct sp_slice bytes)
{
    size_t at = 0;
    while (at < bytes.len && p->state == SP_PROXY_TALKING) {
        if (++p->head_len > SP_PROXY_HEAD_MAX)
            sp_proxy_fail(p, "the proxy's answer is too long", false);
        else if (!step_byte(p, bytes.ptr[at++]))
            sp_proxy_fail(p,
                          p->line_count > SP_PROXY_LINE_MAX ? "the proxy's answer is too long"
                                                            : "the proxy does not speak HTTP",
                          false);
    }
    return at;
}
