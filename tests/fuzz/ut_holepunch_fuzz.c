/* Properties: a refused message touches nothing; a taken one reads the same
 * after it was written. */
#include <stdlib.h>

#include "core/wire/ut_holepunch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_holepunch_msg m = {.error = 77}, back;
    uint8_t buf[SP_HOLEPUNCH_LEN_MAX];

    if (sp_holepunch_read((struct sp_slice){data, len}, &m) != SP_OK) {
        MUST(m.error == 77 && m.kind == 0 && m.addr.family == SP_FAMILY_NONE);
        return 0;
    }
    MUST(len == 12 || len == 24);
    size_t n = sp_holepunch_write(&m, buf);
    MUST(n <= len && sp_holepunch_read((struct sp_slice){buf, n}, &back) == SP_OK);
    MUST(back.kind == m.kind && back.error == m.error && sp_addr_eq(&back.addr, &m.addr));
    return 0;
}
