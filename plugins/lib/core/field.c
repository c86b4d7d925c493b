#include "core/field.h"


static bool is_token(unsigned char c)
{
    switch (c) {
    case '!':
    case '#':
    case '$':
    case '%':
    case '&':
    case '\'':
    case '*':
    case '+':
    case '-':
    case '.':
    case '^':
    case '_':
    case '`':
    case '|':
    case '~':
        return true;
    default:
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    }
}


bool gp_field_tokens(const char *value, size_t len, size_t max, bool list)
{
    bool inside = false, ended = false, any = false;
    size_t i;

    if (len > max) {
        return false;
    }

    for (i = 0; i < len; i++) {
        if (is_token((unsigned char) value[i])) {
            if (ended) {
                return false; /* two words, no comma */
            }
            inside = any = true;
        } else if (list && value[i] == ',') {
            inside = ended = false;
        } else if (list && value[i] == ' ') {
            ended = inside || ended;
            inside = false;
        } else {
            return false;
        }
    }

    return any;
}
