/* The engine through its public door: clients in one process that transfer
 * over 127.0.0.1, are paused, stopped and freed at any moment, and restarted. */
#include "spate/client.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "spate/create.h"
#include "spate/magnet.h"
#include "spate/mem.h"
#include "spate/metainfo.h"

enum { PIECE_LEN = 32 << 10, WAIT_MS = 60000, TORRENTS = 4 };

static char base[64]; /* the test's own directory */

SP_PRINTF(1, 2)
static const char *path_of(const char *format, ...)
{
    static char paths[4096][160]; /* none is used twice: they are kept in settings */
    static unsigned at;
    char *path = paths[at++ % SP_COUNT(paths)];
    va_list args;
    int n = snprintf(path, sizeof(paths[0]), "%s/", base);
    va_start(args, format);
    vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, format, args);
    va_end(args);
    return path;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The system's, but for one name that nobody answers for. */
enum { SLOW_MS = 5000 };
static _Atomic int slow_lookups;
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **res)
{
    typedef int fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (node && strcmp(node, "slow.test") == 0) {
        slow_lookups++;
        sleep_ms(SLOW_MS);
        return EAI_AGAIN;
    }
    fn *real = (fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, res);
}

/* ---- data ---- */

/* A torrent of several files, pieces over their borders; what lies in
 * base/seed/<name>. */
static const struct {
    const char *name;
    size_t len;
} FILES[] = {{"a", 300000}, {"b/c", 1100000}, {"b/d", 17}, {"e", 0}, {"f", 65536}};

struct given {
    char name[16];
    struct sp_metainfo *mi;
};

static void make_file(const char *path, size_t len, uint32_t salt)
{
    uint32_t x = salt * 2654435761u + 1;
    FILE *f = fopen(path, "wb");
    for (size_t i = 0; f && i < len; i++) {
        x = x * 1664525u + 1013904223u;
        fputc((int)(x >> 24), f);
    }
    CHECK(f && fclose(f) == 0);
}

static struct given *given(uint32_t ix)
{
    static struct given all[TORRENTS];
    struct given *g = &all[ix];
    struct sp_diag diag = {0};
    uint8_t *bytes;
    size_t len;

    if (g->mi)
        return g;
    snprintf(g->name, sizeof(g->name), "t%u", ix);
    mkdir(path_of("seed"), 0700);
    mkdir(path_of("seed/%s", g->name), 0700);
    mkdir(path_of("seed/%s/b", g->name), 0700);
    for (uint32_t i = 0; i < SP_COUNT(FILES); i++)
        make_file(path_of("seed/%s/%s", g->name, FILES[i].name), FILES[i].len, ix * 16 + i);
    const char *path = path_of("seed/%s", g->name);
    struct sp_create_cfg cfg = {.path = path,
                                .version = SP_CREATE_V1,
                                .piece_length = PIECE_LEN,
                                .threads = 1,
                                .creation_date = -1};
    CHECK_EQ(sp_create(&cfg, &bytes, &len, &diag), SP_OK);
    CHECK_EQ(sp_metainfo_parse(sp_mem_libc(), (struct sp_slice){bytes, len}, NULL, &g->mi, &diag),
             SP_OK);
    sp_bytes_free(bytes);
    return g;
}

static bool same_file(const char *a, const char *b)
{
    FILE *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    int ca = EOF, cb = EOF;
    bool same = fa && fb;
    while (same && (ca = getc(fa)) != EOF)
        same = ca == getc(fb);
    if (same)
        cb = getc(fb);
    same = same && cb == EOF;
    if (fa)
        fclose(fa);
    if (fb)
        fclose(fb);
    return same;
}

static void check_same(const char *dir, const struct given *g)
{
    for (uint32_t i = 0; i < SP_COUNT(FILES); i++)
        CHECK(same_file(path_of("seed/%s/%s", g->name, FILES[i].name),
                        path_of("%s/%s/%s", dir, g->name, FILES[i].name)));
}

