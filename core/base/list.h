/* list.h - a doubly linked list through members of its entries, in order of
 * adding.  An entry is in at most one list per link; zeroed is "in none". */
#ifndef SP_BASE_LIST_H
#define SP_BASE_LIST_H

#include <assert.h>

#include "core/base/mem.h"

struct sp_link {
    struct sp_link *next, *prev; /* NULL: in no list */
};

struct sp_list {
    struct sp_link ends; /* next: first entry, prev: last one */
    uint32_t count;
};

static inline void sp_list_init(struct sp_list *l)
{
    l->ends.next = l->ends.prev = &l->ends;
    l->count = 0;
}

static inline bool sp_link_in(const struct sp_link *k)
{
    return k->next != NULL;
}

/* No effect when it is in a list already. */
static inline void sp_list_add(struct sp_list *l, struct sp_link *k)
{
    if (sp_link_in(k))
        return;
    k->prev = l->ends.prev;
    k->next = &l->ends;
    k->prev->next = k;
    k->next->prev = k;
    l->count++;
}

/* No effect when it is in none; l is the list it is in. */
static inline void sp_list_del(struct sp_list *l, struct sp_link *k)
{
    if (!sp_link_in(k))
        return;
    k->prev->next = k->next;
    k->next->prev = k->prev;
    k->next = k->prev = NULL;
    assert(l->count > 0);
    l->count--;
}

/* Takes out the first entry; NULL when empty. */
static inline struct sp_link *sp_list_pop(struct sp_list *l)
{
    if (l->count == 0)
        return NULL;
    struct sp_link *k = l->ends.next;
    sp_list_del(l, k);
    return k;
}

#endif
