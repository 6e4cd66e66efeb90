/* Looks up values in a JSON text, in place: no tree, no allocation, no recursion.
 *
 * Just enough to read a few fields of a model configuration that Triton itself wrote. It knows nothing about which. */

#ifndef QWEN3_JSON_H
#define QWEN3_JSON_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A part of a JSON text; not zero-terminated. `start` is NULL for "there is none". */
struct span {
    const char *start;
    size_t size;
};

/* The value of a member of a JSON object, as it is written; a string keeps its quotes and escapes.
 *
 * `key` is compared with the written key, so it must need no escapes. Returns no span if `object` is not an object, is
 * cut short, or has no such member. */
struct span json_member(struct span object, const char *key);

/* What is between the quotes of a JSON string; no span if the value is not a string or contains escapes. */
struct span json_plain_string(struct span value);

#ifdef __cplusplus
}
#endif

#endif
