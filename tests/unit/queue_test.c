/* Goal: core/base/queue.h and list.h, each against the plainest model. */
#include <stdlib.h>

#include "core/base/list.h"
#include "core/base/queue.h"
#include "core/base/rng.h"
#include "tests/unit/check.h"
#include "tests/unit/torture.h"

static struct torture torture;
static const struct sp_mem MEM = {torture_alloc, torture_free, &torture};

struct entry {
    uint32_t a, b;
};

static uint32_t *push(struct sp_queue *q, uint32_t a)
{
    struct entry *e = sp_queue_push(q, &MEM);
    if (!e)
        return NULL;
    CHECK_EQ(e->a, 0);
    CHECK_EQ(e->b, 0);
    *e = (struct entry){a, ~a};
    return &e->a;
}

static uint32_t at(const struct sp_queue *q, uint32_t ix)
{
    const struct entry *e = sp_queue_at(q, ix);
    CHECK_EQ(e->b, ~e->a);
    return e->a;
}

TEST(queue_is_first_in_first_out)
{
    struct sp_queue q = sp_queue_of(sizeof(struct entry), 100);
    torture = (struct torture){.until_failure = -1};
    for (uint32_t i = 0; i < 100; i++)
        CHECK(push(&q, i) != NULL);
    CHECK(push(&q, 100) == NULL); /* full */
    for (uint32_t i = 0; i < 100; i++) {
        CHECK_EQ(at(&q, 0), i);
        sp_queue_pop(&q);
    }
    CHECK_EQ(q.count, 0);
    sp_queue_done(&q, &MEM);
    CHECK_EQ(torture.live, 0);
}

TEST(queue_does_as_an_array_would)
{
    enum { MAX = 37 };
    struct sp_queue q = sp_queue_of(sizeof(struct entry), MAX);
    struct sp_rng rng = sp_rng_of(1);
    uint32_t model[MAX], count = 0, next = 0;

    torture = (struct torture){.until_failure = -1};
    for (int step = 0; step < 50000; step++) {
        uint64_t what = sp_rng_below(&rng, 10);
        if (what < 5) {
            CHECK_EQ(push(&q, next) != NULL, count < MAX);
            if (count < MAX)
                model[count++] = next;
            next++;
        } else if (count > 0) {
            uint32_t ix = what < 8 ? 0 : (uint32_t)sp_rng_below(&rng, count);
            sp_queue_remove(&q, ix);
            count--;
            memmove(model + ix, model + ix + 1, (count - ix) * sizeof(model[0]));
        }
        CHECK_EQ(q.count, count);
        for (uint32_t i = 0; i < count; i++)
            CHECK_EQ(at(&q, i), model[i]);
    }
    CHECK(q.cap <= 128); /* what was popped is used again */
    sp_queue_done(&q, &MEM);
    CHECK_EQ(torture.live, 0);
}

TEST(queue_without_memory_stays_as_it_is)
{
    struct sp_queue q = sp_queue_of(sizeof(struct entry), 1000);
    torture = (struct torture){.until_failure = 1};
    for (uint32_t i = 0; i < 8; i++)
        CHECK(push(&q, i) != NULL);
    CHECK(push(&q, 8) == NULL); /* would have to grow */
    CHECK_EQ(q.count, 8);
    torture.until_failure = -1;
    CHECK(push(&q, 8) != NULL);
    for (uint32_t i = 0; i < 9; i++)
        CHECK_EQ(at(&q, i), i);
    sp_queue_done(&q, &MEM);
    CHECK_EQ(torture.live, 0);
}

struct item {
    uint32_t name;
    struct sp_link link;
};

static void check_list(const struct sp_list *l, const uint32_t *model, uint32_t count)
{
    const struct sp_link *k = l->ends.next, *prev = &l->ends;
    CHECK_EQ(l->count, count);
    for (uint32_t i = 0; i < count; i++, prev = k, k = k->next) {
        CHECK(k != &l->ends && k->prev == prev);
        CHECK_EQ(
            ((const struct item *)(const void *)((const char *)k - offsetof(struct item, link)))
                ->name,
            model[i]);
    }
    CHECK(k == &l->ends && l->ends.prev == prev);
}

TEST(list_keeps_the_order_of_adding)
{
    enum { ITEMS = 12 };
    struct item items[ITEMS] = {0};
    struct sp_rng rng = sp_rng_of(2);
    struct sp_list l;
    uint32_t model[ITEMS], count = 0;

    sp_list_init(&l);
    CHECK(sp_list_pop(&l) == NULL);
    for (uint32_t i = 0; i < ITEMS; i++)
        items[i].name = i;
    for (int step = 0; step < 20000; step++) {
        uint32_t name = (uint32_t)sp_rng_below(&rng, ITEMS), ix = 0;
        while (ix < count && model[ix] != name)
            ix++;
        CHECK_EQ(sp_link_in(&items[name].link), ix < count);
        uint64_t what = sp_rng_below(&rng, 3);
        if (what == 0) { /* no effect when it is in */
            sp_list_add(&l, &items[name].link);
            if (ix == count)
                model[count++] = name;
        } else {
            if (what == 2 && count > 0)
                ix = 0;
            if (what == 1)
                sp_list_del(&l, &items[name].link); /* no effect when it is not */
            else
                CHECK_EQ(sp_list_pop(&l) != NULL, count > 0);
            if (ix < count) {
                count--;
                memmove(model + ix, model + ix + 1, (count - ix) * sizeof(model[0]));
            }
        }
        check_list(&l, model, count);
    }
}

int main(void)
{
    return check_run();
}
