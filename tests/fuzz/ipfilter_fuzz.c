/* Lists that anybody made: what is read blocks, and nothing beside it does. */
#include <stdlib.h>
#include <string.h>

#include "core/ipfilter/ipfilter.h"

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

static struct sp_ipfilter *make(struct sp_slice text, struct sp_diag *diag)
{
    struct sp_ipfilter *f = NULL;
    require(sp_ipfilter_new(&MEM, &f) == SP_OK);
    if (sp_ipfilter_read(f, text, diag) != SP_OK) {
        require(diag->err == SP_EDATA && memcmp(diag->text, "line ", 5) == 0);
        require(diag->off <= text.len);
        sp_ipfilter_free(f);
        return NULL;
    }
    require(sp_ipfilter_seal(f) == SP_OK);
    return f;
}

static bool blocks(struct sp_ipfilter *f, const uint8_t *bytes, bool v4)
{
    struct sp_addr a = v4 ? sp_addr_v4(bytes, 1) : sp_addr_v6(bytes, 1);
    return sp_ipfilter_blocks(f, &a);
}

/* One text is the union of its lines. */
static void by_lines(struct sp_ipfilter *whole, struct sp_slice text, const uint8_t probe[16])
{
    bool any4 = false, any6 = false;
    uint32_t lines = 0;
    for (size_t at = 0; at < text.len && lines < 64; lines++) {
        const uint8_t *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.ptr) - at : text.len - at;
        struct sp_diag diag;
        struct sp_ipfilter *one = make((struct sp_slice){text.ptr + at, len}, &diag);
        require(one && sp_ipfilter_count(one) <= 1);
        any4 = any4 || blocks(one, probe, true);
        any6 = any6 || blocks(one, probe, false);
        sp_ipfilter_free(one);
        at += len + 1;
    }
    if (lines == 64)
        return;
    require(blocks(whole, probe, true) == any4);
    require(blocks(whole, probe, false) == any6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_diag diag = {0};
    uint8_t probe[16] = {0};
    memcpy(probe, data, len < 16 ? len : 16);
    struct sp_slice text = {data + (len < 16 ? len : 16), len < 16 ? 0 : len - 16};
    struct sp_ipfilter *f = make(text, &diag);
    if (!f)
        return 0;
    by_lines(f, text, probe);
    sp_ipfilter_free(f);
    return 0;
}
