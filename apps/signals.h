/* signals.h - Ctrl-C once and twice, and a window that changed its size.
 *
 * The first SIGINT, SIGTERM or SIGHUP is told to whoever asks; the second
 * ends the process at once, with 130, whatever it is doing.
 */
#ifndef SPATE_APPS_SIGNALS_H
#define SPATE_APPS_SIGNALS_H

#include "spate/types.h"

/* From now on; may be called again. */
void signals_install(void);
/* Polls readable after a signal, until signals_came is asked. */
int signals_fd(void);
/* Whether one of the three came. */
bool signals_came(void);
/* The same as a flag that long calls look at (sp_fetch_url). */
const volatile bool *signals_flag(void);

#endif
