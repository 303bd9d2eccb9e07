/* Two endpoints and what lies between them, driven by the input: datagrams are
 * passed on, lost, doubled, reordered, changed or made up; time goes on; data is
 * written, taken in part, held back; connections close.
 *
 * What must hold: the invariants of both; no step without end; as long as no
 * datagram was changed or made up, each end gets what the other wrote, in order;
 * all memory comes back. */
#include <stdlib.h>
#include <string.h>

#include "core/base/cur.h"
#include "core/utp/utp.h"

enum { FLIGHT_MAX = 256, CONNS_MAX = 8 };

static int64_t live;

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    live++;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    live -= ptr != NULL;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

static void require(bool claim)
{
    if (!claim)
        abort();
}

struct datagram {
    uint8_t *bytes;
    uint32_t len;
};

struct end {
    struct sp_utp *u;
    struct sp_addr addr;
    struct sp_utp_conn *conns[CONNS_MAX]; /* NULL: none, or gone */
    uint64_t wrote, got;                  /* by and to conns[0] */
    uint32_t take_max;                    /* bytes it takes of one event */
    struct datagram flight[FLIGHT_MAX];   /* on their way to it */
    uint32_t flight_count;
};

struct run {
    struct end ends[2];
    struct sp_cur in;
    sp_time_ns now;
    bool dirty; /* a datagram was changed or made up */
    bool refuse;
};

static uint8_t pattern(int who, uint64_t off)
{
    return (uint8_t)(off * 7 + (off >> 8) * 13 + (uint64_t)who * 31);
}

static uint32_t slot_of(const struct end *e, const struct sp_utp_conn *c)
{
    uint32_t i = 0;
    while (i < CONNS_MAX && e->conns[i] != c)
        i++;
    return i;
}

static void took(struct run *r, int who, const struct sp_utp_event *ev)
{
    struct end *e = &r->ends[who];
    uint64_t taken = 0;
    for (uint32_t i = 0; i < ev->slice_count; i++) {
        for (size_t k = 0; k < ev->slices[i].len && taken < e->take_max; k++, taken++) {
            bool checked = !r->dirty && ev->conn == e->conns[0];
            require(!checked || ev->slices[i].ptr[k] == pattern(!who, e->got + taken));
        }
    }
    if (ev->conn == e->conns[0])
        e->got += taken;
    sp_utp_took(e->u, ev->conn, taken, r->now);
}

static void hear(struct run *r, int who)
{
    struct end *e = &r->ends[who];
    struct sp_utp_event ev;
    for (int n = 0; sp_utp_next(e->u, &ev); n++) {
        uint32_t slot = slot_of(e, ev.conn);
        require(n < 10000);
        if (ev.kind == SP_UTP_ACCEPTED) {
            uint32_t to = slot_of(e, NULL);
            if (to < CONNS_MAX)
                e->conns[to] = ev.conn;
            else
                sp_utp_close(e->u, ev.conn, r->now);
        } else if (ev.kind == SP_UTP_DATA) {
            took(r, who, &ev);
        } else if (ev.kind == SP_UTP_CLOSED && slot < CONNS_MAX) {
            require(ev.why != NULL);
            e->conns[slot] = NULL;
        }
    }
}

/* What it sends goes on its way to the other. */
static void drain(struct run *r, int who)
{
    struct end *to = &r->ends[!who];
    struct sp_utp_batch b;
    for (int n = 0; sp_utp_pull(r->ends[who].u, r->now, &b); n++) {
        require(n < 10000 && b.len > 0 && b.seg_len > 0 && b.len <= SP_UTP_BATCH_MAX);
        if (r->refuse) {
            r->refuse = false;
            sp_utp_refused(r->ends[who].u, b.probe, r->now);
            continue;
        }
        for (size_t off = 0; off < b.len; off += b.seg_len) {
            uint32_t len = (uint32_t)(b.len - off < b.seg_len ? b.len - off : b.seg_len);
            if (to->flight_count == FLIGHT_MAX || !sp_addr_eq(&b.to, &to->addr))
                continue;
            struct datagram *d = &to->flight[to->flight_count];
            d->bytes = malloc(len);
            d->len = len;
            if (!d->bytes)
                continue;
            memcpy(d->bytes, b.ptr + off, len);
            to->flight_count++;
        }
        sp_utp_sent(r->ends[who].u, r->now);
    }
}

static void settle(struct run *r)
{
    for (int who = 0; who < 2; who++) {
        hear(r, who);
        drain(r, who);
        require(sp_utp_broken(r->ends[who].u) == NULL);
    }
}

static void arrive(struct run *r, int who, const struct sp_addr *from, struct sp_slice bytes)
{
    for (int n = 0; bytes.len > 0; n++) {
        size_t used = sp_utp_datagrams(r->ends[who].u, from, bytes, (uint32_t)bytes.len, r->now);
        require(n < 100 && used > 0 && used <= bytes.len);
        hear(r, who);
        bytes.ptr += used;
        bytes.len -= used;
    }
}

