#include "apps/json.h"

#include <assert.h>
#include <string.h>

static void add_string(struct str *out, const char *bytes, size_t len)
{
    str_puts(out, "\"");
    for (size_t i = 0, size; i < len; i += size) {
        uint32_t point = utf8_decode(bytes + i, len - i, &size);
        if (point == UINT32_MAX)
            str_puts(out, "\xef\xbf\xbd");
        else if (point == '"' || point == '\\')
            str_fmt(out, "\\%c", (int)point);
        else if (point < 0x20 || point == 0x7f || point == 0x2028 || point == 0x2029)
            str_fmt(out, "\\u%04x", (unsigned)point);
        else
            str_add(out, bytes + i, size);
    }
    str_puts(out, "\"");
}

static void begin_value(struct json *json, const char *key)
{
    if (json->needs_comma)
        str_puts(json->out, ",");
    json->needs_comma = true;
    if (key) {
        add_string(json->out, key, strlen(key));
        str_puts(json->out, ":");
    }
}

void json_init(struct json *json, struct str *out)
{
    *json = (struct json){.out = out};
}

void json_open(struct json *json, const char *key, char bracket)
{
    begin_value(json, key);
    str_add(json->out, &bracket, 1);
    json->needs_comma = false;
    json->depth++;
}

void json_close(struct json *json, char bracket)
{
    assert(json->depth > 0);
    str_add(json->out, &bracket, 1);
    json->needs_comma = true;
    json->depth--;
}

void json_text(struct json *json, const char *key, const char *text)
{
    if (!text) {
        json_null(json, key);
        return;
    }
    begin_value(json, key);
    add_string(json->out, text, strlen(text));
}

void json_bytes(struct json *json, const char *key, struct sp_slice bytes)
{
    begin_value(json, key);
    add_string(json->out, bytes.len ? (const char *)bytes.ptr : "", bytes.len);
}

void json_hex(struct json *json, const char *key, const uint8_t *bytes, size_t len)
{
    begin_value(json, key);
    str_puts(json->out, "\"");
    for (size_t i = 0; i < len; i++)
        str_fmt(json->out, "%02x", bytes[i]);
    str_puts(json->out, "\"");
}

void json_uint(struct json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    str_fmt(json->out, "%llu", (unsigned long long)value);
}

void json_int(struct json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    str_fmt(json->out, "%lld", (long long)value);
}

void json_fixed(struct json *json, const char *key, uint64_t value, unsigned digits)
{
    unsigned long long scale = 1;
    for (unsigned i = 0; i < digits; i++)
        scale *= 10;
    begin_value(json, key);
    str_fmt(json->out, "%llu.%0*llu", value / scale, (int)digits, value % scale);
}

void json_bool(struct json *json, const char *key, bool value)
{
    begin_value(json, key);
    str_puts(json->out, value ? "true" : "false");
}

void json_null(struct json *json, const char *key)
{
    begin_value(json, key);
    str_puts(json->out, "null");
}

void json_end_line(struct json *json)
{
    assert(json->depth == 0);
    str_puts(json->out, "\n");
    json->needs_comma = false;
}
