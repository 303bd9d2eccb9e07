/* spate-docs man [COMMAND] | bash | zsh | fish - run at build time, writes to
 * standard output. */
#include "apps/docs.h"

#include <string.h>

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "man") == 0 && argc == 2)
        docs_man(stdout);
    else if (strcmp(what, "man") == 0 && argc == 3 && opts_find_cmd(argv[2]) < CMD_HELP)
        docs_man_cmd(stdout, opts_find_cmd(argv[2]));
    else if (strcmp(what, "bash") == 0)
        docs_bash(stdout);
    else if (strcmp(what, "zsh") == 0)
        docs_zsh(stdout);
    else if (strcmp(what, "fish") == 0)
        docs_fish(stdout);
    else
        return 2;
    return fflush(stdout) != 0;
}
