#include <string.h>

#include "check.h"
#include "core/base/sha1.h"
#include "io/hash/hash.h"

TEST(many_agrees_with_the_core)
{
    static uint8_t bytes[300];
    struct sp_hash_msg msgs[301];
    struct sp_slice parts[301];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    for (uint32_t len = 0; len <= 300; len++) {
        parts[len] = (struct sp_slice){bytes, len};
        msgs[len] = (struct sp_hash_msg){.parts = &parts[len], .part_count = 1};
    }
    sp_hash_sha1_many(msgs, 301);
    for (uint32_t len = 0; len <= 300; len++) {
        uint8_t want[SP_SHA1_LEN];
        sp_sha1_of(bytes, len, want);
        CHECK(memcmp(want, msgs[len].digest, SP_SHA1_LEN) == 0);
    }
}

int main(void)
{
    return check_run();
}
