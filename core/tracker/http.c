#include "core/tracker/http.h"

#include "core/base/hex.h"
#include "core/tracker/url.h"

static void put_number(struct sp_out *o, const char *key, uint64_t v)
{
    sp_out_str(o, key);
    sp_out_dec(o, v);
}

static void put_bytes(struct sp_out *o, const char *key, const uint8_t *bytes, size_t len)
{
    sp_out_str(o, key);
    sp_url_encode(o, (struct sp_slice){.ptr = bytes, .len = len});
}

/* The separator to the next parameter. */
static void put_joint(struct sp_out *o, struct sp_slice url)
{
    size_t end = 0, query = 0;
    for (; end < url.len && url.ptr[end] != '#'; end++) {
        if (url.ptr[end] == '?' && query == 0)
            query = end + 1;
    }
    if (query == 0)
        sp_out_u8(o, '?');
    else if (end > query && url.ptr[end - 1] != '&')
        sp_out_u8(o, '&');
}

static const char *event_text(enum sp_announce_event event)
{
    switch (event) {
    case SP_EVENT_COMPLETED:
        return "&event=completed";
    case SP_EVENT_STARTED:
        return "&event=started";
    case SP_EVENT_STOPPED:
        return "&event=stopped";
    case SP_EVENT_PAUSED:
        /* BEP-0021: "it MUST send an event=paused parameter in every announce while it is a
         * partial seed." */
        return "&event=paused";
    case SP_EVENT_NONE:
        break;
    }
    return "";
}

static void put_ip(struct sp_out *o, const struct sp_addr *ip)
{
    struct sp_addr bare = *ip;
    char text[SP_ADDR_TEXT_LEN];
    bare.port = 0;
    sp_addr_text(&bare, text);
    sp_out_str(o, "&ip=");
    sp_url_encode(o, (struct sp_slice){(const uint8_t *)text, strlen(text)});
}

void sp_http_announce_url(struct sp_out *o, struct sp_slice url, const struct sp_announce *a)
{
    uint8_t key[4];
    char key_text[9];

    sp_put_be32(key, a->key);
    sp_url_clean(o, url);
    put_joint(o, url);
    put_bytes(o, "info_hash=", a->info_hash, sizeof(a->info_hash));
    put_bytes(o, "&peer_id=", a->peer_id, sizeof(a->peer_id));
    put_number(o, "&port=", a->port);
    put_number(o, "&uploaded=", a->stats.uploaded);
    put_number(o, "&downloaded=", a->stats.downloaded);
    put_number(o, "&left=", sp_announce_left(a));
    put_number(o, "&corrupt=", a->stats.corrupt);
    /* BEP-0007: "The client SHOULD include a key parameter in its announces." */
    sp_out_str(o, "&key=");
    sp_out_str(o, sp_hex(key, sizeof(key), key_text));
    sp_out_str(o, event_text(a->event));
    put_number(o, "&numwant=", a->numwant);
    /* BEP-0023: "compact=1 advises the tracker that the client prefers compact format." */
    sp_out_str(o, "&compact=1&no_peer_id=1");
    if (a->support_crypto)
        sp_out_str(o, "&supportcrypto=1");
    /* BEP-0007, not followed: ipv4= and ipv6= are never sent, the text discourages them. */
    if (a->announce_ip.family != SP_FAMILY_NONE)
        put_ip(o, &a->announce_ip);
    if (a->tracker_id.len > 0)
        put_bytes(o, "&trackerid=", a->tracker_id.ptr, a->tracker_id.len);
}

/* Where "announce" stands in the last element of the path; url.len: nowhere. */
static size_t announce_at(struct sp_slice url)
{
    static const char word[] = "announce";
    size_t last = url.len, slashes = 0;
    for (size_t i = 0; i < url.len && url.ptr[i] != '?' && url.ptr[i] != '#'; i++) {
        if (url.ptr[i] == '/' && ++slashes > 2)
            last = i + 1;
    }
    if (url.len - last < sizeof(word) - 1 || memcmp(url.ptr + last, word, sizeof(word) - 1) != 0)
        return url.len;
    return last;
}

bool sp_http_can_scrape(struct sp_slice url)
{
    return announce_at(url) < url.len;
}

void sp_http_scrape_url(struct sp_out *o, struct sp_slice url, const uint8_t *hashes,
                        uint32_t count)
{
    /* BEP-0048: "locating the string announce in the path section of the announce URL and
     * replacing it with the string scrape." */
    size_t at = announce_at(url), after = at + strlen("announce");
    if (at == url.len)
        return;
    sp_url_clean(o, (struct sp_slice){url.ptr, at});
    sp_out_str(o, "scrape");
    sp_url_clean(o, (struct sp_slice){url.ptr + after, url.len - after});
    put_joint(o, url);
    for (uint32_t i = 0; i < count; i++)
        put_bytes(o, i ? "&info_hash=" : "info_hash=", hashes + (size_t)i * SP_SHA1_LEN,
                  SP_SHA1_LEN);
}
