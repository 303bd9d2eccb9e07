/* lab.h - a swarm of two on this machine, for demo and bench: data in a
 * temporary directory, a torrent of it, and a client that seeds it. */
#ifndef SPATE_APPS_LAB_H
#define SPATE_APPS_LAB_H

#include "apps/cmd.h"
#include "spate/client.h"

struct lab {
    const struct opts *opts;
    char *dir;     /* removed by lab_done, with all that is in it */
    char *data;    /* dir/seed: holds NAME */
    char *copy;    /* dir/get */
    char *torrent; /* dir/NAME.torrent */
    struct sp_metainfo *mi;
    struct sp_client *seeder;
    char peer[SP_HOST_TEXT_LEN]; /* where it listens */
};

/* The name of the data below lab->data. */
#define LAB_NAME "spate-lab"

/* Each gives an enum exit_code and says what went wrong; EXIT_INTERRUPTED
 * after a signal. */
int lab_init(struct lab *lab, const struct opts *opts, const char *parent);
/* size bytes in one large file, and some small ones beside it. */
int lab_make_data(struct lab *lab, uint64_t size);
int lab_make_torrent(struct lab *lab);
int lab_seed(struct lab *lab);
/* Byte by byte: EXIT_INCOMPLETE when the copy differs. */
int lab_compare(struct lab *lab);
void lab_done(struct lab *lab);

/* Options of the one who downloads it, borrowed from opts and lab. */
struct lab_opts {
    struct opts opts;
    const char *peers[1], *listens[1];
};
void lab_opts_init(struct lab_opts *ret_opts, const struct lab *lab, uint64_t down_Bps,
                   bool is_quiet);

#endif
