/* disk_bench DIR [MIB] - what the disk pool costs here: MB/s and CPU seconds a GiB (of the whole
 * process), pieces of 1 MiB out of 16 KiB blocks, four jobs in flight. */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/disk/disk.h"

enum { PIECE_LEN = 1 << 20, BLOCKS = PIECE_LEN / SP_BLOCK_LEN, IN_FLIGHT = 4 };

struct slot {
    struct sp_disk_job job;
    struct sp_iov iov[BLOCKS];
};

static struct slot slots[IN_FLIGHT], *free_slots[IN_FLIGHT];
static int free_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t room;

static double seconds(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void done(struct sp_disk_job *job)
{
    if (job->err != SP_OK)
        fprintf(stderr, "%s\n", job->why);
    pthread_mutex_lock(&lock);
    free_slots[free_count++] = job->ctx;
    pthread_mutex_unlock(&lock);
    sem_post(&room);
}

static struct slot *take(enum sp_disk_op op, struct sp_storage *st)
{
    while (sem_wait(&room) != 0)
        continue;
    pthread_mutex_lock(&lock);
    struct slot *s = free_slots[--free_count];
    pthread_mutex_unlock(&lock);
    memset(&s->job, 0, sizeof(s->job));
    s->job.op = op;
    s->job.st = st;
    s->job.done = done;
    s->job.ctx = s;
    return s;
}

static void submit(struct sp_disk *d, struct sp_storage *st, enum sp_disk_op op, uint64_t off,
                   uint64_t len)
{
    struct slot *s = take(op, st);
    s->job.off = off;
    s->job.iov = s->iov;
    for (uint64_t left = len; left > 0; left -= s->iov[s->job.iov_count++].len)
        s->iov[s->job.iov_count].len = left < SP_BLOCK_LEN ? left : SP_BLOCK_LEN;
    sp_disk_submit(d, &s->job);
}

static void wait_for_all(void)
{
    for (int i = 0; i < IN_FLIGHT; i++) {
        while (sem_wait(&room) != 0)
            continue;
    }
    for (int i = 0; i < IN_FLIGHT; i++)
        sem_post(&room);
}

static double wall_at, cpu_at;

static void start(void)
{
    wall_at = seconds(CLOCK_MONOTONIC);
    cpu_at = seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static void report(const char *what, uint64_t len)
{
    double t = seconds(CLOCK_MONOTONIC) - wall_at;
    double c = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_at;
    printf("%-34s %6.0f MB/s  %.3f CPU s/GiB\n", what, (double)len / 1e6 / t,
           c / ((double)len / (1 << 30)));
}

static void forget(const char *dir, const struct sp_disk_file *files, uint32_t count)
{
    char path[512];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i].path);
        int fd = open(path, O_RDONLY);
        if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
            perror(path);
        close(fd);
    }
}

static void check(struct sp_disk *d, struct sp_storage *st, const char *what, uint64_t len)
{
    uint32_t pieces = (uint32_t)((len + PIECE_LEN - 1) / PIECE_LEN);
    uint8_t *state = calloc(pieces, 1);
    struct slot *s = take(SP_DISK_CHECK, st);
    s->job.piece_count = pieces;
    s->job.check.ret_state = state;
    start();
    sp_disk_submit(d, &s->job);
    wait_for_all();
    report(what, len);
    free(state);
}

static void reads(struct sp_disk *d, struct sp_storage *st, uint64_t len)
{
    uint64_t hot = 0;
    start();
    for (uint64_t off = 0; off + PIECE_LEN <= len; off += PIECE_LEN)
        submit(d, st, SP_DISK_READ, off, PIECE_LEN);
    wait_for_all();
    report("read, 1 MiB, after it", len);
    check(d, st, "check, hot", len);
    start();
    for (uint64_t off = 0; off + SP_BLOCK_LEN <= len; off += SP_BLOCK_LEN) {
        struct sp_iov iov = {slots[0].iov[0].ptr, SP_BLOCK_LEN};
        hot += sp_disk_try_read(st, off, &iov, 1) == SP_OK ? SP_BLOCK_LEN : 0;
    }
    report("try_read, 16 KiB", hot + 1);
}

static void round_of(const char *dir, uint64_t len, uint32_t file_count, bool no_direct)
{
    char(*names)[32] = calloc(file_count, sizeof(*names)), what[64];
    struct sp_disk_file *files = calloc(file_count, sizeof(*files));
    uint64_t each = len / file_count | (file_count > 1), sum = 0; /* odd: nothing lines up */
    struct sp_disk *d;
    struct sp_storage *st;

    for (uint32_t i = 0; i < file_count; i++, sum += each) {
        snprintf(names[i], sizeof(names[i]), "bench/%u", i);
        files[i] = (struct sp_disk_file){.path = names[i], .len = each, .wanted = true};
    }
    struct sp_storage_cfg cfg = {.dir = dir,
                                 .files = files,
                                 .file_count = file_count,
                                 .piece_len = PIECE_LEN,
                                 .total_len = sum};
    if (sp_disk_new(&(struct sp_disk_cfg){.no_direct = no_direct}, &d) != SP_OK ||
        sp_storage_new(d, &cfg, &st) != SP_OK)
        exit(1);
    submit(d, st, SP_DISK_OPEN, 0, 0);
    wait_for_all();

    start();
    for (uint64_t off = 0; off < sum; off += PIECE_LEN)
        submit(d, st, SP_DISK_WRITE, off, sum - off < PIECE_LEN ? sum - off : PIECE_LEN);
    wait_for_all();
    snprintf(what, sizeof(what), "write, %s, %u file(s)", no_direct ? "buffered" : "direct",
             file_count);
    report(what, sum);
    start();
    submit(d, st, SP_DISK_SYNC, 0, 0);
    wait_for_all();
    printf("%-34s %6.3f s\n", "sync, after it", seconds(CLOCK_MONOTONIC) - wall_at);
    forget(dir, files, file_count);
    check(d, st, no_direct ? "check, cold, buffered" : "check, cold, past the cache", sum);
    reads(d, st, sum);
    submit(d, st, SP_DISK_DELETE, 0, 0);
    wait_for_all();
    sp_storage_free(st);
    sp_disk_free(d);
    free(files);
    free(names);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : ".";
    uint64_t len = (uint64_t)(argc > 2 ? strtoull(argv[2], NULL, 10) : 1024) << 20;

    sem_init(&room, 0, 0);
    for (int i = 0; i < IN_FLIGHT; i++) {
        uint8_t *blocks = aligned_alloc(4096, PIECE_LEN);
        if (!blocks)
            return 1;
        memset(blocks, i + 1, PIECE_LEN);
        for (size_t k = 0; k < BLOCKS; k++) /* no two neighbours in memory, as a pool's blocks */
            slots[i].iov[k].ptr = blocks + k * 37 % BLOCKS * SP_BLOCK_LEN;
        free_slots[free_count++] = &slots[i];
        sem_post(&room);
    }
    round_of(dir, len, 1, false);
    round_of(dir, len, 300, false);
    round_of(dir, len, 1, true);
    return 0;
}
