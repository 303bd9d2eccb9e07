/* Requests of the session to web seeds, on io/http: one at a time for each of
 * its connections. */
#include <stdlib.h>

#include "io/http/transfer.h"
#include "io/reactor/reactor.h"

struct fetch {
    struct sp_link link; /* r->webs */
    struct sp_reactor *r;
    struct sp_conn *conn;
    uint32_t id; /* of the transfer; 0: none */
};

static void stop(struct fetch *f)
{
    if (f->id)
        sp_http_cancel(f->r->http, f->id);
    f->id = 0;
}

static void drop(struct fetch *f)
{
    stop(f);
    sp_list_del(&f->r->webs, &f->link);
    free(f);
}

/* What these make the session want is done at the end of the turn: no
 * transfer is begun or cancelled while curl calls. */
static void on_head(void *ctx, const struct sp_transfer_head *head)
{
    struct fetch *f = ctx;
    const struct sp_web_head told = {.status = head->status,
                                     .content_range = head->content_range,
                                     .content_len = head->content_len,
                                     .retry_after_s = head->retry_after_s};
    sp_web_answered(f->conn, &told, sp_reactor_now(f->r));
}

static bool on_body(void *ctx, struct sp_slice bytes)
{
    struct fetch *f = ctx;
    return sp_web_body(f->conn, bytes, sp_reactor_now(f->r));
}

static void on_done(void *ctx, uint32_t id, const struct sp_http_result *result)
{
    struct fetch *f = ctx;
    (void)id;
    f->id = 0;
    sp_web_ended(f->conn, result->status ? NULL : result->why, sp_reactor_now(f->r));
}

static struct fetch *fetch_of(struct sp_reactor *r, const struct sp_effect *fx)
{
    struct fetch *f = fx->user;
    if (f || !fx->conn)
        return f;
    f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->r = r;
    f->conn = fx->conn;
    sp_list_add(&r->webs, &f->link);
    sp_conn_set_user(fx->conn, f);
    return f;
}

static void get(struct fetch *f, struct sp_conn *c, const struct sp_web_action *a)
{
    struct sp_reactor *r = f->r;
    const struct sp_transfer_stream stream = {.head = on_head,
                                              .body = on_body,
                                              .ctx = f,
                                              .has_range = a->has_range,
                                              .from = a->from,
                                              .to = a->to};
    const struct sp_http_get ask = {.url = a->url,
                                    .body_max = SP_TRANSFER_HEAD_MAX, /* a redirect's */
                                    .allow_local = a->allow_local,
                                    .stream = &stream,
                                    .done = on_done,
                                    .ctx = f};
    stop(f);
    enum sp_err err = sp_http_start(r->http, &ask, &f->id);
    if (err != SP_OK)
        sp_web_ended(c, err == SP_EDATA ? "not a valid URL" : sp_err_text(err), sp_reactor_now(r));
}

void sp_web_do(struct sp_reactor *r, const struct sp_effect *fx)
{
    struct fetch *f = fetch_of(r, fx);

    if (!f && fx->conn && fx->web.kind == SP_WEB_GET)
        sp_web_ended(fx->conn, sp_err_text(SP_ENOMEM), sp_reactor_now(r));
    if (!f)
        return;
    switch (fx->web.kind) {
    case SP_WEB_GET:
        get(f, fx->conn, &fx->web);
        break;
    case SP_WEB_RESUME:
        if (f->id)
            sp_http_resume(r->http, f->id);
        break;
    case SP_WEB_STOP:
        stop(f);
        break;
    case SP_WEB_CLOSE:
        drop(f);
        break;
    }
}

void sp_web_close_all(struct sp_reactor *r)
{
    while (r->webs.count)
        drop(SP_CONTAINER(r->webs.ends.next, struct fetch, link));
}
