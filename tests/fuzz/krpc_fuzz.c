/* A message of the DHT: what is read lies inside the packet and within its
 * limits; what is written of it is read back as the same. */
#include <stdlib.h>
#include <string.h>

#include "core/dht/krpc.h"

static void require(bool claim)
{
    if (!claim)
        abort();
}

static void inside(struct sp_slice s, struct sp_slice packet, size_t max)
{
    require(s.len <= max);
    require(s.len == 0 || (s.ptr >= packet.ptr && s.ptr + s.len <= packet.ptr + packet.len));
}

static bool same(struct sp_slice a, struct sp_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void check(const struct sp_krpc *m, struct sp_slice packet)
{
    inside(m->txn, packet, SP_KRPC_TXN_MAX);
    inside(m->token, packet, SP_KRPC_TOKEN_MAX);
    inside(m->nodes, packet, packet.len);
    inside(m->nodes6, packet, packet.len);
    inside(m->v, packet, SP_KRPC_ITEM_MAX);
    inside(m->salt, packet, SP_KRPC_SALT_MAX);
    inside(m->samples, packet, packet.len);
    require(m->txn.len > 0 && m->nodes.len % 26 == 0 && m->nodes6.len % 38 == 0);
    require(m->samples.len % 20 == 0 && m->value_count <= SP_KRPC_VALUES_MAX);
    require(m->key.len == 0 || m->key.len == SP_KRPC_KEY_LEN);
    require(m->sig.len == 0 || m->sig.len == SP_KRPC_SIG_LEN);
    require(m->kind == SP_KRPC_ERROR || m->has_id);
    for (uint32_t i = 0; i < m->value_count; i++) {
        inside(m->values[i], packet, 18);
        require(m->values[i].len == 6 || m->values[i].len == 18);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_slice packet = {data, len};
    struct sp_krpc m, again;
    uint8_t out[2 * SP_KRPC_LEN_MAX];
    size_t n;

    if (sp_krpc_read(packet, &m) != SP_OK)
        return 0;
    check(&m, packet);
    if (m.method == SP_KRPC_UNKNOWN)
        return 0;
    require(sp_krpc_write(&m, out, sizeof(out), &n) == SP_OK);
    if (n > SP_KRPC_LEN_MAX)
        return 0;
    require(sp_krpc_read((struct sp_slice){out, n}, &again) == SP_OK);
    require(again.kind == m.kind && again.method == m.method && same(again.txn, m.txn));
    require(same(again.token, m.token) && same(again.nodes, m.nodes) && same(again.v, m.v));
    require(again.value_count == m.value_count && again.port == m.port && again.seq == m.seq);
    return 0;
}
