/* Bodies of announce and scrape replies, and URLs: whatever comes, what is
 * said about it holds. */
#include <stdlib.h>

#include "core/tracker/http.h"
#include "core/tracker/url.h"

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

static void require(bool claim)
{
    if (!claim)
        abort();
}

static bool inside(struct sp_slice part, struct sp_slice whole)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void announce(struct sp_slice body)
{
    static struct sp_addr peers[64];
    struct sp_announce_reply r;
    require(sp_http_announce_parse(&MEM, body, peers, 64, &r) == SP_OK);
    require(r.peer_count <= 64);
    require(!r.failed || (r.peer_count == 0 && r.interval_s == 0));
    require((r.retry == SP_RETRY_IN) == (r.retry_in_s > 0));
    require(r.retry == SP_RETRY_LATER || r.failed);
    require(inside(r.warning, body) && inside(r.tracker_id, body));
    require(r.external_ip.family == SP_FAMILY_NONE || r.external_ip.port == 0);
    for (uint32_t i = 0; i < r.peer_count; i++)
        require(peers[i].port != 0 && (peers[i].family == SP_V4 || peers[i].family == SP_V6));
}

static void scrape(struct sp_slice body)
{
    static const uint8_t hashes[41] = "xxxxxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyyyyy";
    struct sp_swarm_size sizes[2];
    struct sp_scrape_reply r;
    require(sp_http_scrape_parse(&MEM, body, hashes, 2, sizes, &r) == SP_OK);
    require(!r.failed || (r.found == 0 && sizes[0].seeds == SP_SWARM_UNKNOWN));
}

static void url(struct sp_slice text)
{
    static uint8_t buf[65536];
    struct sp_announce a = {.tracker_id = text};
    struct sp_url u;
    const char *why;
    if (text.len > SP_TRACKER_URL_MAX || sp_url_parse(text, &u, &why) != SP_OK)
        return;
    require(inside(u.host, text) && inside(u.target, text) && u.host.len > 0);
    require(u.port != 0 || u.scheme == SP_URL_OTHER);
    struct sp_out o = sp_out_of(buf, sizeof(buf));
    sp_http_announce_url(&o, text, &a);
    require(sp_out_err(&o) == SP_OK);
    for (size_t i = 0; i < o.len; i++)
        require(buf[i] > ' ' && buf[i] < 127);
    struct sp_url again;
    require(sp_url_parse((struct sp_slice){buf, o.len}, &again, &why) == SP_OK);
    require(again.port == u.port && again.host.len == u.host.len);
    o = sp_out_of(buf, sizeof(buf));
    sp_http_scrape_url(&o, text, a.info_hash, 1);
    require((o.len > 0) == sp_http_can_scrape(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_slice in = {data, len};
    announce(in);
    scrape(in);
    url(in);
    return 0;
}
