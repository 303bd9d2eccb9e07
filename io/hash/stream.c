#include <openssl/evp.h>
#include <pthread.h>

#include "io/hash/hash.h"

/* Fetched once: a fetch at each use costs three times a short message.  NULL
 * where a policy refuses SHA-1: the core's own does the work there. */
static EVP_MD *sha1_md;
static pthread_once_t sha1_once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    sha1_md = EVP_MD_fetch(NULL, "SHA1", NULL);
}

enum sp_err sp_hash_stream_init(struct sp_hash_stream *s)
{
    EVP_MD_CTX *ctx = NULL;

    pthread_once(&sha1_once, fetch);
    if (sha1_md) {
        ctx = EVP_MD_CTX_new();
        if (!ctx)
            return SP_ENOMEM;
        if (!EVP_DigestInit_ex(ctx, sha1_md, NULL)) {
            EVP_MD_CTX_free(ctx);
            ctx = NULL;
        }
    }
    s->ctx = ctx;
    sp_sha1_init(&s->plain);
    return SP_OK;
}

/* Update and Final of an initialised digest fail only when an engine does;
 * none is used. */
void sp_hash_stream_add(struct sp_hash_stream *s, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    if (s->ctx)
        EVP_DigestUpdate(s->ctx, bytes, len);
    else
        sp_sha1_add(&s->plain, bytes, len);
}

void sp_hash_stream_end(struct sp_hash_stream *s, uint8_t ret_digest[SP_SHA1_LEN])
{
    if (s->ctx) {
        EVP_DigestFinal_ex(s->ctx, ret_digest, NULL);
        EVP_DigestInit_ex(s->ctx, NULL, NULL);
    } else {
        sp_sha1_end(&s->plain, ret_digest);
        sp_sha1_init(&s->plain);
    }
}

void sp_hash_stream_done(struct sp_hash_stream *s)
{
    EVP_MD_CTX_free(s->ctx);
    s->ctx = NULL;
}
