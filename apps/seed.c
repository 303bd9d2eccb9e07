/* spate seed TORRENT... */
#include "apps/signals.h"
#include "apps/transfer.h"

int cmd_seed(const struct opts *opts)
{
    const char *dir = cmd_dir(opts);
    struct transfer t;
    int code = EXIT_DONE;

    if (!dir)
        return EXIT_USAGE;
    signals_install();
    transfer_init(&t, opts, TRANSFER_SEED);
    for (uint32_t i = 0; i < opts->operand_count && code == EXIT_DONE; i++) {
        if (cmd_is_magnet(opts->operands[i])) {
            cmd_error(opts, "%s: a magnet cannot be seeded: give the torrent file",
                      opts->operands[i]);
            code = EXIT_USAGE;
        } else {
            code = transfer_load(&t, opts->operands[i]);
        }
    }
    if (code == EXIT_DONE)
        code = transfer_start(&t, dir);
    if (code == EXIT_DONE)
        code = transfer_run(&t);
    transfer_done(&t);
    return code;
}
