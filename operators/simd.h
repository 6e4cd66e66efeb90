// Vectors of float32 of the instruction set that this file is compiled for. All functions are static, because each
// instruction set has its own.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace qwen3 {
namespace {

#if defined(__AVX512F__)

using Vector = __m512;
constexpr int kWidth = 16;        // numbers in a vector
constexpr int kPanelVectors = 4;  // with 6 rows: 24 sums, 4 vectors and a factor in 32 registers

inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
inline Vector all(float v) { return _mm512_set1_ps(v); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
inline Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
inline Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }           // a * b + c
inline Vector fused_negated(Vector a, Vector b, Vector c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
inline Vector rounded(Vector a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector times_power_of_two(Vector a, Vector n) { return _mm512_scalef_ps(a, n); }
inline Vector divided(Vector a, Vector b) { return _mm512_div_ps(a, b); }
inline Vector magnitude(Vector a) { return _mm512_abs_ps(a); }
// `negative` where `sign` is negative, else `other`.
inline Vector where_negative(Vector sign, Vector negative, Vector other) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(sign)), other, negative);
}
// The first `count` numbers of `v`, and `other` in the rest.
inline Vector first(Vector v, int count, float other) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>((1u << count) - 1), all(other), v);
}
inline float largest(Vector v) { return _mm512_reduce_max_ps(v); }
inline float total(Vector v) { return _mm512_reduce_add_ps(v); }

#else

using Vector = __m256;
constexpr int kWidth = 8;
constexpr int kPanelVectors = 2;  // with 6 rows: 12 sums, 2 vectors and a factor in 16 registers

inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
inline Vector all(float v) { return _mm256_set1_ps(v); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
inline Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector fused_negated(Vector a, Vector b, Vector c) { return _mm256_fnmadd_ps(a, b, c); }
inline Vector rounded(Vector a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector times_power_of_two(Vector a, Vector n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
}
inline Vector divided(Vector a, Vector b) { return _mm256_div_ps(a, b); }
inline Vector magnitude(Vector a) { return _mm256_andnot_ps(all(-0.0f), a); }
inline Vector where_negative(Vector sign, Vector negative, Vector other) {
  return _mm256_blendv_ps(other, negative, sign);
}
inline Vector first(Vector v, int count, float other) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), index);
  return _mm256_blendv_ps(all(other), v, _mm256_castsi256_ps(inside));
}
inline float largest(Vector v) {
  float numbers[kWidth];
  store(numbers, v);
  float found = numbers[0];
  for (int i = 1; i < kWidth; i++) found = numbers[i] > found ? numbers[i] : found;
  return found;
}
inline float total(Vector v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#endif

// exp(x) for x from -87 to 0, below that exp(-87), with a relative error of about 1e-7: x is split into n * ln(2) + r,
// and exp(r) is its Taylor polynomial of degree 7, |r| <= ln(2) / 2.
inline Vector exponential(Vector x) {
  x = larger(x, all(-87.0f));
  const Vector n = rounded(mul(x, all(1.44269504f)));
  Vector r = fused_negated(n, all(0.693359375f), x);
  r = fused_negated(n, all(-2.12194440e-4f), r);
  Vector y = all(1.0f / 5040);
  y = fused(y, r, all(1.0f / 720));
  y = fused(y, r, all(1.0f / 120));
  y = fused(y, r, all(1.0f / 24));
  y = fused(y, r, all(1.0f / 6));
  y = fused(y, r, all(0.5f));
  y = fused(y, r, all(1.0f));
  y = fused(y, r, all(1.0f));
  return times_power_of_two(y, n);
}

}  // namespace
}  // namespace qwen3
