/* spate get SRC... */
#include "apps/metadata.h"
#include "apps/signals.h"
#include "apps/transfer.h"

int cmd_get(const struct opts *opts)
{
    const char *dir = opts_has(opts, OPT_DIR) ? opts->value[OPT_DIR].text : ".";
    struct transfer t;
    int code = EXIT_DONE;

    signals_install();
    transfer_init(&t, opts, TRANSFER_GET);
    for (uint32_t i = 0; i < opts->operand_count && code == EXIT_DONE; i++) {
        const char *src = opts->operands[i];
        code = cmd_is_magnet(src) ? metadata_load(&t, src) : transfer_load(&t, src);
    }
    if (code == EXIT_DONE)
        code = transfer_start(&t, dir);
    if (code == EXIT_DONE)
        code = transfer_run(&t);
    transfer_done(&t);
    return code;
}
