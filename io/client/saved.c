/* The public listing of saved state. */
#include <string.h>

#include "io/store/store.h"
#include "spate/client.h"

struct listing {
    void (*each)(void *ctx, const struct sp_client_saved *row);
    void *ctx;
};

static void give(void *ctx, const struct sp_store_row *row)
{
    const struct listing *l = ctx;
    struct sp_client_saved saved = {
        .pieces = row->have,
        .piece_count = row->piece_count,
        .dir = row->dir,
        .downloaded_bytes = row->downloaded_bytes,
        .uploaded_bytes = row->uploaded_bytes,
        .saved_at = row->saved_at,
    };
    memcpy(saved.info_hash, row->info_hash, sizeof(saved.info_hash));
    l->each(l->ctx, &saved);
}

enum sp_err sp_client_list_state(const char *dir,
                                 void (*each)(void *ctx, const struct sp_client_saved *row),
                                 void *ctx, struct sp_diag *diag)
{
    struct listing l = {each, ctx};
    return sp_store_list(dir, give, &l, diag);
}
