// What this processor and its operating system can do. The compiler's own function for it needs a C library that tells.

#pragma once

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

// What emulates AMX where the processor lacks it, for tests, defines this (tests/support/amx.c); it is null elsewhere.
extern "C" __attribute__((weak, visibility("default"))) void qwen3_emulates_amx();

namespace qwen3 {

struct Processor {
  bool avx2 = false;    // with FMA
  bool avx512 = false;  // F, BW, DQ and VL
  bool avx512_bf16 = false;
  bool avx512_vnni = false;
  bool amx_bf16 = false;  // with tiles, and with the system's permission to use them; AVX-512 has the same products
  bool amx_int8 = false;

  // This one, asked once: on a virtual machine each question interrupts it, and a model has hundreds of operators.
  static const Processor& here() {
    static const Processor found = detect();
    return found;
  }

 private:
  static Processor detect() {
    Processor found;
    uint32_t a = 0, b = 0, c = 0, d = 0;
    const auto bit = [](uint32_t value, int index) { return (value >> index & 1) != 0; };
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return found;  // OSXSAVE
    const bool fma = bit(c, 12);
    uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // which registers the operating system saves
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = fma && bit(b, 5) && (low & 0x06) == 0x06;
    found.avx512 = found.avx2 && (low & 0xe6) == 0xe6 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    found.avx512_vnni = found.avx512 && bit(c, 11);
    const bool has_tiles = bit(d, 24) && (low & 0x60000) == 0x60000;
    const bool has_amx_bf16 = has_tiles && bit(d, 22), has_amx_int8 = has_tiles && bit(d, 25);
    if (found.avx512 && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512_bf16 = bit(a, 5);
    const bool is_emulated = qwen3_emulates_amx != nullptr;
    const bool may_use_tiles = is_emulated || (has_tiles && ask_for_tiles());
    found.amx_bf16 = may_use_tiles && found.avx512_bf16 && (has_amx_bf16 || is_emulated);
    found.amx_int8 = may_use_tiles && found.avx512_vnni && (has_amx_int8 || is_emulated);
    return found;
  }

  // Linux saves the tiles of a process only after it asked for it, once for all its threads. Source: Linux,
  // Documentation/arch/x86/xstate.rst.
  static bool ask_for_tiles() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }
};

}  // namespace qwen3
