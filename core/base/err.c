#include "spate/err.h"

#include <string.h>

const char *sp_err_name(enum sp_err err)
{
    switch (err) {
#define SP_ERR_NAME(name, value, what)                                                             \
    case SP_##name:                                                                                \
        return #name;
        SP_ERR_MAP(SP_ERR_NAME)
#undef SP_ERR_NAME
    }
    return "UNKNOWN";
}

const char *sp_err_text(enum sp_err err)
{
    switch (err) {
#define SP_ERR_TEXT(name, value, what)                                                             \
    case SP_##name:                                                                                \
        return what;
        SP_ERR_MAP(SP_ERR_TEXT)
#undef SP_ERR_TEXT
    }
    return "unknown error";
}

enum sp_err sp_diag_set(struct sp_diag *diag, enum sp_err err, uint64_t off, const char *text)
{
    if (!diag)
        return err;

    size_t len = 0;
    while (len < sizeof(diag->text) - 1 && text[len])
        len++;
    diag->err = err;
    diag->off = off;
    memcpy(diag->text, text, len);
    diag->text[len] = '\0';
    return err;
}