/* Turns one byte of the file around. */
static void corrupt(const char *path, long off)
{
    FILE *f = fopen(path, "r+b");
    CHECK(f && fseek(f, off, SEEK_SET) == 0);
    int c = f ? getc(f) : EOF;
    CHECK(c != EOF && fseek(f, off, SEEK_SET) == 0 && putc(c ^ 1, f) != EOF);
    CHECK(f && fclose(f) == 0);
}

/* ---- clients ---- */

static struct sp_client_cfg cfg_of(const char *state_dir)
{
    struct sp_client_cfg cfg;
    sp_client_cfg_init(&cfg);
    cfg.state_dir = state_dir;
    cfg.listen[0] = "127.0.0.1:0";
    cfg.listen_count = 1;
    cfg.reactor_count = 2;
    return cfg;
}

static struct sp_client *start(const struct sp_client_cfg *cfg)
{
    struct sp_client_cfg own = *cfg;
    struct sp_client *c = NULL;
    struct sp_diag diag = {0};
    own.seed = 1; /* all of them the same dice; identities differ all the same */
    if (sp_client_new(&own, &c, &diag) != SP_OK) {
        printf("# %s\n", diag.text);
        CHECK(false && "starts");
        exit(1);
    }
    return c;
}

static sp_torrent_id add(struct sp_client *c, struct sp_client_add how, const struct given *g,
                         const struct sp_client *from)
{
    static char peer[32];
    const char *peers[] = {peer};
    sp_torrent_id id = UINT32_MAX;
    struct sp_diag diag = {0};

    how.metainfo = g->mi;
    if (from) {
        snprintf(peer, sizeof(peer), "127.0.0.1:%u", sp_client_port(from));
        how.peers = peers;
        how.peer_count = 1;
    }
    CHECK_EQ(sp_client_add(c, &how, &id, &diag), SP_OK);
    return id;
}

static sp_torrent_id add_seed(struct sp_client *c, const struct given *g)
{
    return add(c, (struct sp_client_add){.dir = path_of("seed"), .read_only = true}, g, NULL);
}

/* The next event of a kind about a torrent (UINT32_MAX: any); others are dropped. */
static bool next_event(struct sp_client *c, enum sp_client_event_kind kind, sp_torrent_id id,
                       struct sp_client_event *ret)
{
    uint64_t until = now_ms() + WAIT_MS;
    enum sp_err err;
    while (now_ms() < until && (err = sp_client_wait(c, 100, ret)) != SP_ECANCELED) {
        if (err == SP_OK && ret->kind == SP_EV_ERROR)
            printf("# torrent %u: %s\n", ret->torrent, ret->text);
        if (err == SP_OK && ret->kind == kind && (id == UINT32_MAX || ret->torrent == id))
            return true;
    }
    return false;
}

static bool await(struct sp_client *c, enum sp_client_event_kind kind, sp_torrent_id id)
{
    struct sp_client_event ev;
    bool came = next_event(c, kind, id, &ev);
    if (!came)
        printf("# waited in vain for event %d of torrent %u\n", (int)kind, id);
    return came;
}

static struct sp_torrent_stats stats(const struct sp_client *c, sp_torrent_id id)
{
    struct sp_torrent_stats st = {0};
    CHECK_EQ(sp_client_stats(c, id, &st), SP_OK);
    return st;
}

static bool await_bytes(const struct sp_client *c, sp_torrent_id id, uint64_t least)
{
    uint64_t until = now_ms() + WAIT_MS;
    while (now_ms() < until) {
        if (stats(c, id).have_bytes >= least)
            return true;
        sleep_ms(10);
    }
    return false;
}

static bool await_state(const struct sp_client *c, sp_torrent_id id, enum sp_torrent_state state)
{
    uint64_t until = now_ms() + WAIT_MS;
    while (now_ms() < until) {
        if (stats(c, id).state == state)
            return true;
        sleep_ms(10);
    }
    return false;
}

static void stop(struct sp_client *c)
{
    struct sp_client_event ev;
    sp_client_stop(c);
    CHECK(await(c, SP_EV_STOPPED, UINT32_MAX));
    CHECK_EQ(sp_client_wait(c, 0, &ev), SP_ECANCELED);
    sp_client_free(c);
}

