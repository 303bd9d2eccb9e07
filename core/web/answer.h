/* answer.h - what a web server's answer means for what was asked of it. */
#ifndef SP_WEB_ANSWER_H
#define SP_WEB_ANSWER_H

#include "spate/err.h"
#include "spate/metainfo.h"

enum { SP_WEB_RETRY_MAX_S = 3600 }; /* a server's word on when to come again is taken up to this */

/* "bytes 0-499/1234", the total may be "*". */
struct sp_web_range {
    uint64_t first, last; /* bytes; first <= last */
    uint64_t total;       /* bytes of the file; UINT64_MAX: not told */
};

/* Content-Range of a 206 (RFC 9110 14.4).  SP_EDATA */
SP_MUST_USE enum sp_err sp_web_range_parse(struct sp_slice text, struct sp_web_range *ret_range);

/* BEP-0017: the body of a 503, seconds to wait.  SP_EDATA */
SP_MUST_USE enum sp_err sp_web_wait_parse(struct sp_slice body, uint32_t *ret_s);

struct sp_web_head {
    int status;                    /* of the last answer: redirects were followed */
    struct sp_slice content_range; /* empty: absent; borrowed for the call */
    uint64_t content_len;          /* bytes of the body; UINT64_MAX: not told */
    uint32_t retry_after_s;        /* 0: not told */
};

struct sp_web_want {
    enum sp_web_seed_kind kind;
    uint64_t from, to; /* bytes of the file (BEP 19) or of the piece (BEP 17) */
    uint64_t whole;    /* bytes of that file */
};

enum sp_web_verdict {
    SP_WEB_TAKE,    /* the body is what was asked for, or its beginning */
    SP_WEB_LATER,   /* busy: come again */
    SP_WEB_FAIL,    /* it went wrong: come again, less and less often */
    SP_WEB_LOST,    /* this file is not there, or another one */
    SP_WEB_USELESS, /* this server is of no use */
};

/* ret_to: TAKE: where the body ends, from < *ret_to <= to; more of it is none
 * of ours.  ret_why: else: for people, static. */
enum sp_web_verdict sp_web_judge(const struct sp_web_want *want, const struct sp_web_head *head,
                                 uint64_t *ret_to, const char **ret_why);

#endif
