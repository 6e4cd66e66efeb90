// AMX for tests on processors without it: a library to preload, which emulates the instructions that trap.
//
// Only what the operators use: LDTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBUSD and TDPBF16PS, with the
// faults of shapes that do not fit. A fault ends the program, as it would with AMX. Source: Intel's Software
// Developer's Manual, volume 2.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };

typedef struct {
  int rows, bytes;
  uint8_t data[ROWS][BYTES];
} Tile;

static __thread struct {
  int is_configured;
  Tile tiles[TILES];
} state;
static uint64_t emulated;

// The operators look whether it is there.
void qwen3_emulates_amx(void) {}

// How many instructions were emulated so far.
uint64_t emulated_amx_instructions(void) { return __atomic_load_n(&emulated, __ATOMIC_RELAXED); }

static void fault(const char* what) {
  static const char start[] = "emulated AMX: ";
  (void)!write(2, start, sizeof start - 1);
  (void)!write(2, what, strlen(what));
  (void)!write(2, "\n", 1);
  signal(SIGILL, SIG_DFL);
  raise(SIGILL);
  _exit(1);
}

static void configure(const uint8_t* shapes) {
  if (shapes[0] != 1) fault("LDTILECFG: not palette 1");
  for (int i = 1; i < 64; i++) {
    const int is_shape = (i >= 16 && i < 32) || (i >= 48 && i < 56);
    if (!is_shape && shapes[i]) fault("LDTILECFG: a reserved byte is not zero, or a first row is set");
  }
  memset(&state, 0, sizeof state);
  state.is_configured = 1;
  for (int t = 0; t < TILES; t++) {
    Tile* tile = &state.tiles[t];
    tile->bytes = shapes[16 + 2 * t] | shapes[17 + 2 * t] << 8;
    tile->rows = shapes[48 + t];
    if (tile->bytes > BYTES || tile->rows > ROWS || !tile->bytes != !tile->rows) fault("LDTILECFG: a wrong shape");
  }
}

static Tile* valid(int index) {
  Tile* tile = &state.tiles[index & 15];
  if (!state.is_configured || index >= TILES || !tile->rows || tile->bytes % 4) fault("a tile is not configured");
  return tile;
}

static float from_bf16(const uint8_t* bytes) {
  const uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 24;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static void multiply(int to, int from_left, int from_right, int is_int8) {
  if (to == from_left || to == from_right || from_left == from_right) fault("a product of tiles that are the same");
  Tile *sums = valid(to), *left = valid(from_left), *right = valid(from_right);
  if (sums->bytes != right->bytes || sums->rows != left->rows || left->bytes / 4 != right->rows) {
    fault("a product of tiles that do not fit");
  }
  for (int m = 0; m < sums->rows; m++) {
    for (int n = 0; n < sums->bytes / 4; n++) {
      uint8_t* sum = sums->data[m] + 4 * n;
      float even = 0, odd = 0;
      int32_t total = 0;
      for (int k = 0; k < right->rows; k++) {
        const uint8_t *a = left->data[m] + 4 * k, *b = right->data[k] + 4 * n;
        if (is_int8) {
          for (int i = 0; i < 4; i++) total += (int32_t)a[i] * (int8_t)b[i];
        } else {
          even = __builtin_fmaf(from_bf16(a), from_bf16(b), even);
          odd = __builtin_fmaf(from_bf16(a + 2), from_bf16(b + 2), odd);
        }
      }
      if (is_int8) {
        int32_t before;
        memcpy(&before, sum, 4);
        before = (int32_t)((uint32_t)before + (uint32_t)total);
        memcpy(sum, &before, 4);
      } else {
        float before;
        memcpy(&before, sum, 4);
        before += even + odd;
        memcpy(sum, &before, 4);
      }
    }
  }
}

static int64_t general_register(const ucontext_t* context, int index) {
  static const int registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context->uc_mcontext.gregs[registers[index]];
}

// What an instruction's ModRM byte, and SIB byte and displacement after it, say.
typedef struct {
  int is_register, reg, rm;
  int64_t address, stride, size;
} Operand;

static Operand decode(const uint8_t* at, const ucontext_t* context, const uint8_t* vex) {
  const int high_reg = vex[1] & 0x80 ? 0 : 8, high_index = vex[1] & 0x40 ? 0 : 8, high_base = vex[1] & 0x20 ? 0 : 8;
  const int mod = at[0] >> 6;
  Operand found = {
      .is_register = mod == 3, .reg = (at[0] >> 3 & 7) + high_reg, .rm = (at[0] & 7) + high_base, .size = 1};
  if (found.is_register) return found;
  int base = found.rm, has_base = 1;
  if ((at[0] & 7) == 4) {
    const int index = (at[1] >> 3 & 7) + high_index;
    base = (at[1] & 7) + high_base;
    if (index != 4) found.stride = general_register(context, index) << (at[1] >> 6);
    has_base = mod != 0 || (at[1] & 7) != 5;
    found.size++;
  } else if (mod == 0 && (at[0] & 7) == 5) {
    fault("an address relative to the instruction");
  }
  if (has_base) found.address = general_register(context, base);
  int32_t displacement = 0;
  if (mod == 1) {
    displacement = (int8_t)at[found.size];
    found.size++;
  } else if (mod == 2 || !has_base) {
    memcpy(&displacement, at + found.size, 4);
    found.size += 4;
  }
  found.address += displacement;
  return found;
}

static struct sigaction before;

static void emulate(int number, siginfo_t* info, void* argument) {
  ucontext_t* context = argument;
  const uint8_t* at = (const uint8_t*)context->uc_mcontext.gregs[REG_RIP];
  // VEX with three bytes, map 0F38, W0, 128 bits
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84)) {
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, info, argument);
    return fault("another illegal instruction");
  }
  const int prefix = at[2] & 3, opcode = at[3], third = ~(at[2] >> 3) & 15;
  const Operand operand = decode(at + 4, context, at);
  enum { NONE, P66, PF3, PF2 };
  if (opcode == 0x49 && prefix == NONE && operand.is_register) {
    memset(&state, 0, sizeof state);  // TILERELEASE
  } else if (opcode == 0x49 && prefix == NONE) {
    configure((const uint8_t*)operand.address);
  } else if (opcode == 0x49 && prefix == PF2 && operand.is_register) {
    Tile* tile = valid(operand.reg);
    memset(tile->data, 0, sizeof tile->data);
  } else if (opcode == 0x4b && (prefix == PF2 || prefix == PF3) && !operand.is_register) {
    Tile* tile = valid(operand.reg);
    if (prefix == PF2) memset(tile->data, 0, sizeof tile->data);
    for (int r = 0; r < tile->rows; r++) {
      uint8_t* memory = (uint8_t*)(operand.address + r * operand.stride);
      memcpy(prefix == PF2 ? tile->data[r] : memory, prefix == PF2 ? memory : tile->data[r], tile->bytes);
    }
  } else if (opcode == 0x5e && prefix == P66 && operand.is_register) {
    multiply(operand.reg, operand.rm, third, 1);
  } else if (opcode == 0x5c && prefix == PF3 && operand.is_register) {
    multiply(operand.reg, operand.rm, third, 0);
  } else {
    fault("an instruction that is not emulated");
  }
  __atomic_fetch_add(&emulated, 1, __ATOMIC_RELAXED);
  context->uc_mcontext.gregs[REG_RIP] += 4 + operand.size;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action = {.sa_sigaction = emulate, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &action, &before);
}