/* One datagram of those on their way: how says what becomes of it. */
static void pass(struct run *r, int who, uint8_t how)
{
    struct end *e = &r->ends[who];
    if (e->flight_count == 0)
        return;
    uint32_t ix = sp_cur_u8(&r->in) % 4 ? 0 : sp_cur_u8(&r->in) % e->flight_count;
    struct datagram d = e->flight[ix];
    if (how == 1) { /* stays, and comes again */
        arrive(r, who, &r->ends[!who].addr, (struct sp_slice){d.bytes, d.len});
        return;
    }
    memmove(&e->flight[ix], &e->flight[ix + 1], (--e->flight_count - ix) * sizeof(struct datagram));
    if (how == 2) { /* one byte of its head is another */
        d.bytes[sp_cur_u8(&r->in) % 20] ^= sp_cur_u8(&r->in);
        r->dirty = true;
    }
    if (how != 3)
        arrive(r, who, &r->ends[!who].addr, (struct sp_slice){d.bytes, d.len});
    free(d.bytes);
}

static void make_up(struct run *r, int who)
{
    struct sp_slice bytes = sp_cur_take(&r->in, sp_cur_u8(&r->in) % 64);
    struct sp_addr from = r->ends[!who].addr;
    from.port = (uint16_t)(from.port + sp_cur_u8(&r->in) % 2);
    r->dirty = true;
    if (bytes.len)
        arrive(r, who, &from, bytes);
}

static void write_some(struct run *r, int who)
{
    static uint8_t bytes[65536];
    struct end *e = &r->ends[who];
    size_t len = (size_t)sp_cur_u8(&r->in) * 200;
    if (!e->conns[0])
        return;
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(who, e->wrote + i);
    struct sp_slice list[2] = {{bytes, len / 3}, {bytes + len / 3, len - len / 3}};
    size_t done = sp_utp_write(e->u, e->conns[0], list, 2, r->now);
    require(done <= len);
    e->wrote += done;
}

static void wait_a_while(struct run *r)
{
    uint8_t how = sp_cur_u8(&r->in);
    r->now += (how & 128 ? (uint64_t)(how & 127) * 100 : how) * SP_MS_NS;
    for (int who = 0; who < 2; who++) {
        sp_utp_tick(r->ends[who].u, r->now);
        drain(r, who);
        hear(r, who);
        sp_utp_tick(r->ends[who].u, r->now);
        drain(r, who);
        require(sp_utp_deadline(r->ends[who].u) > r->now);
    }
}

static void resume(struct run *r, int who)
{
    struct end *e = &r->ends[who];
    e->take_max = (uint32_t)sp_cur_u8(&r->in) * 64;
    for (uint32_t i = 0; i < CONNS_MAX; i++) {
        if (e->conns[i])
            sp_utp_resume(e->u, e->conns[i], r->now);
    }
}

static void close_one(struct run *r, int who)
{
    struct end *e = &r->ends[who];
    uint32_t ix = sp_cur_u8(&r->in) % CONNS_MAX;
    if (!e->conns[ix])
        return;
    sp_utp_close(e->u, e->conns[ix], r->now);
    e->conns[ix] = NULL;
    r->dirty = true; /* another may take the first place */
}

static void step(struct run *r)
{
    uint8_t op = sp_cur_u8(&r->in);
    int who = op >> 7;
    switch (op % 16) {
    case 8:
        pass(r, who, 1);
        break;
    case 9:
        pass(r, who, 2);
        break;
    case 10:
        pass(r, who, 3);
        break;
    case 11:
        make_up(r, who);
        break;
    case 12:
    case 13:
        wait_a_while(r);
        break;
    case 14:
        resume(r, who);
        break;
    case 15:
        if (op & 16)
            close_one(r, who);
        else
            r->refuse = true;
        break;
    case 6:
    case 7:
        write_some(r, who);
        break;
    default:
        pass(r, who, 0);
    }
    settle(r);
}

static void begin(struct run *r)
{
    for (int who = 0; who < 2; who++) {
        uint8_t ip[4] = {10, 0, 0, (uint8_t)(1 + who)};
        struct sp_utp_cfg cfg = {
            .mem = &MEM,
            .seed = (uint64_t)who + 1,
            .secret = {(uint64_t)who, 5},
            .conn_max = 6,
            .recv_window_max = 1 << 16,
            .recv_bytes_max = 1 << 17,
            .send_window_max = 1 << 16,
            .send_bytes_max = 1 << 17,
        };
        r->ends[who] = (struct end){.addr = sp_addr_v4(ip, 6881), .take_max = UINT32_MAX};
        require(sp_utp_new(&cfg, &r->ends[who].u) == SP_OK);
    }
    require(sp_utp_dial(r->ends[0].u, &r->ends[1].addr, r->now, &r->ends[0].conns[0]) == SP_OK);
    settle(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run r = {.in = sp_cur_of((struct sp_slice){data, len}), .now = SP_SECOND_NS};
    live = 0;
    begin(&r);
    for (int n = 0; n < 600 && sp_cur_left(&r.in) > 0; n++)
        step(&r);
    for (int who = 0; who < 2; who++) {
        sp_utp_free(r.ends[who].u);
        for (uint32_t i = 0; i < r.ends[who].flight_count; i++)
            free(r.ends[who].flight[i].bytes);
    }
    require(live == 0);
    return 0;
}
