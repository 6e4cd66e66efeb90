#include "ragged_attention.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace qwen3 {
namespace {

// Things of one text that are worked on together: consecutive outputs, or tokens to pack.
struct Run {
  int64_t text;
  int64_t first;
  int64_t count;
};

struct Prefix {
  int64_t start;  // first row
  int64_t length;
};

Prefix prefix_of(const PrefixRows& prefixes, int64_t text) {
  const int64_t length = prefixes.rows ? prefixes.lengths[text * prefixes.lengths_step] : 0;
  return {length ? prefixes.starts[text * prefixes.starts_step] : 0, length};
}

struct Text {
  int64_t start;  // first row
  Prefix prefix;
  int64_t tokens;  // prefix included
  int64_t packed;  // tokens of the texts before it in packed form
};

std::vector<Text> texts_of(const Batch& batch, int64_t panel) {
  std::vector<Text> texts(batch.texts);
  int64_t packed = 0;
  for (int64_t t = 0; t < batch.texts; t++) {
    const Prefix prefix = prefix_of(batch.prefixes, t);
    texts[t] = {batch.starts[t], prefix, prefix.length + batch.lengths[t], packed};
    packed += padded(texts[t].tokens, panel);
  }
  return texts;
}

// The text that a row belongs to, -1 if there is none.
int64_t text_of(const Batch& batch, int64_t row) {
  const int64_t t = std::upper_bound(batch.starts, batch.starts + batch.texts, row) - batch.starts - 1;
  return t >= 0 && row < batch.starts[t] + batch.lengths[t] ? t : -1;
}

int64_t row_of(const Batch& batch, int64_t output) { return batch.wanted ? batch.wanted[output] : output; }

std::vector<Run> blocks_of(const Geometry& geometry, const Batch& batch, int64_t most) {
  const int64_t width = geometry.heads * geometry.head_dim;
  std::vector<Run> blocks;
  for (int64_t i = 0; i < batch.outputs; i++) {
    const int64_t t = text_of(batch, row_of(batch, i));
    if (t < 0) {
      std::memset(batch.output + i * width, 0, sizeof(float) * width);
    } else if (!blocks.empty() && blocks.back().text == t && blocks.back().count < most &&
               blocks.back().first + blocks.back().count == i) {
      blocks.back().count++;
    } else {
      blocks.push_back({t, i, 1});
    }
  }
  return blocks;
}

// The scratch memory of this thread, which lives as long as the thread.
char* scratch_of_thread(size_t bytes) {
  thread_local std::unique_ptr<char[]> memory;
  thread_local size_t size = 0;
  if (size < bytes + 64) {
    memory = std::make_unique<char[]>(bytes + 64);
    size = bytes + 64;
  }
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
}

}  // namespace

const char* wrong_with(const Geometry& geometry, const Batch& batch) {
  if (geometry.head_dim % 2 || geometry.head_dim > kMaxHeadDim) return "head_dim must be even, and 512 at most";
  if (geometry.kv_heads < 1 || geometry.heads % geometry.kv_heads) return "heads must be a multiple of kv_heads";
  if (geometry.heads / geometry.kv_heads > kMaxRows) return "too many heads for each head of keys and values";
  for (int64_t t = 0, end = 0; t < batch.texts; t++) {
    if (batch.lengths[t] < 1 || batch.starts[t] < end) return "texts must have rows, one after another";
    end = batch.starts[t] + batch.lengths[t];
    if (end > batch.rows) return "a text ends after the last row";
    const Prefix prefix = prefix_of(batch.prefixes, t);
    if (prefix.length < 0 || prefix.start < 0 || prefix.start + prefix.length > batch.prefixes.count) {
      return "a prefix is outside the prefix rows";
    }
    if (prefix.length + batch.lengths[t] > batch.positions) return "a text has more tokens than there are positions";
  }
  for (int64_t i = 0; batch.wanted && i < batch.outputs; i++) {
    if (batch.wanted[i] < 0 || batch.wanted[i] >= batch.rows) return "a wanted row does not exist";
  }
  return nullptr;
}

void attend(const Kernel& kernel, const Geometry& geometry, const Batch& batch, const Host& host) {
  const int64_t dim = geometry.head_dim, heads = geometry.kv_heads, group = geometry.heads / heads;
  const Shape shape = {dim,      padded(dim, kernel.panel), batch.cos, batch.sin, batch.query_gain, batch.key_gain,
                       batch.eps};
  const std::vector<Text> texts = texts_of(batch, kernel.panel);
  if (texts.empty()) return;
  const int64_t tokens = texts.back().packed + padded(texts.back().tokens, kernel.panel);
  char* const keys = host.allocate(tokens * heads * (shape.head_dim + shape.value_columns) * kernel.element);
  char* const values = keys + tokens * heads * shape.head_dim * kernel.element;
  const auto packed_keys = [&](const Text& text, int64_t head) {
    return keys + (head * tokens + text.packed) * shape.head_dim * kernel.element;
  };
  const auto packed_values = [&](const Text& text, int64_t head) {
    return values + (head * tokens + text.packed) * shape.value_columns * kernel.element;
  };

  std::vector<Run> panels;
  for (int64_t t = 0; t < batch.texts; t++) {
    for (int64_t first = 0; first < texts[t].tokens; first += kernel.panel) {
      panels.push_back({t, first, std::min(kernel.panel, texts[t].tokens - first)});
    }
  }
  host.run(panels.size() * heads, [&](size_t task) {
    const Run& panel = panels[task / heads];
    const int64_t head = task % heads;
    const Text& text = texts[panel.text];
    const float* key_of[kMaxPanel];
    const float* value_of[kMaxPanel];
    for (int64_t i = 0; i < panel.count; i++) {
      const int64_t position = panel.first + i;
      if (position < text.prefix.length) {
        const float* row = batch.prefixes.rows + (text.prefix.start + position) * batch.prefixes.stride + head * dim;
        key_of[i] = row + batch.prefixes.keys;
        value_of[i] = row + batch.prefixes.values;
      } else {
        const int64_t at = ((text.start + position - text.prefix.length) * heads + head) * dim;
        key_of[i] = batch.key + at;
        value_of[i] = batch.value + at;
      }
    }
    kernel.pack(shape, {key_of, value_of, panel.first, panel.count, text.tokens, packed_keys(text, head),
                        packed_values(text, head)});
  });

  const std::vector<Run> blocks = blocks_of(geometry, batch, kMaxRows / group);
  const size_t scratch = kernel.scratch(shape);
  // One head after another, so that the packed keys and values of a long text are read again while they are near.
  host.run(blocks.size() * heads, [&](size_t task) {
    const Run& block = blocks[task % blocks.size()];
    const int64_t head = task / blocks.size();
    const Text& text = texts[block.text];
    const float* queries[kMaxRows];
    float* outputs[kMaxRows];
    int64_t positions[kMaxRows];
    int64_t rows = 0;
    for (int64_t i = block.first; i < block.first + block.count; i++) {
      const int64_t row = row_of(batch, i);
      for (int64_t g = 0; g < group; g++, rows++) {
        queries[rows] = batch.query + ((row * heads + head) * group + g) * dim;
        outputs[rows] = batch.output + ((i * heads + head) * group + g) * dim;
        positions[rows] = row - text.start + text.prefix.length;
      }
    }
    kernel.attend(shape,
                  {queries, outputs, positions, rows, text.tokens, packed_keys(text, head), packed_values(text, head)},
                  scratch_of_thread(scratch));
  });
}

}  // namespace qwen3
