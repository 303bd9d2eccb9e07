/* Lists of addresses that are not to be talked to: read on the caller's
 * thread, then shared by the reactors, which let go of the one before. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ipfilter/ipfilter.h"
#include "io/base/blocking.h"
#include "io/client/impl.h"
#include "io/client/memory.h"

enum { FILE_MAX = 1 << 30 };

struct sp_filter {
    struct sp_ipfilter *list;
    atomic_uint refs; /* one a reactor */
};

void sp_filter_unref(struct sp_filter *f)
{
    if (!f || atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    sp_ipfilter_free(f->list);
    free(f);
}

/* ---- reading ---- */

static enum sp_err read_stream(FILE *file, uint8_t **ret_bytes, size_t *ret_len)
{
    uint8_t *bytes = NULL;
    size_t len = 0, cap = 0;

    for (;;) {
        if (len == cap) {
            cap = cap ? cap * 2 : 65536;
            uint8_t *more = cap <= FILE_MAX ? realloc(bytes, cap) : NULL;
            if (!more) {
                free(bytes);
                return SP_ENOMEM;
            }
            bytes = more;
        }
        size_t n = fread(bytes + len, 1, cap - len, file);
        len += n;
        if (n == 0)
            break;
    }
    if (ferror(file)) {
        free(bytes);
        return SP_EIO;
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return SP_OK;
}

static enum sp_err read_list(struct sp_ipfilter *list, const char *path, struct sp_diag *diag)
{
    struct sp_diag inner = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    FILE *file = fopen(path, "rbe");

    if (!file)
        return sp_client_say(diag, errno == ENOENT ? SP_ENOENT : SP_EIO, "%.100s: %s", path,
                             strerror(errno));
    enum sp_err err = read_stream(file, &bytes, &len);
    fclose(file);
    if (err != SP_OK)
        return sp_client_say(diag, err, "%.100s: %s", path, sp_err_text(err));
    err = sp_ipfilter_read(list, (struct sp_slice){bytes, len}, &inner);
    free(bytes);
    return err == SP_OK ? SP_OK : sp_client_say(diag, err, "%.100s: %s", path, inner.text);
}

static enum sp_err read_all(const char *const *paths, uint32_t count, struct sp_ipfilter **ret,
                            struct sp_diag *diag)
{
    struct sp_ipfilter *list = NULL;
    enum sp_err err = sp_ipfilter_new(sp_mem_libc(), &list);

    for (uint32_t i = 0; err == SP_OK && i < count; i++)
        err = read_list(list, paths[i], diag);
    if (err == SP_OK)
        err = sp_ipfilter_seal(list);
    if (err == SP_ENOMEM)
        sp_client_say(diag, err, "ip filter: %s", sp_err_text(err));
    if (err != SP_OK) {
        sp_ipfilter_free(list);
        return err;
    }
    *ret = list;
    return SP_OK;
}

/* ---- handing it to the reactors ---- */

struct change {
    struct sp_post post;
    struct sp_filter *filter;
};

static void run_change(struct sp_reactor *r, struct sp_post *post)
{
    struct change *c = SP_CONTAINER(post, struct change, post);
    struct sp_filter *before = r->filter;

    r->filter = c->filter;
    sp_session_set_filter(r->session, c->filter->list, sp_reactor_now(r));
    sp_filter_unref(before);
    free(c);
}

enum sp_err sp_client_set_ip_filter(struct sp_client *cl, const char *const *paths, uint32_t count,
                                    struct sp_diag *diag)
{
    uint32_t n = cl->reactor_count;
    struct sp_filter *f = calloc(1, sizeof(*f));
    struct change *changes[REACTORS_MAX] = {NULL};
    bool all = f != NULL;

    sp_may_block("sp_client_set_ip_filter");
    for (uint32_t i = 0; all && i < n; i++)
        all = (changes[i] = calloc(1, sizeof(*changes[i]))) != NULL;
    enum sp_err err = all ? read_all(paths, count, &f->list, diag)
                          : sp_client_say(diag, SP_ENOMEM, "ip filter: %s", sp_err_text(SP_ENOMEM));
    if (err != SP_OK) {
        for (uint32_t i = 0; i < n; i++)
            free(changes[i]);
        free(f);
        return err;
    }
    atomic_init(&f->refs, n);
    for (uint32_t i = 0; i < n; i++) {
        changes[i]->post.run = run_change;
        changes[i]->filter = f;
        sp_reactor_post(cl->reactors[i], &changes[i]->post);
    }
    return SP_OK;
}
