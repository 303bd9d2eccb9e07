/* docs.h - manual pages and shell completions, drawn from the option table. */
#ifndef SPATE_APPS_DOCS_H
#define SPATE_APPS_DOCS_H

#include <stdio.h>

#include "apps/options.h"

/* scdoc sources: spate(1), and spate-COMMAND(1). */
void docs_man(FILE *out);
void docs_man_cmd(FILE *out, enum cmd_id cmd);
void docs_bash(FILE *out);
void docs_zsh(FILE *out);
void docs_fish(FILE *out);

#endif
