#include "core/web/url.h"

static bool begins(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if ((*text | 0x20) != *prefix)
            return false;
    return true;
}

/* BEP-0019: "A client should ignore any protocols it does not know from the
 * url-list." */
bool sp_web_takes(const char *url)
{
    return (begins(url, "http:") || begins(url, "https:")) && sp_web_host(url).len > 0;
}

static const char *after_scheme(const char *url)
{
    while (*url && *url != ':')
        url++;
    return url[0] && url[1] == '/' && url[2] == '/' ? url + 3 : NULL;
}

struct sp_slice sp_web_host(const char *base)
{
    const char *at = after_scheme(base), *end;
    if (!at)
        return (struct sp_slice){0};
    for (end = at; *end && *end != '/' && *end != '?' && *end != '#'; end++)
        if (*end == '@')
            at = end + 1;
    return (struct sp_slice){(const uint8_t *)at, (size_t)(end - at)};
}

/* RFC 3986 "unreserved" */
static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static void put_encoded(struct sp_out *o, uint8_t c)
{
    static const char HEX[] = "0123456789ABCDEF";
    sp_out_u8(o, '%');
    sp_out_u8(o, (uint8_t)HEX[c >> 4]);
    sp_out_u8(o, (uint8_t)HEX[c & 15]);
}

static void put_part(struct sp_out *o, struct sp_slice part)
{
    for (size_t i = 0; i < part.len; i++) {
        if (is_plain(part.ptr[i]))
            sp_out_u8(o, part.ptr[i]);
        else
            put_encoded(o, part.ptr[i]);
    }
}

/* As it is, but for what no URL may have. */
static void put_base(struct sp_out *o, const char *base)
{
    for (const char *at = base; *at; at++) {
        uint8_t c = (uint8_t)*at;
        if (c <= ' ' || c >= 0x7f)
            put_encoded(o, c);
        else
            sp_out_u8(o, c);
    }
}

static bool is_dots(struct sp_slice part)
{
    return part.len == 0 || (part.len <= 2 && part.ptr[0] == '.' && part.ptr[part.len - 1] == '.');
}

/* The names are those of the torrent, not those they were cleaned to: the
 * server has the files as their author named them. */
void sp_web_file_url(struct sp_out *o, const char *base, const struct sp_metainfo *mi,
                     const struct sp_file *file)
{
    size_t len = strlen(base);
    bool slash = len > 0 && base[len - 1] == '/';
    struct sp_slice part;

    put_base(o, base);
    /* BEP-0019: "If the "url-list" URL ends in a slash, "/" the client must add
     * the "name" from the torrent to make the full URL." */
    if (mi->single_file && !slash)
        return;
    if (!slash)
        sp_out_u8(o, '/');
    put_part(o, mi->raw_name);
    /* BEP-0019: "the "url-list" must be a root folder where a client could add
     * the same "name" and "path/file" to create the URL for the request." */
    for (uint32_t i = 0; !mi->single_file && sp_file_raw_part(file, i, &part); i++) {
        if (is_dots(part))
            continue;
        sp_out_u8(o, '/');
        put_part(o, part);
    }
}

static bool has_query(const char *base)
{
    for (; *base; base++)
        if (*base == '?')
            return true;
    return false;
}

/* BEP-0017: "<url>?info_hash=[hash]&piece=[piece]{&ranges=[start]-[end]{,[start]-[end]}...}" */
void sp_web_piece_url(struct sp_out *o, const char *base, const struct sp_metainfo *mi,
                      uint32_t piece, uint32_t from, uint32_t to)
{
    put_base(o, base);
    sp_out_str(o, has_query(base) ? "&info_hash=" : "?info_hash=");
    put_part(o, (struct sp_slice){mi->info_hash_v1, SP_SHA1_LEN});
    sp_out_str(o, "&piece=");
    sp_out_dec(o, piece);
    if (from == 0 && to == sp_metainfo_piece_len(mi, piece))
        return;
    sp_out_str(o, "&ranges=");
    sp_out_dec(o, from);
    sp_out_u8(o, '-');
    sp_out_dec(o, (uint64_t)to - 1);
}
