/* transfer.h - one HTTP(S) download as libcurl's easy handle: what may be
 * connected to, how much may be gathered, and the reason in words.  Who drives
 * it (a loop, a blocking call) is not its matter.
 */
#ifndef SP_IO_TRANSFER_H
#define SP_IO_TRANSFER_H

#include <curl/curl.h>

#include "core/base/addr.h"
#include "core/proxy/proxy.h"

enum {
    SP_TRANSFER_REDIRECT_MAX = 5,
    SP_TRANSFER_HEAD_MAX = 256 << 10,   /* bytes of all headers, those of redirects included */
    SP_TRANSFER_CONNECT_MAX_MS = 15000, /* of resolving and connecting together, once a hop */
    SP_TRANSFER_WHY_LEN = 160,
};

/* A body that is handed on as it comes, instead of gathered. */
struct sp_transfer_head {
    int status;
    struct sp_slice content_range; /* empty: absent; valid during the call */
    uint64_t content_len;          /* UINT64_MAX: not told */
    uint32_t retry_after_s;        /* 0: not told */
};

struct sp_transfer_stream {
    void (*head)(void *ctx, const struct sp_transfer_head *head); /* before the body */
    /* false: not now; given again, with what follows, after sp_transfer_resume */
    bool (*body)(void *ctx, struct sp_slice bytes);
    void *ctx;
    bool has_range;
    uint64_t from, to; /* has_range: bytes [from, to) are asked for */
};

struct sp_transfer_cfg {
    const char *url;                  /* all strings are copied by curl */
    const char *user_agent;           /* NULL: none is sent */
    const char *ca_file;              /* NULL: the system's */
    const char *interface;            /* device or local address; NULL: any */
    const struct sp_proxy_url *proxy; /* NULL: none.  family is left to it */
    uint32_t timeout_ms;              /* of the whole; 0: none */
    uint32_t connect_ms;              /* 0: SP_TRANSFER_CONNECT_MAX_MS */
    size_t body_max;                  /* bytes after decompression */
    uint8_t family;                   /* 4, 6 or 0: either */
    bool allow_local;                 /* the address in url may be private or loopback */
    /* NULL: gathered.  Else the body comes as the server has it, no limit of
     * length or time holds but the receiver's.  Copied. */
    const struct sp_transfer_stream *stream;
};

struct sp_transfer {
    CURL *easy;
    uint8_t *body;
    size_t len, cap, max; /* bytes */
    size_t head_len;      /* bytes of headers so far */
    enum sp_scope reach;  /* the most local scope it may go to: falls with each hop */
    uint32_t timeout_ms, connect_ms;
    uint8_t family;
    bool is_proxied;
    bool too_large, no_memory;
    bool is_stream, head_told;
    struct sp_transfer_stream stream;
    char content_range[80];            /* of the last head */
    char refused[SP_TRANSFER_WHY_LEN]; /* why an address was not connected to; "": none */
    char curl_says[CURL_ERROR_SIZE];
};

/* curl_global_init, once in a process.  SP_ENOMEM */
SP_MUST_USE enum sp_err sp_transfer_global(void);
/* Does it begin with http:// or https:// ? */
bool sp_transfer_takes(const char *url);
/* Made ready to be given to a multi handle; t must not move until done.
 * SP_ENOMEM   SP_EDATA no http or https URL   SP_EINVAL interface, ca_file */
SP_MUST_USE enum sp_err sp_transfer_init(struct sp_transfer *t, const struct sp_transfer_cfg *cfg);
/* The body may go on; calls stream.body, maybe from in here. */
void sp_transfer_resume(struct sp_transfer *t);
/* Takes a zeroed one. */
void sp_transfer_done(struct sp_transfer *t);
/* The answer's status, or 0 with the reason: one printable line.
 * SP_OK   SP_ELIMIT larger than body_max   SP_ETIMEOUT   SP_ENOMEM   SP_ENET */
enum sp_err sp_transfer_judge(struct sp_transfer *t, CURLcode code, int *ret_status,
                              char ret_why[SP_TRANSFER_WHY_LEN]);
/* "2 MiB", "1000 bytes" */
void sp_transfer_size_text(size_t bytes, char ret_text[32]);

#endif
