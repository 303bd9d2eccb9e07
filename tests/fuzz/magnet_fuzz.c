/* Properties: what is read can be written, and reads the same; ranges are
 * ascending and apart; texts are what their comments say. */
#include <stdlib.h>
#include <string.h>

#include "core/metainfo/name.h"
#include "spate/magnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void mem_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const struct sp_mem mem = {mem_alloc, mem_free, NULL};

static char *write_out(const struct sp_magnet *m, size_t *ret_len)
{
    expect(sp_magnet_write(m, NULL, 0, ret_len) == SP_ELIMIT);
    char *text = malloc(*ret_len + 1);
    expect(text && sp_magnet_write(m, text, *ret_len + 1, ret_len) == SP_OK);
    expect(strlen(text) == *ret_len);
    return text;
}

static void check(const struct sp_magnet *m)
{
    expect(m->has_v1 || m->has_v2);
    for (uint32_t i = 0; i < m->tracker_count; i++)
        for (const char *c = m->trackers[i].url; *c; c++)
            expect((uint8_t)*c > ' ' && *c != 0x7f);
    for (uint32_t i = 0; i < m->peer_count; i++)
        expect(m->peers[i].port > 0 && m->peers[i].host[0]);
    for (uint32_t i = 0; i < m->range_count; i++) {
        expect(m->ranges[i].first <= m->ranges[i].last);
        expect(i == 0 || m->ranges[i].first > m->ranges[i - 1].last + 1);
    }
    if (m->name) {
        expect(sp_utf8_is_valid((struct sp_slice){(const uint8_t *)m->name, strlen(m->name)}));
        expect(m->name[0] && !strpbrk(m->name, "\n\x1b\x7f"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_magnet *m = NULL, *again = NULL;
    struct sp_diag diag = {0};
    enum sp_err err = sp_magnet_parse(&mem, (struct sp_slice){data, len}, &m, &diag);

    if (err != SP_OK) {
        expect(!m && diag.err == err && diag.text[0] && diag.off <= len);
        return 0;
    }
    check(m);
    size_t text_len, twice_len;
    char *text = write_out(m, &text_len);
    if (text_len <= SP_MAGNET_LEN_MAX) { /* encoding makes text longer */
        struct sp_slice in = {(const uint8_t *)text, text_len};
        expect(sp_magnet_parse(&mem, in, &again, NULL) == SP_OK);
        char *twice = write_out(again, &twice_len);
        expect(twice_len == text_len && memcmp(text, twice, text_len) == 0);
        free(twice);
        sp_magnet_free(again);
    }
    free(text);
    sp_magnet_free(m);
    return 0;
}
