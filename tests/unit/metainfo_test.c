#include "bentext.h"
#include "check.h"
#include "core/base/hex.h"
#include "core/base/sha256.h"
#include "core/metainfo/name.h"
#include "edge.h"
#include "spate/bencode.h"
#include "spate/metainfo.h"
#include "torture.h"

static struct torture counter = {.until_failure = -1};
static const struct sp_mem mem = {torture_alloc, torture_free, &counter};

#define SINGLE "d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e"
#define MANY(files)                                                                                \
    "d 'info' d 'files' l " files " e 'name' 'T' 'piece length' 16384 'pieces' *20 e e"

static enum sp_err parse(const char *text, struct sp_metainfo **ret, struct sp_diag *diag)
{
    struct sp_slice in = bentext(text);
    return sp_metainfo_parse(&mem, edge(in.ptr, in.len), NULL, ret, diag);
}

static bool same(const char *got, const char *want)
{
    bool ok = got && want ? strcmp(got, want) == 0 : got == want;
    if (!ok)
        printf("# got \"%s\", not \"%s\"\n", got ? got : "(none)", want ? want : "(none)");
    return ok;
}

TEST(metainfo_refuses_with_place_and_reason)
{
    static const struct {
        const char *text;
        enum sp_err err;
        const char *why;
    } cases[] = {
        /* the encoding */
        {"", SP_EDATA, "is empty"},
        {"<html>", SP_EDATA, "is no torrent: it does not begin with a dictionary"},
        {"l e", SP_EDATA, "is no torrent: it does not begin with a dictionary"},
        {"d", SP_EDATA, "byte 1: ends inside a value"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e", SP_EDATA,
         "byte 82: ends inside a value"},
        {SINGLE "e", SP_EDATA, "byte 83: 1 bytes follow the dictionary"},
        {"d 'info' d 'length' 05 e e", SP_EDATA, "byte 17: number has a leading zero"},
        {"d 'info' d 'length' -0 e e", SP_EDATA, "byte 17: integer is -0"},
        {"d 'info' d 'name' 'a' 'length' 5 e e", SP_EDATA, "byte 17: keys are not in order"},
        {"d 'info' d e 'info' d e e", SP_EDATA, "byte 9: key is there twice"},
        /* the dictionary */
        {"d e", SP_EDATA, "info: is absent"},
        {"d 'info' l e e", SP_EDATA, "info: is no dictionary"},
        {"d 'info' d 'length' 5 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.name: is absent"},
        {"d 'info' d 'length' 5 'name' 7 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.name: is no string"},
        {"d 'info' d 'length' 5 'name' '' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.name: is empty"},
        {"d 'info' d 'length' 5 'name' '..' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.name: is \"..\""},
        {"d 'info' d 'length' 5 'name' '/a' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.name: is an absolute path"},
        {"d 'info' d 'length' 5 'name' 'a' 'pieces' *20 e e", SP_EDATA,
         "info.piece length: is absent"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' '5' 'pieces' *20 e e", SP_EDATA,
         "info.piece length: is no integer"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 0 'pieces' *20 e e", SP_EDATA,
         "info.piece length: is zero"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' -16384 'pieces' *20 e e", SP_EDATA,
         "info.piece length: is negative"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 1073741825 'pieces' *20 e e", SP_ELIMIT,
         "info.piece length: is larger than 1073741824 bytes"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 99999999999999999999 'pieces' *20 e e",
         SP_EDATA, "info.piece length: is too large"},
        /* lengths */
        {"d 'info' d 'name' 'a' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info: has neither length nor files"},
        {"d 'info' d 'files' l e 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "info: has both length and files"},
        {"d 'info' d 'length' 'x' 'name' 'a' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.length: is no integer"},
        {"d 'info' d 'length' -1 'name' 'a' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.length: is negative"},
        {"d 'info' d 'length' 0 'name' 'a' 'piece length' 16384 'pieces' *0 e e", SP_EDATA,
         "info.length: is zero"},
        {"d 'info' d 'length' 9223372036854775808 'name' 'a' 'piece length' 1 'pieces' *20 e e",
         SP_EDATA, "info.length: is too large"},
        {"d 'info' d 'length' 9223372036854775807 'name' 'a' 'piece length' 1 'pieces' *20 e e",
         SP_ELIMIT, "info.length: asks for more than 4194304 pieces"},
        /* pieces */
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 e e", SP_EDATA,
         "info.pieces: is absent"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' 20 e e", SP_EDATA,
         "info.pieces: is no string"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *21 e e", SP_EDATA,
         "info.pieces: 21 bytes are not a multiple of 20"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *0 e e", SP_EDATA,
         "info.pieces: has 0 hashes where the lengths ask for 1"},
        {"d 'info' d 'length' 16384 'name' 'a' 'piece length' 16384 'pieces' *40 e e", SP_EDATA,
         "info.pieces: has 2 hashes where the lengths ask for 1"},
        {"d 'info' d 'length' 16385 'name' 'a' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.pieces: has 1 hashes where the lengths ask for 2"},
        /* files */
        {"d 'info' d 'files' 3 'name' 'T' 'piece length' 16384 'pieces' *20 e e", SP_EDATA,
         "info.files: is no list"},
        {MANY(""), SP_EDATA, "info.files: is empty"},
        {MANY("5"), SP_EDATA, "info.files[0]: is no dictionary"},
        {MANY("d 'path' l 'a' e e"), SP_EDATA, "info.files[0].length: is absent"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'length' -1 'path' l 'b' e e"), SP_EDATA,
         "info.files[1].length: is negative"},
        {MANY("d 'length' 0 'path' l 'a' e e"), SP_EDATA, "info.files: the lengths add up to zero"},
        {MANY("d 'length' 9223372036854775807 'path' l 'a' e e"), SP_ELIMIT,
         "info.files[0].length: asks for more than 4194304 pieces"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'length' 9223372036854775807 'path' l 'b' e e"),
         SP_EDATA, "info.files[1].length: the sum is too large"},
        {MANY("d 'length' 1 e"), SP_EDATA, "info.files[0].path: is absent"},
        {MANY("d 'length' 1 'path' 'a' e"), SP_EDATA, "info.files[0].path: is no list"},
        {MANY("d 'length' 1 'path' l e e"), SP_EDATA, "info.files[0].path: is empty"},
        {MANY("d 'length' 1 'path' l 'a' 3 e e"), SP_EDATA, "info.files[0].path[1]: is no string"},
        {MANY("d 'length' 1 'path' l '' e e"), SP_EDATA, "info.files[0].path[0]: is empty"},
        {MANY("d 'length' 1 'path' l 'a' '..' 'b' e e"), SP_EDATA,
         "info.files[0].path[1]: is \"..\""},
        {MANY("d 'length' 1 'path' l '.' e e"), SP_EDATA, "info.files[0].path[0]: is \".\""},
        {MANY("d 'length' 1 'path' l '/etc/passwd' e e"), SP_EDATA,
         "info.files[0].path[0]: is an absolute path"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'length' 2 'path' l 'b' e e"
              "d 'length' 1 'path' l 'a' e e"),
         SP_EDATA, "info.files[2].path: is the same as that of files[0]"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'length' 2 'path' l 'a' 'b' e e"), SP_EDATA,
         "info.files[1].path: lies below files[0], which is no directory"},
        {MANY("d 'length' 1 'path' l 'a' 'b' e e d 'length' 2 'path' l 'a' e e"), SP_EDATA,
         "info.files[1].path: is a directory of files[0]"},
        {MANY("d 'attr' 1 'length' 1 'path' l 'a' e e"), SP_EDATA,
         "info.files[0].attr: is no string"},
        {MANY("d 'attr' 'l' 'length' 1 'path' l 'a' e 'symlink path' l 'b' e e"), SP_EDATA,
         "info.files[0].length: of a symlink is not zero"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'attr' 'l' 'path' l 'b' e e"), SP_EDATA,
         "info.files[1].symlink path: is absent"},
        {MANY("d 'length' 1 'path' l 'a' e e d 'attr' 'l' 'path' l 'b' e 'symlink path' l '..' 'x' "
              "e e"),
         SP_EDATA, "info.files[1].symlink path[0]: is \"..\""},
        /* v2 */
        {"d 'info' d 'file tree' d e 'meta version' 2 'name' 'a' 'piece length' 16384 e e",
         SP_EDATA, "info: BitTorrent v2-only torrents are not supported yet"},
        {"d 'info' d 'meta version' 3 e e", SP_EDATA,
         "info.meta version: 3 is newer than what is supported"},
        {"d 'info' d 'length' 5 'meta version' 2 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "info.file tree: is absent"},
        /* the rest */
        {"d 'announce' 5 "
         "'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "announce: is no string"},
        {"d 'announce-list' 'x' "
         "'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "announce-list: is no list"},
        {"d 'announce-list' l l 3 e e "
         "'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "announce-list: holds what is no string"},
        {"d 'comment' 5 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "comment: is no string"},
        {"d 'creation date' 'x' "
         "'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
         SP_EDATA, "creation date: is no integer"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 'private' '1' e e",
         SP_EDATA, "info.private: is no integer"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e "
         "'nodes' l l 'h' 1 e l 'h' 0 e e e",
         SP_EDATA, "nodes[1]: is no pair of host and port"},
        {"d 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e 'url-list' 3 e",
         SP_EDATA, "url-list: holds what is no string"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_metainfo *mi = NULL;
        struct sp_diag diag = {0};
        enum sp_err err = parse(cases[i].text, &mi, &diag);
        CHECK_EQ(err, cases[i].err);
        CHECK(!mi);
        CHECK_EQ(diag.err, cases[i].err);
        CHECK(same(diag.text, cases[i].why));
        CHECK(!strchr(diag.text, '\n'));
        if (err == SP_OK)
            sp_metainfo_free(mi);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(metainfo_single_file)
{
    struct sp_metainfo *mi;
    struct sp_diag diag;
    char hex[41];

    CHECK_EQ(parse(SINGLE, &mi, &diag), SP_OK);
    CHECK(mi->has_v1 && !mi->has_v2 && mi->single_file && !mi->is_private);
    CHECK(same(mi->name, "a") && same(mi->files[0].path, "a"));
    CHECK_EQ(mi->total_length, 5);
    CHECK_EQ(mi->piece_count, 1);
    CHECK_EQ(mi->file_count, 1);
    CHECK_EQ(mi->files[0].piece_end, 1);
    CHECK_EQ(sp_metainfo_piece_len(mi, 0), 5);
    CHECK_EQ(mi->creation_date, -1);
    CHECK(!mi->comment && !mi->created_by && !mi->source);
    /* sha1sum of d6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:hhhhhhhhhhhhhhhhhhhhe */
    CHECK(same(sp_hex(mi->info_hash_v1, 20, hex), "3fb06d458842cb60c1da6fa3c7a68e50b17d269d"));
    struct sp_slice part;
    CHECK(sp_file_raw_part(&mi->files[0], 0, &part) && part.len == 1 && *part.ptr == 'a');
    CHECK(!sp_file_raw_part(&mi->files[0], 1, &part));
    sp_metainfo_free(mi);
    CHECK_EQ(counter.live, 0);
}

TEST(metainfo_places_files_in_pieces)
{
    struct sp_metainfo *mi;
    static const struct {
        const char *path;
        uint64_t offset;
        uint32_t first, end;
    } want[] = {
        {"T/empty0", 0, 0, 0},  {"T/a", 0, 0, 1},    {"T/d/b", 10, 1, 3},
        {"T/empty1", 25, 2, 2}, {"T/d/c", 25, 2, 4}, {"T/end", 31, 3, 3},
    };
    CHECK_EQ(parse("d 'info' d 'files' l d 'length' 0 'path' l 'empty0' e e"
                   "d 'length' 10 'path' l 'a' e e d 'length' 15 'path' l 'd' 'b' e e"
                   "d 'length' 0 'path' l 'empty1' e e d 'length' 6 'path' l 'd' 'c' e e"
                   "d 'length' 0 'path' l 'end' e e e"
                   "'name' 'T' 'piece length' 10 'pieces' *80 e e",
                   &mi, NULL),
             SP_OK);
    CHECK_EQ(mi->file_count, SP_COUNT(want));
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        CHECK(same(mi->files[i].path, want[i].path));
        CHECK_EQ(mi->files[i].path_len, strlen(want[i].path));
        CHECK_EQ(mi->files[i].offset, want[i].offset);
        CHECK_EQ(mi->files[i].piece_first, want[i].first);
        CHECK_EQ(mi->files[i].piece_end, want[i].end);
        CHECK(!mi->files[i].renamed);
    }
    CHECK_EQ(sp_metainfo_piece_len(mi, 2), 10);
    CHECK_EQ(sp_metainfo_piece_len(mi, 3), 1);
    for (uint64_t off = 0; off < 31; off++) {
        uint32_t ix = sp_metainfo_file_at(mi, off);
        CHECK(mi->files[ix].offset <= off && off < mi->files[ix].offset + mi->files[ix].length);
    }
    struct sp_slice part;
    CHECK(sp_file_raw_part(&mi->files[2], 1, &part) && part.len == 1 && *part.ptr == 'b');
    CHECK(!sp_file_raw_part(&mi->files[2], 2, &part));
    sp_metainfo_free(mi);
}

TEST(metainfo_makes_names_distinct)
{
    struct sp_metainfo *mi;
    static const struct {
        const char *path;
        bool renamed;
    } want[] = {
        {"T/Read.me", false}, {"T/read~2.me", true}, {"T/READ~3.me", true},
        {"T/x_y", false},     {"T/x_y~2", true},     {"T/Dir/f", false},
        {"T/dir~2/f", true},  {"T/Dir/g", false},    {"T/read~2~2.me", true},
    };
    CHECK_EQ(parse(MANY("d 'length' 1 'path' l 'Read.me' e e d 'length' 1 'path' l 'read.me' e e"
                        "d 'length' 1 'path' l 'READ.me' e e d 'length' 1 'path' l 'x_y' e e"
                        "d 'length' 1 'path' l 'x/y' e e d 'length' 1 'path' l 'Dir' 'f' e e"
                        "d 'length' 1 'path' l 'dir' 'f' e e d 'length' 1 'path' l 'Dir' 'g' e e"
                        "d 'length' 1 'path' l 'read~2.me' e e"),
                   &mi, NULL),
             SP_OK);
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        CHECK(same(mi->files[i].path, want[i].path));
        CHECK_EQ(mi->files[i].renamed, want[i].renamed);
    }
    struct sp_slice part;
    CHECK(sp_file_raw_part(&mi->files[4], 0, &part) && memcmp(part.ptr, "x/y", 3) == 0);
    sp_metainfo_free(mi);
}

TEST(metainfo_prefers_utf8_names)
{
    struct sp_metainfo *mi;
    CHECK_EQ(parse("d 'comment' '\xff' 'comment.utf-8' 'c\xc3\xa9' 'info' d 'files' l"
                   "d 'length' 1 'path' l '\xff' e 'path.utf-8' l '\xc3\xa9' e e"
                   "d 'length' 1 'path' l 'p' e 'path.utf-8' l '\xff' e e"
                   "d 'length' 1 'path' l 'q' e 'path.utf-8' l e e"
                   "d 'length' 1 'path' l '\xfe' e e"
                   "e 'name' '\xff' 'name.utf-8' '\xc3\xbc' 'piece length' 16384 'pieces' *20 e e",
                   &mi, NULL),
             SP_OK);
    CHECK(same(mi->name, "\xc3\xbc"));
    CHECK(same(mi->comment, "c\xc3\xa9"));
    CHECK(same(mi->files[0].path, "\xc3\xbc/\xc3\xa9"));
    CHECK(same(mi->files[1].path, "\xc3\xbc/p"));
    CHECK(same(mi->files[2].path, "\xc3\xbc/q"));
    CHECK(same(mi->files[3].path, "\xc3\xbc/_"));
    sp_metainfo_free(mi);
}

TEST(metainfo_attributes_pads_and_links)
{
    struct sp_metainfo *mi;
    CHECK_EQ(
        parse(MANY("d 'attr' 'xh?' 'length' 1 'path' l 'Run' e e"
                   "d 'attr' 'p' 'length' 7 'path' l '.pad' '7' e e"
                   "d 'length' 1 'path' l 'run' e e"
                   "d 'attr' 'p' 'length' 7 'path' l '.pad' '7' e e d 'attr' 'p' 'length' 3 e"
                   "d 'attr' 'l' 'path' l 'link' e 'symlink path' l 'run' e e"
                   "d 'attr' 'l' 'length' 0 'path' l 'gone' e 'symlink path' l 'no' 'RUN' e e"),
              &mi, NULL),
        SP_OK);
    CHECK_EQ(mi->files[0].attr, SP_ATTR_EXECUTABLE | SP_ATTR_HIDDEN);
    CHECK_EQ(mi->files[1].attr, SP_ATTR_PAD);
    CHECK(same(mi->files[1].path, "T/.pad/7") && same(mi->files[3].path, "T/.pad/7"));
    CHECK(same(mi->files[4].path, "T/.pad/3"));
    CHECK_EQ(mi->files[5].attr, SP_ATTR_SYMLINK);
    CHECK(same(mi->files[2].path, "T/run~2"));
    CHECK(same(mi->files[5].symlink, "T/run~2")); /* the target as it is called here */
    CHECK(same(mi->files[6].symlink, "T/no/RUN"));
    CHECK(!mi->files[0].symlink);
    CHECK_EQ(mi->total_length, 19);
    sp_metainfo_free(mi);
}

TEST(metainfo_trackers_seeds_nodes)
{
    struct sp_metainfo *mi;
    CHECK_EQ(parse("d 'announce' 'http://z/' 'announce-list' l l e l ' http://a/ ' 'http://b/' e"
                   "l '' 'http://a/' e 'udp://c:1' l 'http://d/ x' '~' e l 'http://e/' e e"
                   "'comment' 'two\nlines\x1b' 'created by' 'X' 'creation date' 77 'httpseeds' l"
                   "'http://h/' e 'info' d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20"
                   "'private' 1 'source' 'S' e 'nodes' l l '1.2.3.4' 5 e l '::1' 65535 e e"
                   "'url-list' l 'http://w/' '' 'http://w/' e e",
                   &mi, NULL),
             SP_OK);
    static const struct {
        const char *url;
        uint32_t tier;
    } want[] = {{"http://a/", 0}, {"http://b/", 0}, {"udp://c:1", 1}, {"~", 2}, {"http://e/", 3}};
    CHECK_EQ(mi->tracker_count, SP_COUNT(want));
    for (size_t i = 0; i < SP_COUNT(want) && i < mi->tracker_count; i++) {
        CHECK(same(mi->trackers[i].url, want[i].url));
        CHECK_EQ(mi->trackers[i].tier, want[i].tier);
    }
    CHECK_EQ(mi->web_seed_count, 2);
    CHECK(same(mi->web_seeds[0].url, "http://w/") && mi->web_seeds[0].kind == SP_WEB_SEED_URL);
    CHECK(same(mi->web_seeds[1].url, "http://h/") && mi->web_seeds[1].kind == SP_WEB_SEED_HTTP);
    CHECK_EQ(mi->node_count, 2);
    CHECK(same(mi->nodes[1].host, "::1") && mi->nodes[1].port == 65535);
    CHECK(mi->is_private);
    CHECK(same(mi->comment, "two\nlines_") && same(mi->created_by, "X") && same(mi->source, "S"));
    CHECK_EQ(mi->creation_date, 77);
    sp_metainfo_free(mi);

    CHECK_EQ(parse("d 'announce' 'http://z/' 'announce-list' l l e e 'info' d 'length' 5 'name' 'a'"
                   "'piece length' 16384 'pieces' *20 'private' 0 e 'url-list' '' e",
                   &mi, NULL),
             SP_OK);
    CHECK(mi->tracker_count == 1 && same(mi->trackers[0].url, "http://z/"));
    CHECK(!mi->is_private && mi->web_seed_count == 0);
    sp_metainfo_free(mi);
}

#define HYBRID(len, tree)                                                                          \
    "d 'info' d 'file tree' d " tree " e 'files' l d 'length' " len                                \
    " 'path' l 'a' 'x' e e d 'attr' 'p' 'length' 9 'path' l '.pad' '9' e e"                        \
    "d 'length' 0 'path' l 'b' e e e 'meta version' 2 'name' 'T' 'piece length' 16384"             \
    " 'pieces' *20 e e"

TEST(metainfo_hybrid)
{
    struct sp_metainfo *mi;
    struct sp_diag diag;
    uint8_t want[SP_SHA256_LEN];

    CHECK_EQ(parse(HYBRID("7", "'a' d 'x' d '' d 'length' 7 'pieces root' ~32 e e e"
                               "'b' d '' d 'length' 0 e e"),
                   &mi, &diag),
             SP_OK);
    CHECK(mi->has_v1 && mi->has_v2);
    sp_sha256_of(mi->info.ptr, mi->info.len, want);
    CHECK(memcmp(want, mi->info_hash_v2, sizeof(want)) == 0);
    CHECK(mi->files[0].pieces_root && mi->files[0].pieces_root[31] == 'x');
    CHECK(!mi->files[1].pieces_root && !mi->files[2].pieces_root);
    sp_metainfo_free(mi);

    static const char *const bad[] = {
        HYBRID("7", ""),
        HYBRID("7", "'a' d 'x' d '' d 'length' 7 'pieces root' ~32 e e e"),
        HYBRID("7",
               "'a' d 'x' d '' d 'length' 8 'pieces root' ~32 e e e 'b' d '' d 'length' 0 e e"),
        HYBRID("7",
               "'a' d 'x' d '' d 'length' 7 'pieces root' ~31 e e e 'b' d '' d 'length' 0 e e"),
        HYBRID("7", "'a' d 'x' d '' d 'length' 7 e e e 'b' d '' d 'length' 0 e e"),
        HYBRID("7",
               "'a' d 'y' d '' d 'length' 7 'pieces root' ~32 e e e 'b' d '' d 'length' 0 e e"),
        HYBRID("7", "'a' d '' d 'length' 7 'pieces root' ~32 e e 'b' d '' d 'length' 0 e e"),
        HYBRID("7", "'a' d 'x' d '' d 'length' 7 'pieces root' ~32 e e e 'b' d '' d 'length' 0 e e"
                    "'c' d '' d 'length' 0 e e"),
        HYBRID("7", "'' d 'length' 7 'pieces root' ~32 e"),
        HYBRID("7", "'a' 5"),
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        CHECK_EQ(parse(bad[i], &mi, &diag), SP_EDATA);
        CHECK(strncmp(diag.text, "info.file tree: does not match files[", 37) == 0);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(sha256_known_answers)
{
    char hex[65];
    uint8_t d[SP_SHA256_LEN];
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sp_sha256_of(cases[i].text, strlen(cases[i].text), d);
        CHECK(same(sp_hex(d, 32, hex), cases[i].want));
        struct sp_sha256 s; /* byte by byte */
        sp_sha256_init(&s);
        for (size_t k = 0; k < strlen(cases[i].text); k++)
            sp_sha256_add(&s, cases[i].text + k, 1);
        sp_sha256_end(&s, d);
        CHECK(same(sp_hex(d, 32, hex), cases[i].want));
    }
}

static const char FULL[] =
    "d 'announce-list' l l 'http://a/' e l 'http://b/' e e 'comment' 'c' 'created by' 'x'"
    "'info' d 'file tree' d 'A' d 'x' d '' d 'length' 7 'pieces root' ~32 e e e"
    "'l' d '' d 'attr' 'l' 'symlink path' l 'A' 'x' e e e e"
    "'files' l d 'length' 7 'path' l 'A' 'x' e e d 'attr' 'p' 'length' 9 e"
    "d 'attr' 'l' 'path' l 'l' e 'symlink path' l 'A' 'x' e e e 'meta version' 2 'name' 'T'"
    "'piece length' 16384 'pieces' *20 'source' 's' e 'nodes' l l 'h' 1 e e"
    "'url-list' l 'http://w/' e e";

/* Goal: a torrent that was cut short is refused, wherever the cut is. */
TEST(metainfo_every_prefix_is_refused)
{
    struct sp_slice whole = bentext(FULL);
    for (size_t len = 0; len <= whole.len; len++) {
        struct sp_metainfo *mi = NULL;
        struct sp_slice in = edge(whole.ptr, len);
        enum sp_err err = sp_metainfo_parse(&mem, in, NULL, &mi, NULL);
        CHECK_EQ(err, len < whole.len ? SP_EDATA : SP_OK);
        sp_metainfo_free(mi);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(metainfo_bit_flips_do_no_harm)
{
    struct sp_slice whole = bentext(FULL);
    static uint8_t buf[4096];
    memcpy(buf, whole.ptr, whole.len);
    for (size_t bit = 0; bit < whole.len * 8; bit++) {
        struct sp_metainfo *mi = NULL;
        struct sp_diag diag;
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct sp_slice in = edge(buf, whole.len);
        enum sp_err err = sp_metainfo_parse(&mem, in, NULL, &mi, &diag);
        CHECK(err == SP_OK || err == SP_EDATA || err == SP_ELIMIT);
        CHECK(err == SP_OK || diag.text[0]);
        sp_metainfo_free(mi);
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_EQ(counter.live, 0);
}

/* Goal: out of memory at any point leaves nothing behind. */
TEST(metainfo_survives_each_failing_allocation)
{
    struct sp_slice in = bentext(FULL);
    enum sp_err err = SP_ENOMEM;
    int tries = 0;
    for (; err == SP_ENOMEM && tries < 200; tries++) {
        struct torture t = {.until_failure = tries};
        struct sp_mem failing = {torture_alloc, torture_free, &t};
        struct sp_metainfo *mi = NULL;
        err = sp_metainfo_parse(&failing, in, NULL, &mi, NULL);
        CHECK((mi != NULL) == (err == SP_OK));
        sp_metainfo_free(mi);
        CHECK_EQ(t.live, 0);
    }
    CHECK_EQ(err, SP_OK);
    CHECK(tries > 5);
}

TEST(metainfo_limits)
{
    static const struct {
        size_t field;
        uint64_t value;
        const char *why;
    } cases[] = {
#define LIMIT(name) offsetof(struct sp_metainfo_limits, name)
        {LIMIT(len_max), 100, "is larger than 100 bytes"},
        {LIMIT(tok_max), 10, "byte 72: has too many values"},
        {LIMIT(depth_max), 3, "byte 95: is nested too deep"},
        {LIMIT(piece_max), 0, "info.files[0].length: asks for more than 0 pieces"},
        {LIMIT(file_max), 2, "info.files: has 3 entries, more than 2"},
        {LIMIT(path_depth_max), 1, "info.files[0]: a path has more than 1 components"},
        {LIMIT(path_len_max), 4, "info.files[0].path: is longer than 4 bytes"},
        {LIMIT(piece_length_max), 16383, "info.piece length: is larger than 16383 bytes"},
        {LIMIT(url_max), 2, "announce-list: has more than 2 entries"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_metainfo_limits limits;
        struct sp_metainfo *mi = NULL;
        struct sp_diag diag = {0};
        uint32_t value = (uint32_t)cases[i].value;
        sp_metainfo_limits_init(&limits);
        if (i == 0)
            limits.len_max = cases[i].value;
        else
            memcpy((char *)&limits + cases[i].field, &value, sizeof(value));
        CHECK_EQ(sp_metainfo_parse(&mem, bentext(FULL), &limits, &mi, &diag), SP_ELIMIT);
        CHECK(same(diag.text, cases[i].why));
        sp_metainfo_free(mi);
    }
    struct sp_metainfo_limits lax;
    struct sp_metainfo *mi;
    sp_metainfo_limits_init(&lax);
    lax.lax_keys = true;
    CHECK_EQ(sp_metainfo_parse(&mem,
                               bentext("d 'info' d 'name' 'a' 'length' 5 'piece length' 16384"
                                       "'pieces' *20 e e"),
                               &lax, &mi, NULL),
             SP_OK);
    sp_metainfo_free(mi);
}

TEST(metainfo_deep_nesting_is_cheap)
{
    enum { LEVELS = 100000 };
    uint8_t *deep = malloc(LEVELS + 1);
    struct sp_diag diag;
    struct sp_metainfo *mi = NULL;
    memset(deep, 'l', LEVELS + 1);
    memcpy(deep, "d1:a", 4);
    struct sp_slice in = {deep, LEVELS + 1};
    CHECK_EQ(sp_metainfo_parse(&mem, in, NULL, &mi, &diag), SP_ELIMIT);
    CHECK(same(diag.text, "byte 103: is nested too deep"));
    free(deep);
}

TEST(metainfo_from_an_info_dict)
{
    struct sp_metainfo *mi, *whole;
    struct sp_diag diag;
    const struct sp_metainfo_tracker trackers[] = {{"http://a/", 3}, {"http://b/", 3}, {"u", 7}};

    CHECK_EQ(parse(SINGLE, &whole, NULL), SP_OK);
    CHECK_EQ(sp_metainfo_parse_info(&mem, whole->info, trackers, 3, NULL, &mi, &diag), SP_OK);
    CHECK(memcmp(mi->info_hash_v1, whole->info_hash_v1, 20) == 0);
    CHECK_EQ(mi->tracker_count, 3);
    CHECK(mi->trackers[1].tier == 0 && mi->trackers[2].tier == 1);
    sp_metainfo_free(mi);
    sp_metainfo_free(whole);
    /* Keys smuggled behind the dictionary, or no dictionary at all. */
    static const char *const bad[] = {
        "d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e 'private' 1",
        "d 'length' 5 'name' 'a' 'piece length' 16384 'pieces' *20 e e",
        "",
        "l e",
        "5",
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        mi = NULL;
        CHECK_EQ(sp_metainfo_parse_info(&mem, bentext(bad[i]), NULL, 0, NULL, &mi, &diag),
                 SP_EDATA);
        CHECK(!mi);
    }
    CHECK_EQ(counter.live, 0);
}

/* --- writing -------------------------------------------------------------------- */

static const struct sp_metainfo_spec_file files[] = {
    {.path = {(const uint8_t *)"d/a\xff", 4}, .length = 20000, .attr = SP_ATTR_EXECUTABLE},
    {.path = {(const uint8_t *)"p", 1}, .length = 12768, .attr = SP_ATTR_PAD},
    {.path = {(const uint8_t *)"l", 1},
     .attr = SP_ATTR_SYMLINK | SP_ATTR_HIDDEN,
     .symlink = {(const uint8_t *)"d/a\xff", 4}},
};
static const struct sp_metainfo_tracker trackers[] = {{"http://a/", 0}, {"udp://b:1", 0}, {"c", 1}};
static const struct sp_metainfo_web_seed seeds[] = {{"http://w/", SP_WEB_SEED_URL},
                                                    {"http://h/", SP_WEB_SEED_HTTP},
                                                    {"http://v/", SP_WEB_SEED_URL}};
static const struct sp_metainfo_node nodes[] = {{"router", 6881}};

static struct sp_metainfo_spec full_spec(void)
{
    static const uint8_t hashes[40];
    return (struct sp_metainfo_spec){
        .name = SP_LIT("T"),
        .files = files,
        .file_count = 3,
        .piece_length = 16384,
        .pieces = {hashes, 40},
        .trackers = trackers,
        .tracker_count = 3,
        .web_seeds = seeds,
        .web_seed_count = 3,
        .nodes = nodes,
        .node_count = 1,
        .is_private = true,
        .comment = "c",
        .created_by = "Spate",
        .source = "s",
        .creation_date = 5,
    };
}

TEST(metainfo_writes_what_it_reads)
{
    struct sp_metainfo_spec spec = full_spec();
    uint8_t buf[1024];
    size_t len = 0, again = 0;
    struct sp_metainfo *mi;
    struct sp_diag diag = {0};

    CHECK_EQ(sp_metainfo_write(&spec, NULL, 0, &len, NULL), SP_ELIMIT);
    for (size_t cap = 0; cap < len; cap++)
        CHECK_EQ(sp_metainfo_write(&spec, buf, cap, &again, NULL), SP_ELIMIT);
    CHECK_EQ(sp_metainfo_write(&spec, buf, len, &again, NULL), SP_OK);
    CHECK_EQ(again, len);
    CHECK_EQ(sp_metainfo_parse(&mem, (struct sp_slice){buf, len}, NULL, &mi, &diag), SP_OK);
    CHECK(same(diag.text, ""));
    CHECK(same(mi->files[0].path, "T/d/a_") && mi->files[0].renamed);
    CHECK_EQ(mi->files[0].attr, SP_ATTR_EXECUTABLE);
    CHECK_EQ(mi->files[2].attr, SP_ATTR_SYMLINK | SP_ATTR_HIDDEN);
    CHECK(same(mi->files[2].symlink, "T/d/a_"));
    CHECK(mi->tracker_count == 3 && mi->trackers[1].tier == 0 && mi->trackers[2].tier == 1);
    CHECK(mi->web_seed_count == 3 && same(mi->web_seeds[2].url, "http://h/"));
    CHECK(mi->node_count == 1 && mi->nodes[0].port == 6881 && mi->is_private);
    CHECK(same(mi->comment, "c") && same(mi->created_by, "Spate") && same(mi->source, "s"));
    CHECK_EQ(mi->creation_date, 5);
    sp_metainfo_free(mi);

    /* The least there can be, byte for byte. */
    spec = (struct sp_metainfo_spec){.name = SP_LIT("a"),
                                     .files = &(struct sp_metainfo_spec_file){.length = 5},
                                     .file_count = 1,
                                     .single_file = true,
                                     .piece_length = 16384,
                                     .pieces = SP_LIT("hhhhhhhhhhhhhhhhhhhh"),
                                     .creation_date = -1};
    CHECK_EQ(sp_metainfo_write(&spec, buf, sizeof(buf), &len, NULL), SP_OK);
    struct sp_slice want = bentext(SINGLE);
    CHECK(len == want.len && memcmp(buf, want.ptr, len) == 0);
}

TEST(metainfo_write_refuses_nonsense)
{
    static const char *const paths[] = {"", "/a", "a/", "a//b", ".", "a/..", "../a"};
    uint8_t buf[1024];
    size_t len;
    struct sp_diag diag;
    struct sp_metainfo_spec spec = full_spec();
    struct sp_metainfo_spec_file file = {.length = 20};

    spec.files = &file;
    spec.file_count = 1;
    spec.pieces.len = 20;
    for (size_t i = 0; i < SP_COUNT(paths); i++) {
        file.path = (struct sp_slice){(const uint8_t *)paths[i], strlen(paths[i])};
        CHECK_EQ(sp_metainfo_write(&spec, buf, sizeof(buf), &len, &diag), SP_EINVAL);
        CHECK(strncmp(diag.text, "files[0].path: ", 15) == 0);
    }
    file.path = SP_LIT("a");
    CHECK_EQ(sp_metainfo_write(&spec, buf, sizeof(buf), &len, &diag), SP_OK);
#define BREAK(change, undo)                                                                        \
    do {                                                                                           \
        change;                                                                                    \
        CHECK_EQ(sp_metainfo_write(&spec, buf, sizeof(buf), &len, &diag), SP_EINVAL);              \
        undo;                                                                                      \
    } while (0)
    BREAK(spec.pieces.len = 40, spec.pieces.len = 20);
    BREAK(spec.piece_length = 0, spec.piece_length = 16384);
    BREAK(spec.name = SP_LIT(".."), spec.name = SP_LIT("T"));
    BREAK(spec.name = SP_LIT("a/b"), spec.name = SP_LIT("T"));
    BREAK(spec.name.len = 0, spec.name.len = 1);
    BREAK(file.length = 0, file.length = 20);
    BREAK(file.length = UINT64_MAX, file.length = 20);
    BREAK(spec.file_count = 0, spec.file_count = 1);
    CHECK_EQ(sp_metainfo_write(&spec, buf, sizeof(buf), &len, &diag), SP_OK);
}

int main(void)
{
    return check_run();
}
