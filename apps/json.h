/* json.h - writes JSON as it goes, into a growing text.
 *
 * One document is one line; json_end_line closes it.  Keys are NULL inside an
 * array.  Strings of any bytes are taken: what is no UTF-8 becomes U+FFFD.
 */
#ifndef SPATE_APPS_JSON_H
#define SPATE_APPS_JSON_H

#include "apps/text.h"

struct json {
    struct str *out;
    bool needs_comma;
    uint32_t depth; /* open objects and arrays */
};

void json_init(struct json *json, struct str *out);

void json_open(struct json *json, const char *key, char bracket);     /* '{' or '[' */
void json_close(struct json *json, char bracket);                     /* '}' or ']' */
void json_text(struct json *json, const char *key, const char *text); /* NULL: null */
void json_bytes(struct json *json, const char *key, struct sp_slice bytes);
void json_hex(struct json *json, const char *key, const uint8_t *bytes, size_t len);
void json_uint(struct json *json, const char *key, uint64_t value);
void json_int(struct json *json, const char *key, int64_t value);
/* value / 10^digits, digits of it behind the point. */
void json_fixed(struct json *json, const char *key, uint64_t value, unsigned digits);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
void json_end_line(struct json *json);

#endif
