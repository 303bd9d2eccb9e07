#include "core/wire/peer_id.h"

#include "core/base/out.h"

/* How the four characters after a code are read. */
enum style {
    DOT4,         /* 1234 is 1.2.3.4; a last 0 is left out */
    DOT3,         /* 123x is 1.2.3; the last one names a build */
    TWO,          /* 0157 is 1.57 */
    TRANSMISSION, /* 4060 is 4.0.6, before that 2940 was 2.94 */
    NO_VERSION,
};

/* BEP-0020 "Known clients that use this encoding style", less the long dead;
 * and those seen in swarms since. */
static const struct {
    char code[3];
    uint8_t style;
    char name[24];
} azureus[] = {
    {"7T", DOT4, "aTorrent"},
    {"AG", DOT4, "Ares"},
    {"A~", DOT4, "Ares"},
    {"AR", DOT4, "Arctic"},
    {"AZ", DOT4, "Vuze"},
    {"BB", DOT4, "BitBuddy"},
    {"BC", TWO, "BitComet"},
    {"BE", DOT4, "BitTorrent SDK"},
    {"BF", DOT4, "Bitflu"},
    {"BG", DOT4, "BTG"},
    {"BI", DOT4, "BiglyBT"},
    {"BR", DOT4, "BitRocket"},
    {"BT", DOT3, "BitTorrent"},
    {"CD", TWO, "Enhanced CTorrent"},
    {"CT", DOT4, "CTorrent"},
    {"DE", DOT3, "Deluge"},
    {"EB", DOT4, "EBit"},
    {"FD", DOT4, "Free Download Manager"},
    {"FG", TWO, "FlashGet"},
    {"FL", DOT4, "Folx"},
    {"FW", DOT4, "FrostWire"},
    {"FX", DOT4, "Freebox BitTorrent"},
    {"GT", DOT4, "anacrolix/torrent"},
    {"HL", DOT4, "Halite"},
    {"HN", DOT4, "Hydranode"},
    {"JT", DOT4, "JavaTorrent"},
    {"KG", DOT4, "KGet"},
    {"KT", DOT3, "KTorrent"},
    {"LH", DOT4, "LH-ABC"},
    {"LP", TWO, "Lphant"},
    {"LT", DOT3, "libtorrent"},
    {"LW", NO_VERSION, "LimeWire"},
    {"MG", TWO, "MediaGet"},
    {"ML", DOT4, "MLdonkey"},
    {"MO", DOT4, "MonoTorrent"},
    {"MR", DOT4, "Miro"},
    {"NX", DOT4, "Net Transport"},
    {"PD", DOT4, "Pando"},
    {"PI", DOT3, "PicoTorrent"},
    {"QD", DOT4, "QQDownload"},
    {"SD", DOT4, "Thunder"},
    {"SP", DOT3, "Spate"},
    {"SZ", DOT4, "Shareaza"},
    {"S~", DOT4, "Shareaza beta"},
    {"TL", DOT3, "Tribler"},
    {"TN", DOT4, "TorrentDotNET"},
    {"TR", TRANSMISSION, "Transmission"},
    {"TS", DOT4, "Torrentstorm"},
    {"TT", DOT3, "TuoTu"},
    {"UE", DOT3, "uTorrent Embedded"},
    {"UL", DOT4, "uLeecher!"},
    {"UM", DOT3, "uTorrent Mac"},
    {"UT", DOT3, "uTorrent"},
    {"UW", DOT3, "uTorrent Web"},
    {"VG", DOT4, "Vagaa"},
    {"WD", NO_VERSION, "WebTorrent Desktop"},
    {"WT", DOT4, "BitLet"},
    {"WW", NO_VERSION, "WebTorrent"},
    {"WY", DOT4, "FireTorrent"},
    {"XF", DOT4, "Xfplay"},
    {"XL", DOT4, "Xunlei"},
    {"XT", DOT4, "XanTorrent"},
    {"ZO", DOT4, "Zona"},
    {"ZT", DOT4, "ZipTorrent"},
    {"lt", DOT3, "rTorrent"},
    {"qB", DOT3, "qBittorrent"},
    {"st", DOT4, "sharktorrent"},
};

