/* Properties: counts within their caps, a refused message touches nothing, and
 * what is written of a message reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "core/lsd/lsd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct sp_lsd_msg m, back;
    uint8_t buf[SP_LSD_LEN_MAX + SP_LSD_COOKIE_MAX];
    size_t out = 0;

    memset(&m, 0x5a, sizeof(m));
    if (sp_lsd_read((struct sp_slice){data, len}, &m) != SP_OK) {
        for (size_t i = 0; i < sizeof(m); i++)
            MUST(((const uint8_t *)&m)[i] == 0x5a);
        return 0;
    }
    MUST(m.port != 0 && m.hash_count > 0 && m.hash_count <= SP_LSD_HEAR_MAX);
    MUST(m.cookie_len <= SP_LSD_COOKIE_MAX);
    if (m.hash_count > SP_LSD_HASHES_MAX)
        m.hash_count = SP_LSD_HASHES_MAX;
    MUST(sp_lsd_write(&m, SP_V6, buf, sizeof(buf), &out) == SP_OK);
    MUST(sp_lsd_read((struct sp_slice){buf, out}, &back) == SP_OK);
    MUST(back.port == m.port && back.hash_count == m.hash_count);
    MUST(memcmp(back.hashes, m.hashes, m.hash_count * sizeof(m.hashes[0])) == 0);
    MUST(back.cookie_len == m.cookie_len && memcmp(back.cookie, m.cookie, m.cookie_len) == 0);
    return 0;
}
