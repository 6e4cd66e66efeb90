/* What fits into one batch: the token budget and the padding limit, as plain arithmetic.
 *
 * A budget fills one batch at a time, request by request. It knows nothing about Triton's types or its configuration.
 * The limits have the names and the meaning of the embedded host's parameters. */

#ifndef QWEN3_BUDGET_H
#define QWEN3_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of every batch. */
struct limits {
    uint64_t max_batch_tokens;  /* most tokens of a batch, at least 1 */
    double max_slots_per_token; /* most slots of the padded rectangle (texts x longest) for each token in it, at least
                                   1.0; INFINITY for kernels that do not pad */
};

/* A model's limits and the batch that is being filled; for one thread. */
struct budget {
    struct limits limits;
    const void *place; /* where the batch was begun; only compared, never followed */
    uint64_t texts;
    uint64_t tokens;
    uint64_t longest; /* tokens of its longest text */
    bool started;     /* it holds a request, if only one of empty texts */
    bool closed;      /* nothing more goes in */
};

/* A budget with no batch begun. */
struct budget budget_new(struct limits limits);

/* Begin an empty batch at `place`, or go on with the last one if it was begun there. */
void budget_begin(struct budget *budget, const void *place);

/* Add a request of `texts` texts of `length` tokens each, if the batch keeps its limits with it.
 *
 * The first request of a batch always goes in, however large: left outside, it would be first again for ever. After a
 * refusal the batch is closed, because the queue keeps its order. Sums that leave 64 bits count as the largest number.
 *
 * Returns whether the request was added. */
bool budget_add(struct budget *budget, uint64_t texts, uint64_t length);

/* Add a request of unknown size: it goes into an empty batch, and the batch is closed either way.
 *
 * Returns whether the request was added. */
bool budget_add_alone(struct budget *budget);

#ifdef __cplusplus
}
#endif

#endif
