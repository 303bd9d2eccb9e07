/* What web servers say: whatever comes, what is believed of it holds. */
#include <stdlib.h>

#include "core/web/answer.h"
#include "core/web/url.h"

static void require(bool claim)
{
    if (!claim)
        abort();
}

static void range(struct sp_slice text)
{
    struct sp_web_range r;
    if (sp_web_range_parse(text, &r) != SP_OK)
        return;
    require(r.first <= r.last && r.last < r.total);
    /* Written down, it reads the same. */
    uint8_t buf[128];
    struct sp_out o = sp_out_of(buf, sizeof(buf));
    sp_out_str(&o, "bytes ");
    sp_out_dec(&o, r.first);
    sp_out_u8(&o, '-');
    sp_out_dec(&o, r.last);
    sp_out_u8(&o, '/');
    if (r.total == UINT64_MAX)
        sp_out_u8(&o, '*');
    else
        sp_out_dec(&o, r.total);
    struct sp_web_range again;
    require(sp_web_range_parse((struct sp_slice){buf, o.len}, &again) == SP_OK);
    require(again.first == r.first && again.last == r.last && again.total == r.total);
}

/* The first bytes are the numbers, the rest is the header. */
static void judge(const uint8_t *data, size_t len)
{
    static const int STATUS[] = {200, 206, 404, 416, 429, 500, 503, 302, 0, 999};
    struct sp_web_want want = {0};
    struct sp_web_head head = {0};
    uint64_t to = 0;
    const char *why = NULL;

    if (len < 8)
        return;
    want.kind = data[0] & 1 ? SP_WEB_SEED_HTTP : SP_WEB_SEED_URL;
    want.whole = (uint64_t)data[1] + 1;
    want.from = data[2] % want.whole;
    want.to = want.from + 1 + data[3] % (want.whole - want.from);
    head.status = STATUS[data[4] % SP_COUNT(STATUS)];
    head.content_len = data[5] & 1 ? UINT64_MAX : data[6];
    head.content_range = (struct sp_slice){data + 8, len - 8};
    enum sp_web_verdict verdict = sp_web_judge(&want, &head, &to, &why);
    if (verdict != SP_WEB_TAKE) {
        require(why != NULL);
        return;
    }
    require(to > want.from && to <= want.to);
    require(head.status == 200 || head.status == 206);
    require(head.status == 206 || want.kind == SP_WEB_SEED_HTTP || want.from == 0);
}

static void url(struct sp_slice text)
{
    static char base[4096];
    static uint8_t buf[65536];
    static const uint8_t HASH[SP_SHA1_LEN] = {0, '%', ' ', 'a', 255};
    struct sp_metainfo mi = {.single_file = true,
                             .raw_name = text,
                             .total_length = 100,
                             .piece_length = 64,
                             .piece_count = 2};
    struct sp_file file = {.length = 100};

    if (text.len >= sizeof(base))
        return;
    if (text.len)
        memcpy(base, text.ptr, text.len);
    base[text.len] = '\0';
    memcpy(mi.info_hash_v1, HASH, sizeof(HASH));
    struct sp_slice host = sp_web_host(base);
    require(host.len == 0 || ((const char *)host.ptr >= base &&
                              (const char *)host.ptr + host.len <= base + text.len));
    require(!sp_web_takes(base) || host.len > 0);
    for (int i = 0; i < 2; i++) {
        struct sp_out o = sp_out_of(buf, sizeof(buf)), size = sp_out_of(NULL, 0);
        if (i) {
            sp_web_file_url(&o, base, &mi, &file);
            sp_web_file_url(&size, base, &mi, &file);
        } else {
            sp_web_piece_url(&o, base, &mi, 1, 3, 9);
            sp_web_piece_url(&size, base, &mi, 1, 3, 9);
        }
        require(sp_out_err(&o) == SP_OK && size.len == o.len);
        for (size_t k = 0; k < o.len; k++) /* no line ends, no spaces: nothing is smuggled in */
            require(buf[k] > ' ' && buf[k] < 127);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_slice in = {data, len};
    uint32_t s = 0;
    range(in);
    if (sp_web_wait_parse(in, &s) == SP_OK)
        require(s <= SP_WEB_RETRY_MAX_S);
    judge(data, len);
    url(in);
    return 0;
}
