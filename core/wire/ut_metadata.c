#include "core/wire/ut_metadata.h"

#include <string.h>

#include "spate/bencode.h"

enum { TOK_MAX = 32, DEPTH_MAX = 4 };

enum sp_err sp_ut_metadata_read(struct sp_slice payload, struct sp_ut_metadata *ret_msg)
{
    struct sp_ben_tok toks[TOK_MAX];
    struct sp_ben_limits limits = {.depth_max = DEPTH_MAX, .tok_max = TOK_MAX};
    struct sp_ut_metadata msg = {0};
    struct sp_ben doc;
    int64_t kind, piece, size;

    if (sp_ben_read(payload, &limits, toks, &doc, NULL) != SP_OK ||
        !sp_ben_is(&doc, 0, SP_BEN_DICT) ||
        !sp_ben_int(&doc, sp_ben_find(&doc, 0, "msg_type"), 0, INT64_MAX, &kind))
        return SP_EPROTO;
    /* BEP-0009: "In order to support future extensability, an unrecognized
     * message ID MUST be ignored." */
    if (kind >= SP_UT_METADATA_OTHER) {
        *ret_msg = (struct sp_ut_metadata){.kind = SP_UT_METADATA_OTHER};
        return SP_OK;
    }
    if (!sp_ben_int(&doc, sp_ben_find(&doc, 0, "piece"), 0, UINT32_MAX, &piece))
        return SP_EPROTO;
    msg.kind = (enum sp_ut_metadata_kind)kind;
    msg.piece = (uint32_t)piece;
    if (msg.kind == SP_UT_METADATA_DATA) {
        /* BEP-0009: "The metadata piece is appended to the bencoded dictionary,
         * it is not a part of the dictionary, but it is a part of the message" */
        msg.data = (struct sp_slice){payload.ptr + doc.end, payload.len - doc.end};
        if (msg.data.len == 0 || msg.data.len > SP_METADATA_PIECE_LEN)
            return SP_EPROTO;
        if (sp_ben_int(&doc, sp_ben_find(&doc, 0, "total_size"), 1, UINT32_MAX, &size))
            msg.total_size = (uint32_t)size;
    }
    *ret_msg = msg;
    return SP_OK;
}

enum sp_err sp_ut_metadata_write(const struct sp_ut_metadata *msg, uint8_t *buf, size_t cap,
                                 size_t *ret_len)
{
    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
    size_t len = 0;

    sp_ben_put_dict(&w);
    sp_ben_put_key(&w, "msg_type");
    sp_ben_put_int(&w, msg->kind);
    sp_ben_put_key(&w, "piece");
    sp_ben_put_int(&w, msg->piece);
    if (msg->kind == SP_UT_METADATA_DATA) {
        sp_ben_put_key(&w, "total_size");
        sp_ben_put_int(&w, msg->total_size);
    }
    sp_ben_put_end(&w);
    enum sp_err err = sp_ben_writer_end(&w, &len);
    if (err != SP_OK)
        return err;
    if (msg->kind == SP_UT_METADATA_DATA) {
        if (cap - len < msg->data.len)
            return SP_ELIMIT;
        memcpy(buf + len, msg->data.ptr, msg->data.len);
        len += msg->data.len;
    }
    *ret_len = len;
    return SP_OK;
}