/* ---- starting ---- */

static void refused(struct sp_client_cfg cfg, enum sp_err want, const char *why)
{
    struct sp_client *c = NULL;
    struct sp_diag diag = {0};
    CHECK_EQ(sp_client_new(&cfg, &c, &diag), want);
    CHECK(c == NULL);
    CHECK_EQ(diag.err, want);
    if (!strstr(diag.text, why)) {
        CHECK(false && "reason");
        printf("# got \"%s\", not \"%s\"\n", diag.text, why);
    }
    sp_client_free(c);
}

TEST(a_wrong_address_is_refused)
{
    const char *const BAD[] = {"",
                               ":",
                               "127.0.0.1",
                               "127.0.0.1:",
                               "127.0.0.1:x",
                               "127.0.0.1:65536",
                               "127.0.0.1:-1",
                               "host.test:1",
                               "[::1:1",
                               "1.2.3.4.5:1"};
    struct sp_client_cfg cfg = cfg_of(NULL);
    for (size_t i = 0; i < SP_COUNT(BAD); i++) {
        cfg.listen[0] = BAD[i];
        refused(cfg, SP_EINVAL, "is not ADDRESS:PORT");
    }
    cfg.listen[0] = "192.0.2.1:0"; /* nobody's */
    refused(cfg, SP_ENET, "cannot listen on 192.0.2.1:0");
}

