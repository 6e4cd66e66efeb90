#include "budget.h"

static uint64_t sum(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t product(uint64_t a, uint64_t b) {
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

struct budget budget_new(struct limits limits) {
    const struct budget budget = {.limits = limits};
    return budget;
}

void budget_begin(struct budget *budget, const void *place) {
    if (place != budget->place) {
        *budget = budget_new(budget->limits);
        budget->place = place;
    }
}

bool budget_add(struct budget *budget, uint64_t texts, uint64_t length) {
    const uint64_t all_texts = sum(budget->texts, texts);
    const uint64_t tokens = sum(budget->tokens, product(texts, length));
    const uint64_t longest = length > budget->longest ? length : budget->longest;
    const uint64_t slots = product(all_texts, longest);
    /* Without a padding limit the right side is infinite or, for no tokens at all, not a number: never exceeded. */
    const bool fits = tokens <= budget->limits.max_batch_tokens &&
                      !((double)slots > budget->limits.max_slots_per_token * (double)tokens);
    if (budget->started && (budget->closed || !fits)) {
        budget->closed = true;
        return false;
    }
    budget->texts = all_texts;
    budget->tokens = tokens;
    budget->longest = longest;
    budget->started = true;
    return true;
}

bool budget_add_alone(struct budget *budget) {
    const bool added = !budget->started;
    budget->started = true;
    budget->closed = true;
    return added;
}
