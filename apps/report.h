/* report.h - what a transfer says while it runs: in place on a terminal, a
 * line now and then elsewhere, objects with --json, nothing with --quiet. */
#ifndef SPATE_APPS_REPORT_H
#define SPATE_APPS_REPORT_H

#include "apps/transfer.h"

struct report;

struct report *report_new(const struct transfer *t);
/* Takes the progress away and waits a little for what is still unwritten. */
void report_free(struct report *report);

/* Something happened: event is its name for programs ("added", "checked",
 * "complete", "error", ...).  torrent may be NULL, text as well.  line is what
 * people read, NULL: nothing. */
void report_event(struct report *report, const struct transfer_torrent *torrent, const char *event,
                  const char *text, const char *line);
/* The same for what went wrong: people read it on standard error. */
void report_error(struct report *report, const struct transfer_torrent *torrent, const char *event,
                  const char *text, const char *line);
/* How things stand; as often as the caller likes. */
void report_progress(struct report *report);
/* The closing table. */
void report_summary(struct report *report);

#endif
