/* Properties: what is kept is within the caps and never more than was told;
 * no port 0, no contact twice; a refused message touches nothing; and what we
 * write of it reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "core/wire/ut_pex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static void check(const struct sp_pex_msg *m)
{
    MUST(m->added_count <= m->added_told && m->dropped_count <= m->dropped_told);
    MUST(m->added_count <= 2 * SP_PEX_KEEP_MAX && m->dropped_count <= 2 * SP_PEX_KEEP_MAX);
    for (uint32_t i = 0; i < m->added_count; i++) {
        const struct sp_pex_contact *c = &m->added[i];
        MUST(c->addr.port != 0 && (c->flags & ~SP_PEX_FLAGS) == 0);
        MUST(c->addr.family == SP_V4 || c->addr.family == SP_V6);
        for (uint32_t k = 0; k < i; k++)
            MUST(!sp_addr_eq(&m->added[k].addr, &c->addr));
    }
}

/* Of v4-mapped contacts in a v6 list the order is another after writing. */
static bool has(const struct sp_pex_msg *m, const struct sp_pex_contact *c)
{
    for (uint32_t i = 0; i < m->added_count; i++) {
        if (sp_addr_eq(&m->added[i].addr, &c->addr) && m->added[i].flags == c->flags)
            return true;
    }
    return false;
}

static void check_writing(struct sp_pex_msg *m)
{
    uint8_t buf[SP_PEX_LEN_MAX];
    static struct sp_pex_msg back;
    size_t len;

    if (m->added_count > SP_PEX_SEND_MAX)
        m->added_count = SP_PEX_SEND_MAX;
    if (m->dropped_count > SP_PEX_SEND_MAX)
        m->dropped_count = SP_PEX_SEND_MAX;
    if (m->added_count + m->dropped_count == 0)
        return;
    MUST(sp_pex_write(m, buf, sizeof(buf), &len) == SP_OK && len <= sizeof(buf));
    MUST(sp_pex_read((struct sp_slice){buf, len}, &back) == SP_OK);
    MUST(back.added_count == m->added_count && back.dropped_count == m->dropped_count);
    for (uint32_t i = 0; i < m->added_count; i++)
        MUST(has(&back, &m->added[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct sp_pex_msg m;

    memset(&m, 0x5a, sizeof(m));
    if (sp_pex_read((struct sp_slice){data, len}, &m) != SP_OK) {
        for (size_t i = 0; i < sizeof(m); i++)
            MUST(((const uint8_t *)&m)[i] == 0x5a);
        return 0;
    }
    check(&m);
    check_writing(&m);
    return 0;
}
