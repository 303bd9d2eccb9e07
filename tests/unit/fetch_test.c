/* sp_fetch_url: blocking downloads of what the user named. */
#include "check.h"
#include "spate/client.h"
#include "web.h"

enum { MAX = 100000 };

static enum sp_err fetch(const char *url, const volatile bool *cancel, size_t *ret_len,
                         struct sp_diag *diag)
{
    uint8_t *bytes = NULL;
    enum sp_err err = sp_fetch_url(url, MAX, cancel, &bytes, ret_len, diag);
    CHECK_EQ(bytes != NULL, err == SP_OK);
    sp_bytes_free(bytes);
    return err;
}

static void expect(const char *url, enum sp_err want, size_t want_len, const char *why)
{
    struct sp_diag diag = {0};
    size_t len = 0;
    enum sp_err err = fetch(url, NULL, &len, &diag);

    CHECK_EQ(err, want);
    CHECK_EQ(len, want_len);
    CHECK_EQ(diag.err, want);
    if (!strstr(diag.text, why)) {
        CHECK(false && "reason");
        printf("# got \"%s\", not \"%s\"\n", diag.text, why);
    }
}

TEST(fetches_and_says_why_not)
{
    expect(web_url("127.0.0.1", "/ok"), SP_OK, 5, "");
    CHECK(strstr(web_last_request, "User-Agent: Spate/") != NULL);
    expect(web_url("home.test", "/empty"), SP_OK, 0, "");
    expect(web_url("127.0.0.1", "/hops/5"), SP_OK, 5, "");
    expect(web_url("127.0.0.1", "/gzip/100000"), SP_OK, MAX, "");
    expect(web_url("127.0.0.1", "/gzip/67108864"), SP_ELIMIT, 0, "larger than 100000 bytes");
    expect(web_url("127.0.0.1", "/endless"), SP_ELIMIT, 0, "larger than");
    expect(web_url("127.0.0.1", "/404"), SP_ENET, 0, "answers 404: not found");
    expect(web_url("127.0.0.1", "/loop"), SP_ENET, 0, "too many redirects");
    expect(web_url("127.0.0.1", "/to/file:///etc/passwd"), SP_ENET, 0, "neither http nor https");
    expect(web_url("127.0.0.1", "/short"), SP_ENET, 0, "ends early");
    expect("http://127.0.0.1:1/", SP_ENET, 0, "connection refused");
    expect("file:///etc/passwd", SP_ENET, 0, "not an http or https URL");
    expect("http://", SP_ENET, 0, "URL");
    expect("", SP_ENET, 0, "URL");
}

TEST(a_public_page_leads_to_no_local_one)
{
    char path[300];

    if (!web.has_global) {
        printf("# skipped: no network namespace\n");
        return;
    }
    snprintf(path, sizeof(path), "/to/%s", web_url("127.0.0.1", "/ok"));
    expect(web_url(WEB_GLOBAL, "/ok"), SP_OK, 5, "");
    expect(web_url(WEB_GLOBAL, path), SP_ENET, 0, "the address is of this machine: 127.0.0.1");
    expect(web_url("127.0.0.1", path), SP_OK, 5, "");
}

static volatile bool canceled;

static void *cancel_soon(void *ctx)
{
    (void)ctx;
    web_sleep(150);
    __atomic_store_n(&canceled, true, __ATOMIC_RELAXED);
    return NULL;
}

/* Whatever it waits for: an answer, more of it, a name. */
TEST(canceled_within_200_ms)
{
    const char *const URLS[] = {web_url("127.0.0.1", "/silent"), web_url("127.0.0.1", "/stuck"),
                                web_url("slow.test", "/ok")};
    for (size_t i = 0; i < SP_COUNT(URLS); i++) {
        struct sp_diag diag = {0};
        pthread_t thread;
        size_t len = 7;
        double before = web_now();

        canceled = false;
        pthread_create(&thread, NULL, cancel_soon, NULL);
        CHECK_EQ(fetch(URLS[i], &canceled, &len, &diag), SP_ECANCELED);
        CHECK(web_now() - before < 0.15 + 0.2 + 0.1);
        CHECK_EQ(len, 7);
        pthread_join(thread, NULL);
    }
    web_sleep(3200); /* the resolver's thread ends, or a leak would be seen */
}

int main(void)
{
    web_start();
    int rc = check_run();
    web_end();
    return rc;
}
