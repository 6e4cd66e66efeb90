// It is compiled for AVX2, which is as fast as memory here.

#include "rows.h"

#include <cmath>

#include "simd.h"

namespace qwen3 {

float quantize_row(const float* row, int64_t size, uint8_t* quantized) {
  const Vector magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  Vector most = all(0.0f);
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) most = larger(_mm256_and_ps(load(row + i), magnitude), most);
  float found = largest(most);
  for (; i < size; i++) found = std::fabs(row[i]) > found ? std::fabs(row[i]) : found;
  const float scale = (found > 1e-20f ? found : 1e-20f) / 127.0f;
  const auto integers = [&](Vector v) {
    const Vector steps = _mm256_div_ps(v, all(scale));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(steps, all(-128.0f)), all(127.0f)));
  };
  for (i = 0; i + 4 * kWidth <= size; i += 4 * kWidth) {
    const __m256i low = _mm256_packs_epi32(integers(load(row + i)), integers(load(row + i + kWidth)));
    const __m256i high = _mm256_packs_epi32(integers(load(row + i + 2 * kWidth)), integers(load(row + i + 3 * kWidth)));
    // Packing works within halves of a vector, so the groups of four come out of order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(quantized + i), _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)));
  }
  for (; i < size; i++) {
    float steps = row[i] / scale;
    steps = steps < -128.0f ? -128.0f : steps > 127.0f ? 127.0f : steps;
    quantized[i] = static_cast<uint8_t>(_mm_cvtss_si32(_mm_set_ss(steps)) + 128);
  }
  return scale;
}

void gate_row(const float* gate, float gate_scale, const float* up, int64_t size, float* gated) {
  const Vector sign = all(-0.0f), one = all(1.0f);
  const auto silu_times = [&](Vector g, Vector u) {
    const Vector x = mul(g, all(gate_scale));
    // sigmoid(x) is 1 / (1 + e) or e / (1 + e), e = exp(-|x|), so that nothing overflows.
    const Vector e = exponential(_mm256_or_ps(x, sign));
    const Vector numerator = _mm256_blendv_ps(one, e, x);
    return mul(mul(x, _mm256_div_ps(numerator, add(one, e))), u);
  };
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) store(gated + i, silu_times(load(gate + i), load(up + i)));
  for (; i < size; i++) {
    gated[i] = _mm256_cvtss_f32(silu_times(all(gate[i]), all(up[i])));
  }
}

void add_and_norm_row(const float* residual, const float* update, float update_scale, const float* gain, float eps,
                      int64_t size, float* sum, float* normed) {
  Vector squares[2] = {all(0.0f), all(0.0f)};
  int64_t i = 0, n = 0;
  for (; i + kWidth <= size; i += kWidth, n ^= 1) {
    const Vector x = add(load(residual + i), mul(load(update + i), all(update_scale)));
    store(sum + i, x);
    squares[n] = fused(x, x, squares[n]);
  }
  float total_squares = total(add(squares[0], squares[1]));
  for (; i < size; i++) {
    sum[i] = residual[i] + update[i] * update_scale;
    total_squares += sum[i] * sum[i];
  }
  const float factor = 1.0f / std::sqrt(total_squares / static_cast<float>(size) + eps);
  for (i = 0; i + kWidth <= size; i += kWidth) store(normed + i, mul(mul(load(sum + i), all(factor)), load(gain + i)));
  for (; i < size; i++) normed[i] = sum[i] * factor * gain[i];
}

}  // namespace qwen3
