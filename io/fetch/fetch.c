/* sp_fetch_url of client.h: one download that the calling thread waits for. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/blocking.h"
#include "io/http/transfer.h"
#include "spate/client.h"
#include "spate/version.h"

enum {
    TIMEOUT_MS = 120000, /* of the whole: the user waits and can interrupt */
    LOOK_MS = 100,       /* how often *cancel is looked at */
};

/* ---- SIGPIPE: the program may not ignore it, and TLS libraries write ---- */

struct pipe_guard {
    sigset_t before;
    bool was_pending;
};

static void guard_begin(struct pipe_guard *g)
{
    sigset_t pipe, pending;

    sigpending(&pending);
    g->was_pending = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &g->before);
}

static void guard_end(struct pipe_guard *g)
{
    const struct timespec at_once = {0};
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!g->was_pending)
        (void)sigtimedwait(&pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}

/* ---- the download ---- */

static bool is_canceled(const volatile bool *cancel)
{
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

/* Until it ends or is canceled (SP_ECANCELED); SP_OK: ret_code says how. */
static enum sp_err drive(CURLM *multi, const volatile bool *cancel, CURLcode *ret_code)
{
    for (;;) {
        int running = 0, left;
        if (is_canceled(cancel))
            return SP_ECANCELED;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return SP_ENOMEM;
        CURLMsg *msg = curl_multi_info_read(multi, &left);
        if (msg && msg->msg == CURLMSG_DONE) {
            *ret_code = msg->data.result;
            return SP_OK;
        }
        if (curl_multi_poll(multi, NULL, 0, LOOK_MS, NULL) != CURLM_OK)
            return SP_ENOMEM;
    }
}

static enum sp_err run(struct sp_transfer *t, const volatile bool *cancel, struct sp_diag *diag)
{
    char why[SP_TRANSFER_WHY_LEN];
    CURLcode code = CURLE_OK;
    int status = 0;
    CURLM *multi = curl_multi_init();

    if (!multi || curl_multi_add_handle(multi, t->easy) != CURLM_OK) {
        curl_multi_cleanup(multi);
        return sp_diag_set(diag, SP_ENOMEM, 0, "out of memory");
    }
    enum sp_err err = drive(multi, cancel, &code);
    if (err == SP_OK)
        err = sp_transfer_judge(t, code, &status, why);
    else
        snprintf(why, sizeof(why), "%s", err == SP_ECANCELED ? "canceled" : "out of memory");
    if (err == SP_OK && (status < 200 || status > 299)) {
        snprintf(why, sizeof(why), "the server answers %d%s", status,
                 status == 404   ? ": not found"
                 : status == 403 ? ": forbidden"
                 : status == 401 ? ": a password is needed"
                                 : "");
        err = SP_ENET;
    }
    curl_multi_remove_handle(multi, t->easy);
    curl_multi_cleanup(multi);
    if (err == SP_ETIMEOUT)
        err = SP_ENET;
    return err == SP_OK ? SP_OK : sp_diag_set(diag, err, 0, why);
}

struct way {
    struct sp_proxy_url proxy;
    const char *interface;
};

static enum sp_err fetch(const char *url, const struct way *way, size_t max_bytes,
                         const volatile bool *cancel, struct sp_transfer *t, struct sp_diag *diag)
{
    const struct sp_transfer_cfg cfg = {
        .url = url,
        .user_agent = "Spate/" SP_VERSION,
        .timeout_ms = TIMEOUT_MS,
        .body_max = max_bytes,
        .proxy = way->proxy.kind == SP_PROXY_NONE ? NULL : &way->proxy,
        .interface = way->interface,
        .allow_local = true, /* the user named it */
    };
    enum sp_err err = sp_transfer_global();

    if (err == SP_OK)
        err = sp_transfer_init(t, &cfg);
    if (err == SP_EDATA)
        return sp_diag_set(diag, SP_ENET, 0, "not an http or https URL");
    if (err == SP_EINVAL)
        return sp_diag_set(diag, err, 0, "the interface cannot be used");
    if (err != SP_OK)
        return sp_diag_set(diag, err, 0, "out of memory");
    return run(t, cancel, diag);
}

static enum sp_err take_proxy(const char *text, struct sp_proxy_url *ret, struct sp_diag *diag)
{
    const char *why = NULL;
    char line[sizeof(diag->text)];

    if (!text ||
        sp_proxy_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, ret, &why) == SP_OK)
        return SP_OK;
    snprintf(line, sizeof(line), "proxy: %s", why);
    return sp_diag_set(diag, SP_EINVAL, 0, line);
}

enum sp_err sp_fetch_url(const char *url, size_t max_bytes, const volatile bool *cancel,
                         uint8_t **ret_bytes, size_t *ret_len, struct sp_diag *diag)
{
    return sp_fetch_url_through(url, NULL, NULL, max_bytes, cancel, ret_bytes, ret_len, diag);
}

enum sp_err sp_fetch_url_through(const char *url, const char *proxy, const char *interface,
                                 size_t max_bytes, const volatile bool *cancel, uint8_t **ret_bytes,
                                 size_t *ret_len, struct sp_diag *diag)
{
    struct pipe_guard guard;
    struct sp_transfer t = {0};
    struct way way = {.interface = interface};

    sp_may_block("sp_fetch_url");
    enum sp_err err = take_proxy(proxy, &way.proxy, diag);
    if (err != SP_OK)
        return err;
    guard_begin(&guard);
    err = fetch(url, &way, max_bytes, cancel, &t, diag);
    /* An empty body has bytes too: something that can be freed. */
    if (err == SP_OK && !t.body && !(t.body = malloc(1)))
        err = sp_diag_set(diag, SP_ENOMEM, 0, "out of memory");
    if (err == SP_OK) {
        *ret_bytes = t.body;
        *ret_len = t.len;
        t.body = NULL;
    }
    sp_transfer_done(&t);
    guard_end(&guard);
    return err;
}

void sp_bytes_free(uint8_t *bytes)
{
    free(bytes);
}
