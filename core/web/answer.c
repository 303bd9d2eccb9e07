#include "core/web/answer.h"

/* Takes the digits at the front of s.  false: none, or too large. */
static bool take_number(struct sp_slice *s, uint64_t *ret)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++) {
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s->ptr[i] - '0'), &n))
            return false;
    }
    *s = (struct sp_slice){s->ptr + i, s->len - i};
    *ret = n;
    return i > 0;
}

static bool take_char(struct sp_slice *s, char c)
{
    if (s->len == 0 || s->ptr[0] != (uint8_t)c)
        return false;
    *s = (struct sp_slice){s->ptr + 1, s->len - 1};
    return true;
}

static void take_spaces(struct sp_slice *s)
{
    while (take_char(s, ' ') || take_char(s, '\t'))
        ;
}

enum sp_err sp_web_range_parse(struct sp_slice s, struct sp_web_range *ret_range)
{
    struct sp_web_range r = {.total = UINT64_MAX};
    static const char UNIT[] = "bytes";

    take_spaces(&s);
    for (size_t i = 0; UNIT[i]; i++)
        if (!take_char(&s, UNIT[i]) && !take_char(&s, (char)(UNIT[i] - 0x20)))
            return SP_EDATA;
    if (!take_char(&s, ' '))
        return SP_EDATA;
    take_spaces(&s);
    if (!take_number(&s, &r.first) || !take_char(&s, '-') || !take_number(&s, &r.last) ||
        !take_char(&s, '/'))
        return SP_EDATA;
    if (!take_char(&s, '*') && (!take_number(&s, &r.total) || r.total == UINT64_MAX))
        return SP_EDATA;
    take_spaces(&s);
    if (s.len > 0 || r.first > r.last || r.last >= r.total)
        return SP_EDATA;
    *ret_range = r;
    return SP_OK;
}

enum sp_err sp_web_wait_parse(struct sp_slice s, uint32_t *ret_s)
{
    uint64_t n;
    while (take_char(&s, ' ') || take_char(&s, '\r') || take_char(&s, '\n'))
        ;
    if (!take_number(&s, &n))
        return SP_EDATA;
    while (take_char(&s, ' ') || take_char(&s, '\r') || take_char(&s, '\n'))
        ;
    if (s.len > 0)
        return SP_EDATA;
    *ret_s = n < SP_WEB_RETRY_MAX_S ? (uint32_t)n : SP_WEB_RETRY_MAX_S;
    return SP_OK;
}

static enum sp_web_verdict say(enum sp_web_verdict verdict, const char *why, const char **ret_why)
{
    *ret_why = why;
    return verdict;
}

/* 206: a part, which has to begin where ours does. */
static enum sp_web_verdict judge_part(const struct sp_web_want *want,
                                      const struct sp_web_head *head, uint64_t *ret_to,
                                      const char **ret_why)
{
    struct sp_web_range r;

    if (want->kind == SP_WEB_SEED_HTTP)
        return say(SP_WEB_FAIL, "answers with a part where none was asked for", ret_why);
    if (sp_web_range_parse(head->content_range, &r) != SP_OK)
        return say(SP_WEB_USELESS, "does not say which part it sends", ret_why);
    if (r.total != UINT64_MAX && r.total != want->whole)
        return say(SP_WEB_LOST, "has a file of another size", ret_why);
    if (r.first != want->from)
        return say(SP_WEB_USELESS, "sends another part than was asked for", ret_why);
    if (head->content_len != UINT64_MAX && head->content_len != r.last - r.first + 1)
        return say(SP_WEB_USELESS, "contradicts itself about what it sends", ret_why);
    *ret_to = r.last + 1 < want->to ? r.last + 1 : want->to;
    return SP_WEB_TAKE;
}

/* 200: all of it, whatever was asked for. */
static enum sp_web_verdict judge_whole(const struct sp_web_want *want,
                                       const struct sp_web_head *head, uint64_t *ret_to,
                                       const char **ret_why)
{
    bool is_told = head->content_len != UINT64_MAX;

    *ret_to = want->to;
    /* BEP-0017: "either the entire piece if no ranges were given, or the ranges
     * of data requested for that piece appended together" */
    if (want->kind == SP_WEB_SEED_HTTP) {
        if (is_told && head->content_len != want->to - want->from)
            return say(SP_WEB_FAIL, "sends another length than was asked for", ret_why);
        return SP_WEB_TAKE;
    }
    if (is_told && head->content_len != want->whole)
        return say(SP_WEB_LOST, "has a file of another size", ret_why);
    if (want->from != 0)
        return say(SP_WEB_USELESS, "cannot send parts of files", ret_why);
    return SP_WEB_TAKE;
}

enum sp_web_verdict sp_web_judge(const struct sp_web_want *want, const struct sp_web_head *head,
                                 uint64_t *ret_to, const char **ret_why)
{
    switch (head->status) {
    case 200:
        return judge_whole(want, head, ret_to, ret_why);
    case 206:
        return judge_part(want, head, ret_to, ret_why);
    /* BEP-0019: "A client does not need to discard a HTTP or FTP server URL if
     * it gets a "busy" reply." */
    case 429:
        return say(SP_WEB_LATER, "is asked too often", ret_why);
    case 503:
        return say(SP_WEB_LATER, "is busy", ret_why);
    default:
        break;
    }
    /* BEP-0017: "The client should consider any other return code as an error." */
    if (want->kind == SP_WEB_SEED_HTTP || head->status >= 500)
        return say(SP_WEB_FAIL, "answers with an error", ret_why);
    switch (head->status) {
    case 401:
    case 403:
        return say(SP_WEB_LOST, "does not let us have it", ret_why);
    case 404:
    case 410:
        return say(SP_WEB_LOST, "does not have it", ret_why);
    case 451:
        return say(SP_WEB_LOST, "must not let us have it", ret_why);
    case 416:
        return say(SP_WEB_LOST, "has a file of another size", ret_why);
    case 408:
    case 425:
        return say(SP_WEB_FAIL, "answers with an error", ret_why);
    default:
        return say(SP_WEB_USELESS, "does not understand what it is asked", ret_why);
    }
}
