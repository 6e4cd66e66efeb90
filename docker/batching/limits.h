/* Reads a model's batch limits from its configuration, and refuses one under which they could not hold.
 *
 * Knows the JSON that Triton writes for config.pbtxt; nothing about requests. */

#ifndef QWEN3_LIMITS_H
#define QWEN3_LIMITS_H

#include "budget.h"
#include "json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Make a budget from the parameters `max_batch_tokens` (required) and `max_slots_per_token` (without it there is no
 * padding limit) of a model configuration as JSON.
 *
 * Returns whether it could; if not, `error` holds a zero-terminated message that names the fix, cut to `error_size`
 * bytes. */
bool budget_read(struct span config, struct budget *budget, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