/* BEP-0020: the initial letter of the style that Shadow introduced. */
static const struct {
    char code;
    char name[19];
} shadow[] = {
    {'A', "ABC"},      {'O', "Osprey Permaseed"}, {'Q', "BTQueue"},     {'R', "Tribler"},
    {'S', "Shadow's"}, {'T', "BitTornado"},       {'U', "UPnP NAT BT"},
};

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.";

/* The place of c in digits, as BEP-0020's "5.8.11" for "58B"; -1: none. */
static int digit(uint8_t c)
{
    for (int i = 0; digits[i]; i++)
        if ((uint8_t)digits[i] == c)
            return i;
    return -1;
}

void sp_peer_id_make(struct sp_rng *rng, unsigned major, unsigned minor, unsigned patch,
                     uint8_t ret_id[SP_PEER_ID_LEN])
{
    assert(major < 36 && minor < 36 && patch < 36);
    const uint8_t head[8] = {
        '-', 'S', 'P', (uint8_t)digits[major], (uint8_t)digits[minor], (uint8_t)digits[patch],
        '0', '-'};
    memcpy(ret_id, head, sizeof(head));
    /* Letters and digits need no escaping in a tracker's URL. */
    for (size_t i = sizeof(head); i < SP_PEER_ID_LEN; i++)
        ret_id[i] = (uint8_t)digits[sp_rng_below(rng, 62)];
}

/* " 1.2.3": one number a character; nothing when one is no digit. */
static void put_dots(struct sp_out *out, const uint8_t *chars, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (digit(chars[i]) < 0)
            return;
    for (size_t i = 0; i < count; i++) {
        sp_out_u8(out, i ? '.' : ' ');
        sp_out_dec(out, (uint64_t)digit(chars[i]));
    }
}

static bool is_decimal(const uint8_t *chars, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (chars[i] < '0' || chars[i] > '9')
            return false;
    return true;
}

/* " 1.57" of 0157: a number of two digits, then two digits as they stand. */
static void put_two(struct sp_out *out, const uint8_t *chars)
{
    if (!is_decimal(chars, 4))
        return;
    sp_out_u8(out, ' ');
    sp_out_dec(out, (uint64_t)(chars[0] - '0') * 10 + (uint64_t)(chars[1] - '0'));
    sp_out_u8(out, '.');
    sp_out_bytes(out, chars + 2, 2);
}

static void put_version(struct sp_out *out, enum style style, const uint8_t *chars)
{
    switch (style) {
    case DOT4:
        put_dots(out, chars, chars[3] == '0' ? 3 : 4);
        return;
    case DOT3:
        put_dots(out, chars, 3);
        return;
    case TWO:
        put_two(out, chars);
        return;
    case TRANSMISSION:
        if (chars[0] >= '4' || !is_decimal(chars, 3)) {
            put_dots(out, chars, 3);
            return;
        }
        sp_out_u8(out, ' ');
        sp_out_u8(out, chars[0]);
        sp_out_u8(out, '.');
        sp_out_bytes(out, chars + 1, 2);
        return;
    case NO_VERSION:
        return;
    }
}

static bool is_graph(uint8_t c)
{
    return c > ' ' && c < 0x7f;
}

/* "-qB4650-": dash, two characters, four more, dash. */
static bool put_azureus(struct sp_out *out, const uint8_t *id)
{
    if (id[0] != '-' || !is_graph(id[1]) || !is_graph(id[2]))
        return false;
    for (size_t i = 0; i < SP_COUNT(azureus); i++)
        if (memcmp(id + 1, azureus[i].code, 2) == 0) {
            sp_out_str(out, azureus[i].name);
            put_version(out, (enum style)azureus[i].style, id + 3);
            return true;
        }
    if (id[7] != '-')
        return false;
    sp_out_bytes(out, id + 1, 2);
    put_dots(out, id + 3, 4);
    return true;
}

