/* metadata.h - torrents of a transfer that come from magnets. */
#ifndef SPATE_APPS_METADATA_H
#define SPATE_APPS_METADATA_H

#include "apps/transfer.h"
#include "spate/magnet.h"

/* As transfer_load, for "magnet:?...".  One of a version 2 torrent alone is
 * EXIT_BAD_INPUT for now. */
int metadata_load(struct transfer *t, const char *src);
/* The files of --select; NULL: all of them.  To be given to free. */
struct sp_file_range *metadata_ranges(const struct opts *opts, uint32_t *ret_count);
/* SP_EV_METADATA: the torrent is like one of a torrent file from here on. */
void metadata_came(struct transfer *t, struct transfer_torrent *torrent);

#endif
