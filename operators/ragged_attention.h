// Causal grouped-query attention within each text of a ragged batch, with the rotary embedding.
//
// What a text's rows are multiplied and added with, and in which order, depends on the text alone. So its result is the
// same to the bit in every batch, and with its first tokens as its own rows or as rows of a prefix.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "attention_kernel.h"

namespace qwen3 {

struct Geometry {
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
};

// The rows of prefixes from earlier runs, before norm and rotary embedding; `rows` is null if there are none.
struct PrefixRows {
  const float* rows = nullptr;  // [count][stride]; keys begin at `keys`, values at `values`, each [kv_heads * head_dim]
  int64_t count = 0;
  int64_t stride = 0;
  int64_t keys = 0;
  int64_t values = 0;
  const int64_t* starts = nullptr;   // first row of each text's prefix
  const int64_t* lengths = nullptr;  // 0 for a text without one
  int64_t starts_step = 0;           // 0 if all texts share the only element, else 1
  int64_t lengths_step = 0;
};

struct Batch {
  const float* query;  // [rows][heads * head_dim]
  const float* key;    // [rows][kv_heads * head_dim]
  const float* value;  // [rows][kv_heads * head_dim]
  int64_t rows;
  const int64_t* starts;   // [texts]: each text's first row, in ascending order
  const int64_t* lengths;  // [texts]
  int64_t texts;
  const float* cos;  // [positions][head_dim / 2]
  const float* sin;
  int64_t positions;
  const float* query_gain;  // [head_dim]: of the RMS norms
  const float* key_gain;
  float eps;
  PrefixRows prefixes;
  const int64_t* wanted;  // [outputs]: the row of each output; null for all rows in order
  int64_t outputs;
  float* output;  // [outputs][heads * head_dim]; zeros for a row that belongs to no text
};

// What the host offers: memory for the duration of a call, and its threads.
struct Host {
  std::function<char*(size_t bytes)> allocate;
  std::function<void(size_t tasks, const std::function<void(size_t)>& task)> run;
};

// Return null, or what is wrong with a batch.
const char* wrong_with(const Geometry&, const Batch&);

void attend(const Kernel&, const Geometry&, const Batch&, const Host&);

}  // namespace qwen3