/* Numbers of one or two digits with a dash after each: "4-20-8-". */
static bool put_dashed(struct sp_out *out, const char *name, const uint8_t *chars, size_t len)
{
    struct sp_out at = *out;
    size_t i = 0;
    sp_out_str(&at, name);
    for (int part = 0; part < 3; part++) {
        size_t from = i;
        while (i < len && i - from < 3 && is_decimal(chars + i, 1))
            i++;
        if (i == from || i >= len || chars[i] != '-')
            return false;
        sp_out_u8(&at, part ? '.' : ' ');
        sp_out_bytes(&at, chars + from, i - from);
        i++;
    }
    *out = at;
    return true;
}

/* BEP-0020: "a character ... followed by up to five ascii characters for
 * version number, padded with dashes if less than 5, followed by ---" */
static bool put_shadow(struct sp_out *out, const uint8_t *id)
{
    size_t count = 1;
    if (memcmp(id + 6, "---", 3) != 0)
        return false;
    while (count < 6 && digit(id[count]) >= 0)
        count++;
    for (size_t i = count; i < 6; i++)
        if (id[i] != '-')
            return false;
    for (size_t i = 0; i < SP_COUNT(shadow); i++)
        if (id[0] == (uint8_t)shadow[i].code) {
            sp_out_str(out, shadow[i].name);
            put_dots(out, id + 1, count - 1);
            return true;
        }
    return false;
}

static bool starts(const uint8_t *id, const char *text)
{
    return memcmp(id, text, strlen(text)) == 0;
}

/* The clients of BEP-0020 that keep to no style, and Tixati. */
static bool put_odd(struct sp_out *out, const uint8_t *id)
{
    if (starts(id, "-ML") && id[4] == '.') {
        sp_out_str(out, "MLdonkey ");
        for (size_t i = 3; i < 9 && (is_decimal(id + i, 1) || id[i] == '.'); i++)
            sp_out_u8(out, id[i]);
    } else if (starts(id, "-BOW")) {
        sp_out_str(out, "Bits on Wheels");
    } else if (starts(id, "-G3")) {
        sp_out_str(out, "G3 Torrent");
    } else if (starts(id, "AZ2500BT")) {
        sp_out_str(out, "BitTyrant 1.1");
    } else if (starts(id, "exbc") || starts(id, "FUTB")) {
        sp_out_str(out, memcmp(id + 6, "LORD", 4) == 0 ? "BitLord " : "BitComet ");
        sp_out_dec(out, id[4]);
        sp_out_str(out, id[5] % 100 < 10 ? ".0" : ".");
        sp_out_dec(out, id[5] % 100);
    } else if (starts(id, "XBT") && is_decimal(id + 3, 3)) {
        sp_out_str(out, "XBT");
        put_dots(out, id + 3, 3);
    } else if (starts(id, "OP") && is_decimal(id + 2, 4)) {
        sp_out_str(out, "Opera ");
        sp_out_bytes(out, id + 2, 4);
    } else if (starts(id, "TIX") && is_decimal(id + 3, 4)) {
        sp_out_str(out, "Tixati");
        put_two(out, id + 3);
    } else if (starts(id, "346------")) {
        sp_out_str(out, "TorrenTopia 1.90");
    } else if (id[0] == 0 && (id[1] == 2 || id[1] == 3) && memcmp(id + 2, "BS", 2) == 0) {
        sp_out_str(out, id[1] == 2 ? "BitSpirit 2" : "BitSpirit 3");
    } else {
        return false;
    }
    return true;
}

const char *sp_peer_id_client(const uint8_t id[SP_PEER_ID_LEN], char buf[SP_CLIENT_NAME_CAP])
{
    /* The longest is a 23-letter name and four numbers of two digits. */
    struct sp_out out = sp_out_of((uint8_t *)buf, SP_CLIENT_NAME_CAP - 1);
    bool known = put_odd(&out, id) || put_azureus(&out, id) || put_shadow(&out, id) ||
                 (id[0] == 'M' && put_dashed(&out, "Mainline", id + 1, 8)) ||
                 (id[0] == 'Q' && put_dashed(&out, "Queen Bee", id + 1, 8)) ||
                 (starts(id, "A2-") && put_dashed(&out, "aria2", id + 3, 9));
    if (!known)
        sp_out_str(&out, "unknown");
    assert(sp_out_err(&out) == SP_OK);
    buf[out.len] = '\0';
    return buf;
}
