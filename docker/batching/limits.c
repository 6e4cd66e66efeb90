#include "limits.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_NUMBER 32 /* characters; more than any sensible limit needs */

/* The string_value of one of the configuration's parameters. */
static struct span parameter(struct span config, const char *key) {
    return json_member(json_member(json_member(config, "parameters"), key), "string_value");
}

/* A string's characters, zero-terminated; whether they fit and are of `alphabet` alone, so that strtoull and strtod see
 * no blanks, signs, hexadecimals or "nan". */
static bool number_text(struct span value, const char *alphabet, char text[LONGEST_NUMBER]) {
    const struct span inside = json_plain_string(value);
    if (inside.start == NULL || inside.size == 0 || inside.size >= LONGEST_NUMBER) {
        return false;
    }
    memcpy(text, inside.start, inside.size);
    text[inside.size] = '\0';
    return strlen(text) == inside.size && strspn(text, alphabet) == inside.size;
}

static bool read_max_batch_tokens(struct span config, uint64_t *tokens, char *error, size_t error_size) {
    const struct span value = parameter(config, "max_batch_tokens");
    if (value.start == NULL) {
        (void)snprintf(error, error_size,
                       "the token budget needs the parameter max_batch_tokens; add to config.pbtxt: "
                       "parameters { key: \"max_batch_tokens\" value { string_value: \"16384\" } }");
        return false;
    }
    char text[LONGEST_NUMBER];
    if (number_text(value, "0123456789", text)) {
        errno = 0;
        const uintmax_t number = strtoumax(text, NULL, 10);
        if (errno == 0 && number >= 1 && number <= UINT64_MAX) {
            *tokens = (uint64_t)number;
            return true;
        }
    }
    (void)snprintf(error, error_size,
                   "the parameter max_batch_tokens must be a whole number of at least 1, such as \"16384\", not %.*s",
                   (int)(value.size < 64 ? value.size : 64), value.start);
    return false;
}

static bool read_max_slots_per_token(struct span config, double *slots, char *error, size_t error_size) {
    const struct span value = parameter(config, "max_slots_per_token");
    if (value.start == NULL) {
        *slots = INFINITY;
        return true;
    }
    char text[LONGEST_NUMBER];
    if (number_text(value, "0123456789.eE+-", text)) {
        char *end = NULL;
        const double number = strtod(text, &end);
        if (*end == '\0' && isfinite(number) && number >= 1.0) {
            *slots = number;
            return true;
        }
    }
    (void)snprintf(error, error_size,
                   "the parameter max_slots_per_token must be a number of at least 1, such as \"1.25\", not %.*s; "
                   "leave it out where the kernel does not pad",
                   (int)(value.size < 64 ? value.size : 64), value.start);
    return false;
}

/* Whether a number of the configuration is set: present and not 0. Triton may write 64-bit numbers as strings. */
static bool is_set(struct span object, const char *key) {
    const struct span value = json_member(object, key);
    return value.start != NULL && !(value.size == 1 && memcmp(value.start, "0", 1) == 0) &&
           !(value.size == 3 && memcmp(value.start, "\"0\"", 3) == 0);
}

/* A delay lets Triton examine a waiting batch again and again, and merge finished batches, without a word to the plugin:
 * it could neither count nor refuse. Without one, all that it lets in is in the batch. */
static bool check_queue(struct span config, char *error, size_t error_size) {
    const struct span batching = json_member(config, "dynamic_batching");
    if (batching.start == NULL) {
        (void)snprintf(error, error_size,
                       "the token budget works on dynamic batches; add dynamic_batching { } to config.pbtxt, or remove "
                       "TRITON_BATCH_STRATEGY_PATH");
        return false;
    }
    if (is_set(batching, "max_queue_delay_microseconds")) {
        (void)snprintf(error, error_size,
                       "with max_queue_delay_microseconds Triton merges batches past the token budget; remove the "
                       "delay from dynamic_batching, or remove TRITON_BATCH_STRATEGY_PATH");
        return false;
    }
    return true;
}

bool budget_read(struct span config, struct budget *budget, char *error, size_t error_size) {
    struct limits limits;
    if (!read_max_batch_tokens(config, &limits.max_batch_tokens, error, error_size) ||
        !read_max_slots_per_token(config, &limits.max_slots_per_token, error, error_size) ||
        !check_queue(config, error, error_size)) {
        return false;
    }
    *budget = budget_new(limits);
    return true;
}
