/* spate __state: what the saved state claims */
#include "apps/cmd.h"
#include "apps/json.h"
#include "spate/client.h"

#include <stdlib.h>

static void put_row(void *ctx, const struct sp_client_saved *row)
{
    struct str *out = ctx;
    struct json json;

    json_init(&json, out);
    json_open(&json, NULL, '{');
    json_hex(&json, "info_hash", row->info_hash, sizeof(row->info_hash));
    json_hex(&json, "pieces", row->pieces, ((size_t)row->piece_count + 7) / 8);
    json_uint(&json, "piece_count", row->piece_count);
    json_text(&json, "dir", row->dir);
    json_uint(&json, "downloaded", row->downloaded_bytes);
    json_uint(&json, "uploaded", row->uploaded_bytes);
    json_int(&json, "saved_at", row->saved_at);
    json_close(&json, '}');
    json_end_line(&json);
}

int cmd_state(const struct opts *opts)
{
    char *dir = opts_has(opts, OPT_STATE) ? text_copy(opts->value[OPT_STATE].text)
                                          : cmd_default_state_dir();
    struct sp_diag diag = {0};
    struct str out = {0};
    enum sp_err err = dir ? sp_client_list_state(dir, put_row, &out, &diag) : SP_ENOENT;
    /* Rows that are good are shown even when others are not. */
    int printed = cmd_print(opts, &out);
    int code = err == SP_OK || err == SP_ENOENT ? printed : cmd_failed(opts, dir, err, &diag);

    str_done(&out);
    free(dir);
    return code;
}
