/* spate magnet FILE */
#include "apps/cmd.h"
#include "apps/json.h"

#include <stdlib.h>

int cmd_magnet(const struct opts *opts)
{
    struct loaded torrent = {0};
    struct str out = {0};
    int code = cmd_load(opts, opts->operands[0], NULL, &torrent);
    char *magnet;

    if (code != EXIT_DONE)
        return code;
    magnet = cmd_magnet_of(torrent.mi);
    if (opts_has(opts, OPT_JSON)) {
        struct json json;
        json_init(&json, &out);
        json_open(&json, NULL, '{');
        json_text(&json, "magnet", magnet);
        json_close(&json, '}');
        json_end_line(&json);
    } else {
        str_fmt(&out, "%s\n", magnet);
    }
    code = cmd_print(opts, &out);
    free(magnet);
    str_done(&out);
    sp_metainfo_free(torrent.mi);
    return code;
}
