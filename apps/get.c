/* spate get SRC... */
#include "apps/signals.h"
#include "apps/transfer.h"
#include "spate/magnet.h"

#include <string.h>

/* A magnet that is malformed is bad input; a good one is merely too early. */
static int refuse_magnet(const struct opts *opts, const char *src)
{
    struct sp_slice text = {(const uint8_t *)src, strlen(src)};
    struct sp_magnet *magnet = NULL;
    struct sp_diag diag = {0};
    enum sp_err err = sp_magnet_parse(&cmd_mem, text, &magnet, &diag);

    if (err != SP_OK)
        return cmd_failed(opts, src, err, &diag);
    sp_magnet_free(magnet);
    cmd_error(opts, "%s: downloading from a magnet is not supported yet: give the torrent file",
              src);
    return EXIT_FAILED;
}

int cmd_get(const struct opts *opts)
{
    const char *dir = opts_has(opts, OPT_DIR) ? opts->value[OPT_DIR].text : ".";
    struct transfer t;
    int code = EXIT_DONE;

    signals_install();
    transfer_init(&t, opts, TRANSFER_GET);
    for (uint32_t i = 0; i < opts->operand_count && code == EXIT_DONE; i++) {
        const char *src = opts->operands[i];
        code = cmd_is_magnet(src) ? refuse_magnet(opts, src) : transfer_load(&t, src);
    }
    if (code == EXIT_DONE)
        code = transfer_start(&t, dir);
    if (code == EXIT_DONE)
        code = transfer_run(&t);
    transfer_done(&t);
    return code;
}