TEST(a_taken_port_is_refused)
{
    char address[32];
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *first = start(&cfg);
    CHECK(sp_client_port(first) != 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u", sp_client_port(first));
    cfg.listen[0] = address;
    refused(cfg, SP_ENET, "cannot listen on 127.0.0.1");
    sp_client_free(first);
}

TEST(nonsense_settings_are_refused)
{
    struct sp_client_cfg cfg = cfg_of(NULL);
    cfg.memory_bytes = 1;
    refused(cfg, SP_EINVAL, "memory");
    cfg = cfg_of(NULL);
    cfg.conn_max = 0;
    refused(cfg, SP_EINVAL, "connections");
    cfg = cfg_of(NULL);
    cfg.listen_count = SP_LISTEN_MAX + 1;
    refused(cfg, SP_EINVAL, "listen");
}

TEST(a_state_directory_has_one_client)
{
    const char *dir = path_of("state-one");
    struct sp_client_cfg cfg = cfg_of(dir);
    struct sp_client *first = start(&cfg), *second = NULL;
    struct sp_diag diag = {0};
    CHECK(sp_client_new(&cfg, &second, &diag) != SP_OK);
    CHECK(second == NULL);
    CHECK(strstr(diag.text, "state-one") != NULL);
    sp_client_free(first);
    second = start(&cfg);
    sp_client_free(second);
}

/* A resolver's thread cannot be woken: neither stopping nor freeing waits for it. */
TEST(a_name_server_that_hangs_holds_up_no_end)
{
    const struct sp_tracker_arg trackers[] = {{"udp://slow.test:7/announce", 0},
                                              {"http://slow.test/announce", 1}};
    const char *const peers[] = {"slow.test:9"};
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *c = start(&cfg);
    add(c,
        (struct sp_client_add){.dir = path_of("slow"),
                               .trackers = trackers,
                               .tracker_count = 2,
                               .peers = peers,
                               .peer_count = 1},
        given(0), NULL);
    for (int i = 0; slow_lookups < 3 && i < 300; i++)
        sleep_ms(10);
    CHECK(slow_lookups >= 3);
    uint64_t began = now_ms();
    stop(c);
    CHECK(now_ms() - began < 3000);
    sleep_ms(SLOW_MS + 500); /* the threads end, or a leak would be seen */
}

/* ---- transfers ---- */

static uint64_t total_len(const struct given *g)
{
    return g->mi->total_length;
}

/* What shares pieces with a selected file is kept aside, and moves when it is
 * selected in turn: nothing is lost, nothing is fetched twice. */
TEST(files_selected_later_get_what_is_there)
{
    const uint8_t some[] = {4, 0, 4, 0, 0}, more[] = {4, 0, 4, 4, 4}, all[] = {4, 4, 4, 4, 4};
    struct sp_client_cfg cfg = cfg_of(NULL), own = cfg_of(path_of("state-later"));
    struct sp_client *seed = start(&cfg), *leech = start(&own);
    const struct given *g = given(1);
    add_seed(seed, g);
    sp_torrent_id id =
        add(leech, (struct sp_client_add){.dir = path_of("later"), .priorities = some}, g, seed);
    CHECK(await(leech, SP_EV_COMPLETE, id));
    CHECK(access(path_of("later/%s/b/c", g->name), F_OK) != 0);
    CHECK(stats(leech, id).downloaded_bytes < total_len(g) / 2);
    sp_client_set_priorities(leech, id, more, SP_COUNT(more));
    CHECK(await(leech, SP_EV_COMPLETE, id));
    stop(leech);
    CHECK(same_file(path_of("seed/%s/f", g->name), path_of("later/%s/f", g->name)));

    leech = start(&own); /* and when it is selected while no client runs */
    id = add(leech, (struct sp_client_add){.dir = path_of("later"), .priorities = all}, g, seed);
    CHECK(await(leech, SP_EV_COMPLETE, id));
    struct sp_torrent_stats st = stats(leech, id);
    CHECK_EQ(st.downloaded_bytes, total_len(g));
    CHECK_EQ(st.wasted_bytes, 0);
    stop(leech);
    check_same("later", g);
    stop(seed);
}

/* Torrents lie on several reactors; what they may have together does not grow
 * with them, and nobody is left without. */
TEST(limits_are_of_the_whole_client)
{
    struct sp_client_cfg cfg = cfg_of(NULL), few = cfg_of(NULL);
    few.conn_max = 2;
    few.reactor_count = 3;
    struct sp_client *seed = start(&cfg), *leech = start(&few);
    sp_torrent_id ids[TORRENTS];
    for (uint32_t i = 0; i < TORRENTS; i++) {
        add_seed(seed, given(i));
        ids[i] = add(leech, (struct sp_client_add){.dir = path_of("few"), .down_Bps = 4 << 20},
                     given(i), seed);
    }
    uint32_t most = 0, complete = 0;
    for (uint64_t until = now_ms() + WAIT_MS; now_ms() < until && complete < TORRENTS;) {
        struct sp_client_totals totals;
        sp_client_totals(leech, &totals);
        most = totals.peers > most ? totals.peers : most;
        complete = 0;
        for (uint32_t i = 0; i < TORRENTS; i++)
            complete += stats(leech, ids[i]).state == SP_TORRENT_SEEDING;
        sleep_ms(20);
    }
    CHECK_EQ(complete, TORRENTS);
    CHECK(most <= 2);
    stop(leech);
    stop(seed);
}

TEST(selection_changes_at_any_time)
{
    const uint8_t sets[][5] = {{0, 4, 0, 0, 0}, {4, 0, 4, 0, 0}, {0, 0, 0, 4, 4}, {4, 4, 0, 4, 0}};
    const uint8_t all[] = {4, 4, 4, 4, 4};
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *leech = start(&cfg);
    const struct given *g = given(2);
    add_seed(seed, g);
    sp_torrent_id id =
        add(leech,
            (struct sp_client_add){
                .dir = path_of("any"), .priorities = sets[0], .down_Bps = 1 << 20, .paused = false},
            g, seed);
    for (uint32_t i = 1; i < 40; i++) {
        sp_client_set_priorities(leech, id, sets[i % SP_COUNT(sets)], 5);
        sleep_ms(i % 5 * 8);
    }
    sp_client_set_priorities(leech, id, all, 5);
    CHECK(await_bytes(leech, id, total_len(g)));
    struct sp_torrent_stats st = stats(leech, id);
    CHECK_EQ(st.piece_have, st.piece_count);
    stop(leech);
    check_same("any", g);
    stop(seed);
}

TEST(torrents_move_between_two_clients)
{
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *leech = start(&cfg);
    sp_torrent_id ids[TORRENTS], again;
    struct sp_client_event ev;
    struct sp_diag diag;

    for (uint32_t i = 0; i < TORRENTS; i++)
        add_seed(seed, given(i));
    mkdir(path_of("got"), 0700);
    for (uint32_t i = 0; i < TORRENTS; i++)
        ids[i] = add(leech, (struct sp_client_add){.dir = path_of("got")}, given(i), seed);
    struct sp_client_add twice = {.metainfo = given(0)->mi, .dir = path_of("got")};
    CHECK_EQ(sp_client_add(leech, &twice, &again, &diag), SP_EEXIST);
    for (uint32_t done = 0; done < TORRENTS; done++)
        CHECK(next_event(leech, SP_EV_COMPLETE, UINT32_MAX, &ev));
    for (uint32_t i = 0; i < TORRENTS; i++) {
        check_same("got", given(i));
        CHECK(await_state(leech, ids[i], SP_TORRENT_SEEDING));
        struct sp_torrent_stats st = stats(leech, ids[i]);
        CHECK_EQ(st.have_bytes, st.total_bytes);
        CHECK_EQ(st.total_bytes, given(i)->mi->total_length);
        CHECK_EQ(st.wasted_bytes, 0);
        CHECK_EQ(st.downloaded_bytes, st.total_bytes);
    }
    struct sp_torrent_stats none;
    CHECK_EQ(sp_client_stats(leech, 1000, &none), SP_ENOENT);
    sp_client_pause(leech, 1000);
    sp_client_remove(leech, 1000, true);
    stop(leech);
    stop(seed);
}

/* ---- magnets ---- */

static sp_torrent_id add_magnet(struct sp_client *c, struct sp_client_add how,
                                const struct given *g, const char *more,
                                const struct sp_client *from)
{
    struct sp_magnet *magnet = NULL;
    struct sp_diag diag = {0};
    sp_torrent_id id = UINT32_MAX;
    char link[256] = "magnet:?xt=urn:btih:";
    for (size_t i = 0; i < SP_SHA1_LEN; i++)
        snprintf(link + strlen(link), 3, "%02x", g->mi->info_hash_v1[i]);
    if (from)
        snprintf(link + strlen(link), 40, "&x.pe=127.0.0.1:%u", sp_client_port(from));
    snprintf(link + strlen(link), 60, "%s", more);
    CHECK_EQ(sp_magnet_parse(sp_mem_libc(), (struct sp_slice){(const uint8_t *)link, strlen(link)},
                             &magnet, &diag),
             SP_OK);
    how.magnet = magnet;
    CHECK_EQ(sp_client_add(c, &how, &id, &diag), SP_OK);
    sp_magnet_free(magnet);
    return id;
}

TEST(a_magnet_brings_all_and_needs_nobody_the_next_time)
{
    struct given *g = given(0);
    struct sp_client_cfg seed_cfg = cfg_of(NULL), cfg = cfg_of(path_of("magnet-state"));
    struct sp_client *seed = start(&seed_cfg), *c = start(&cfg);
    uint8_t *bytes = NULL;
    size_t len = 0;
    const char *dir = path_of("magnet");

    add_seed(seed, g);
    sp_torrent_id id = add_magnet(c, (struct sp_client_add){.dir = dir}, g, "", NULL);
    CHECK(await_state(c, id, SP_TORRENT_METADATA)); /* nobody is there yet */
    CHECK_EQ(sp_client_metainfo(c, id, &bytes, &len), SP_AGAIN);
    sp_client_pause(c, id);
    CHECK(await_state(c, id, SP_TORRENT_PAUSED));
    sp_client_resume(c, id);
    CHECK(await_state(c, id, SP_TORRENT_METADATA));
    char peer[32];
    snprintf(peer, sizeof(peer), "127.0.0.1:%u", sp_client_port(seed));
    sp_client_add_peer(c, id, peer);
    CHECK(await(c, SP_EV_METADATA, id));
    CHECK(await(c, SP_EV_COMPLETE, id));
    CHECK_EQ(sp_client_metainfo(c, id, &bytes, &len), SP_OK);
    CHECK(bytes && memmem(bytes, len, g->mi->info.ptr, g->mi->info.len));
    sp_bytes_free(bytes);
    stop(c);
    stop(seed);
    check_same("magnet", g);

    c = start(&cfg);
    id = add_magnet(c, (struct sp_client_add){.dir = dir}, g, "", NULL);
    CHECK(await(c, SP_EV_COMPLETE, id));
    stop(c);
}

TEST(a_magnet_selects_files)
{
    struct given *g = given(1);
    struct sp_file_range second = {1, 1};
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *a = start(&cfg), *b = start(&cfg);
    struct sp_client_event ev;

    add_seed(seed, g);
    sp_torrent_id id =
        add_magnet(a, (struct sp_client_add){.dir = path_of("so")}, g, "&so=0", seed);
    CHECK(await(a, SP_EV_COMPLETE, id));
    CHECK(stats(a, id).wanted_bytes < stats(a, id).total_bytes / 2);
    CHECK(same_file(path_of("so/%s/a", g->name), path_of("seed/%s/a", g->name)));
    CHECK(access(path_of("so/%s/f", g->name), F_OK) != 0);
    id = add_magnet(
        b, (struct sp_client_add){.dir = path_of("so2"), .ranges = &second, .range_count = 1}, g,
        "&so=0", seed);
    CHECK(await(b, SP_EV_COMPLETE, id));
    CHECK(same_file(path_of("so2/%s/b/c", g->name), path_of("seed/%s/b/c", g->name)));
    sp_client_remove(b, id, false);
    id = add_magnet(b, (struct sp_client_add){.dir = path_of("so3")}, g, "&so=900-999", seed);
    CHECK(next_event(b, SP_EV_ERROR, id, &ev));
    CHECK(ev.err == SP_EDATA && strstr(ev.text, "none of the files"));
    stop(a);
    stop(b);
    stop(seed);
}

TEST(a_magnet_ends_at_any_moment)
{
    struct given *g = given(2);
    struct sp_client_cfg seed_cfg = cfg_of(NULL);
    struct sp_client *seed = start(&seed_cfg);
    add_seed(seed, g);
    for (int n = 0; n < 30; n++) {
        struct sp_client_cfg cfg = cfg_of(path_of("any-state%d", n % 3));
        struct sp_client *c = start(&cfg);
        const char *dir = path_of("any%d", n % 3);
        sp_torrent_id id = add_magnet(c, (struct sp_client_add){.dir = dir}, g, "", seed);
        sleep_ms(n % 10 * 4);
        if (n % 3 == 0)
            sp_client_remove(c, id, true);
        else if (n % 3 == 1)
            sp_client_pause(c, id);
        sp_client_free(c);
    }
    stop(seed);
}

TEST(paused_it_stands_still)
{
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *leech = start(&cfg);
    const struct given *g = given(0);

    add_seed(seed, g);
    mkdir(path_of("paused"), 0700);
    struct sp_client_add how = {.dir = path_of("paused"), .down_Bps = 400 << 10};
    sp_torrent_id id = add(leech, how, g, seed);
    CHECK(await_bytes(leech, id, 2 * PIECE_LEN));
    sp_client_pause(leech, id);
    CHECK(await_state(leech, id, SP_TORRENT_PAUSED));
    sleep_ms(300); /* what was on its way to the disk gets there */
    uint64_t before = stats(leech, id).downloaded_bytes;
    sleep_ms(700);
    CHECK_EQ(stats(leech, id).downloaded_bytes, before);
    CHECK(before < g->mi->total_length);
    CHECK_EQ(stats(leech, id).peers, 0);
    sp_client_set_torrent_limits(leech, id, 0, 0);
    sp_client_resume(leech, id);
    CHECK(await(leech, SP_EV_COMPLETE, id));
    check_same("paused", g);
    stop(leech);
    stop(seed);
}

TEST(what_is_removed_may_come_back)
{
    struct sp_client_cfg cfg = cfg_of(path_of("state-removed"));
    struct sp_client_cfg seed_cfg = cfg_of(NULL);
    struct sp_client *seed = start(&seed_cfg), *leech = start(&cfg);
    const struct given *g = given(1);
    struct sp_torrent_stats none;
    struct sp_client_add how = {.dir = path_of("removed")};
    const char *data = path_of("removed/%s", g->name);

    add_seed(seed, g);
    mkdir(path_of("removed"), 0700);
    for (int round = 0; round < 6; round++) {
        sp_torrent_id id = add(leech, how, g, seed);
        CHECK(await(leech, SP_EV_COMPLETE, id));
        check_same("removed", g);
        sp_client_remove(leech, id, true);
        CHECK_EQ(sp_client_stats(leech, id, &none), SP_ENOENT);
        if (round % 3)
            continue; /* at once */
        for (int i = 0; i < WAIT_MS / 10 && access(data, F_OK) == 0; i++)
            sleep_ms(10);
        CHECK(access(data, F_OK) != 0);
        CHECK(access(path_of("removed"), F_OK) == 0);
    }
    stop(leech);
    stop(seed);
}

TEST(a_corrupt_byte_is_found_and_mended)
{
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *leech = start(&cfg);
    const struct given *g = given(2);

    add_seed(seed, g);
    mkdir(path_of("corrupt"), 0700);
    sp_torrent_id id = add(leech, (struct sp_client_add){.dir = path_of("corrupt")}, g, seed);
    CHECK(await(leech, SP_EV_COMPLETE, id));
    corrupt(path_of("corrupt/%s/b/c", g->name), 500000);
    sp_client_recheck(leech, id);
    CHECK(await(leech, SP_EV_CHECKED, id));
    CHECK(await(leech, SP_EV_COMPLETE, id));
    check_same("corrupt", g);
    uint64_t more = stats(leech, id).downloaded_bytes - g->mi->total_length;
    CHECK_EQ(more, PIECE_LEN);
    stop(leech);
    stop(seed);
}

/* ---- restarts ---- */

/* Adds what was complete in an earlier life; gives how many pieces it starts with. */
static uint32_t pieces_after_start(const struct sp_client_cfg *cfg, const struct given *g,
                                   bool force_check)
{
    struct sp_client *c = start(cfg);
    struct sp_client_add how = {.dir = path_of("restart"), .force_check = force_check};
    sp_torrent_id id = add(c, how, g, NULL);
    CHECK(await(c, SP_EV_CHECKED, id));
    uint32_t have = stats(c, id).piece_have;
    CHECK_EQ(stats(c, id).state,
             have == g->mi->piece_count ? SP_TORRENT_SEEDING : SP_TORRENT_DOWNLOADING);
    stop(c);
    return have;
}

TEST(claims_of_a_clean_end_are_trusted)
{
    struct sp_client_cfg cfg = cfg_of(path_of("state-restart")), seed_cfg = cfg_of(NULL);
    struct sp_client *seed = start(&seed_cfg), *leech = start(&cfg);
    const struct given *g = given(3);
    uint32_t all = g->mi->piece_count;

    add_seed(seed, g);
    mkdir(path_of("restart"), 0700);
    sp_torrent_id id = add(leech, (struct sp_client_add){.dir = path_of("restart")}, g, seed);
    CHECK(await(leech, SP_EV_COMPLETE, id));
    stop(leech);
    stop(seed);
    CHECK_EQ(pieces_after_start(&cfg, g, false), all);
    /* That nothing is hashed shows when a bad byte is not noticed; asked to, it is. */
    corrupt(path_of("restart/%s/b/c", g->name), 400000);
    CHECK_EQ(pieces_after_start(&cfg, g, false), all);
    CHECK_EQ(pieces_after_start(&cfg, g, true), all - 1);
    CHECK_EQ(pieces_after_start(&cfg, g, false), all - 1);
    /* A file cut short is seen without a look inside. */
    CHECK_EQ(truncate(path_of("restart/%s/a", g->name), 0), 0);
    CHECK(pieces_after_start(&cfg, g, false) < all - 1);
    cfg.state_dir = NULL;
    CHECK_EQ(unlink(path_of("restart/%s/b/d", g->name)), 0);
    CHECK(pieces_after_start(&cfg, g, false) < all - 1);
}

TEST(ended_at_any_moment)
{
    struct sp_client_cfg cfg = cfg_of(path_of("state-any")), seed_cfg = cfg_of(NULL);
    struct sp_client *seed = start(&seed_cfg);
    const struct given *g = given(0);
    uint32_t x = 7;

    add_seed(seed, g);
    mkdir(path_of("any"), 0700);
    for (int round = 0; round < 24; round++) {
        struct sp_client *c = start(&cfg);
        struct sp_client_add how = {.dir = path_of("any"), .down_Bps = 4 << 20};
        sp_torrent_id id = add(c, how, g, seed);
        x = x * 1664525u + 1013904223u;
        sleep_ms((x >> 16) % 60);
        if (x >> 28 & 1)
            sp_client_recheck(c, id);
        if (x >> 29 & 1)
            sp_client_pause(c, id);
        if (x >> 30 & 1)
            sp_client_stop(c);
        if (round % 8 == 7)
            sp_client_remove(c, id, true);
        if (round % 3 == 0)
            stop(c);
        else
            sp_client_free(c);
    }
    struct sp_client *c = start(&cfg);
    sp_torrent_id id = add(c, (struct sp_client_add){.dir = path_of("any")}, g, seed);
    CHECK(await(c, SP_EV_COMPLETE, id));
    check_same("any", g);
    stop(c);
    stop(seed);
}

/* ---- many threads ---- */

struct looker {
    struct sp_client *client;
    bool done;
};

static void *look(void *ctx)
{
    struct looker *l = ctx;
    struct sp_torrent_stats st;
    struct sp_peer_info peers[4];
    struct sp_client_tracker trackers[4];
    struct sp_client_totals totals;
    uint8_t bits[64];

    while (!__atomic_load_n(&l->done, __ATOMIC_ACQUIRE)) {
        for (sp_torrent_id id = 0; id < 40; id++) {
            (void)sp_client_stats(l->client, id, &st);
            (void)sp_client_peers(l->client, id, peers, 4);
            (void)sp_client_trackers(l->client, id, trackers, 4);
            (void)sp_client_pieces(l->client, id, bits, sizeof(bits));
        }
        sp_client_totals(l->client, &totals);
        sp_client_set_limits(l->client, 0, totals.peers);
        sleep_ms(1);
    }
    return NULL;
}

TEST(looked_at_while_torrents_come_and_go)
{
    struct sp_client_cfg cfg = cfg_of(NULL);
    struct sp_client *seed = start(&cfg), *c = start(&cfg);
    struct looker l = {.client = c};
    pthread_t thread;

    for (uint32_t i = 0; i < TORRENTS; i++)
        add_seed(seed, given(i));
    mkdir(path_of("come"), 0700);
    CHECK_EQ(pthread_create(&thread, NULL, look, &l), 0);
    for (uint32_t i = 0; i < 24; i++) {
        sp_torrent_id id =
            add(c, (struct sp_client_add){.dir = path_of("come")}, given(i % TORRENTS), seed);
        sp_client_reannounce(c, id);
        sleep_ms(i * 3);
        sp_client_remove(c, id, i % 2);
    }
    __atomic_store_n(&l.done, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    stop(c);
    stop(seed);
}

int main(void)
{
    char command[96];
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(base, sizeof(base), "client_test.XXXXXX");
    if (!mkdtemp(base))
        return 1;
    int status = check_run();
    for (uint32_t i = 0; i < TORRENTS; i++)
        sp_metainfo_free(given(i)->mi);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command) != 0 || status;
}
