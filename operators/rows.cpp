// The work on rows. It is compiled once for each instruction set: `ROWS` is the name of the result.

#include "rows.h"

#include <cmath>

#include "simd.h"

namespace qwen3 {
namespace {

// Numbers that are taken together where each waits for the one before: the largest so far, or a sum.
constexpr int64_t kTogether = 64;
constexpr int kVectors = kTogether / kWidth;

// Write whole numbers from -128 to 127 as bytes around 128, those of one vector.
void store_bytes(uint8_t* to, Vector v) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
#else
  const __m256i integers = _mm256_cvtps_epi32(v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-128)));
#endif
}

float quantize(const float* row, int64_t size, uint8_t* quantized) {
  Vector most[kVectors];
  for (Vector& m : most) m = all(0.0f);
  int64_t i = 0;
  for (; i + kTogether <= size; i += kTogether) {
    for (int v = 0; v < kVectors; v++) most[v] = larger(magnitude(load(row + i + v * kWidth)), most[v]);
  }
  for (; i + kWidth <= size; i += kWidth) most[0] = larger(magnitude(load(row + i)), most[0]);
  for (int v = 1; v < kVectors; v++) most[0] = larger(most[v], most[0]);
  float found = largest(most[0]);
  for (; i < size; i++) found = std::fabs(row[i]) > found ? std::fabs(row[i]) : found;
  const float scale = (found > 1e-20f ? found : 1e-20f) / 127.0f;
  const float inverse = 1.0f / scale;
  // The quotient to the last bit, with no division: its error is known to more bits than it has.
  const auto quotient = [&](Vector v) {
    const Vector near = mul(v, all(inverse));
    return fused(fused_negated(near, all(scale), v), all(inverse), near);
  };
  for (i = 0; i + kWidth <= size; i += kWidth) store_bytes(quantized + i, quotient(load(row + i)));
  for (; i < size; i++) {
    quantized[i] = static_cast<uint8_t>(_mm_cvtss_si32(_mm_set_ss(row[i] / scale)) + 128);
  }
  return scale;
}

void gate(const float* gates, float gate_scale, const float* up, int64_t size, float* gated) {
  const Vector zero = all(0.0f), one = all(1.0f);
  const auto silu_times = [&](Vector g, Vector u) {
    const Vector x = mul(g, all(gate_scale));
    // sigmoid(x) is 1 / (1 + e) or e / (1 + e), e = exp(-|x|), so that nothing overflows.
    const Vector e = exponential(sub(zero, magnitude(x)));
    return mul(mul(x, divided(where_negative(x, e, one), add(one, e))), u);
  };
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) store(gated + i, silu_times(load(gates + i), load(up + i)));
  for (; i < size; i++) {
    float numbers[kWidth];
    store(numbers, silu_times(all(gates[i]), all(up[i])));
    gated[i] = numbers[0];
  }
}

void add_and_norm(const float* residual, const float* update, float update_scale, const float* gain, float eps,
                  int64_t size, float* sum, float* normed) {
  // The order of additions is the same for each instruction set.
  Vector squares[kVectors];
  for (Vector& s : squares) s = all(0.0f);
  int64_t i = 0;
  for (; i + kTogether <= size; i += kTogether) {
    for (int v = 0; v < kVectors; v++) {
      const int64_t at = i + v * kWidth;
      const Vector x = add(load(residual + at), mul(load(update + at), all(update_scale)));
      store(sum + at, x);
      squares[v] = fused(x, x, squares[v]);
    }
  }
  float parts[kTogether];
  for (int v = 0; v < kVectors; v++) store(parts + v * kWidth, squares[v]);
  for (int64_t half = kTogether / 2; half > 0; half /= 2) {
    for (int64_t n = 0; n < half; n++) parts[n] += parts[n + half];
  }
  float total_squares = parts[0];
  for (; i < size; i++) {
    sum[i] = residual[i] + update[i] * update_scale;
    total_squares += sum[i] * sum[i];
  }
  const float factor = 1.0f / std::sqrt(total_squares / static_cast<float>(size) + eps);
  for (i = 0; i + kWidth <= size; i += kWidth) store(normed + i, mul(mul(load(sum + i), all(factor)), load(gain + i)));
  for (; i < size; i++) normed[i] = sum[i] * factor * gain[i];
}

}  // namespace

extern const RowKernel ROWS;
const RowKernel ROWS = {quantize, gate, add_and_norm};

}  // namespace qwen3
