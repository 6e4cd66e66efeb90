#include "json.h"

#include <string.h>

static const struct span none = {NULL, 0};

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_spaces(const char *at, const char *end) {
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

/* Whether a number or a bare word ends before `c`. */
static bool ends_word(char c) {
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == '"' || is_space(c);
}

/* From an opening quote to behind the closing one; NULL if there is none. */
static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end; at++) {
        if (*at == '"') {
            return at + 1;
        }
        if (*at == '\\') {
            at++;
        }
    }
    return NULL;
}

/* Behind the value that starts here; NULL if it is cut short. Brackets are counted, not matched by kind. */
static const char *skip_value(const char *at, const char *end) {
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            if (at == NULL) {
                return NULL;
            }
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
            continue;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) {
                return NULL; /* a member without a value */
            }
            depth--;
            at++;
        } else if (*at == ',' || *at == ':' || is_space(*at)) {
            if (depth == 0) {
                return NULL;
            }
            at++;
            continue;
        } else { /* a number, true, false or null */
            while (at < end && !ends_word(*at)) {
                at++;
            }
        }
        if (depth == 0) {
            return at;
        }
    }
    return NULL;
}

struct span json_member(struct span object, const char *key) {
    if (object.start == NULL) {
        return none;
    }
    const char *const end = object.start + object.size;
    const char *at = skip_spaces(object.start, end);
    if (at == end || *at != '{') {
        return none;
    }
    at = skip_spaces(at + 1, end);
    while (at < end && *at == '"') {
        const char *const name = at + 1;
        at = skip_string(at, end);
        if (at == NULL) {
            return none;
        }
        const size_t size = (size_t)(at - 1 - name);
        const bool found = size == strlen(key) && memcmp(name, key, size) == 0;
        at = skip_spaces(at, end);
        if (at == end || *at != ':') {
            return none;
        }
        const char *const value = skip_spaces(at + 1, end);
        at = skip_value(value, end);
        if (at == NULL) {
            return none;
        }
        if (found) {
            const struct span span = {value, (size_t)(at - value)};
            return span;
        }
        at = skip_spaces(at, end);
        if (at == end || *at != ',') {
            return none;
        }
        at = skip_spaces(at + 1, end);
    }
    return none;
}

struct span json_plain_string(struct span value) {
    if (value.start == NULL || value.size < 2 || value.start[0] != '"' ||
        memchr(value.start, '\\', value.size) != NULL) {
        return none;
    }
    const struct span inside = {value.start + 1, value.size - 2};
    return inside;
}
