// A batching strategy for Triton's dynamic batcher that closes a batch at a number of tokens.
//
// Top to bottom: the limits and how they are read from a model's configuration; the batch and what still fits into it;
// the five functions that Triton calls. The limits have the names and the meaning of the embedded host's parameters.
//
// One thread of Triton forms all batches of a model, one after the other, so the one batch that is open lives in the
// batcher: Triton does not finish every batch that it begins, and an allocation for each would leak.

#if !__has_include(<nlohmann/json.hpp>)
#error "nlohmann/json.hpp is missing; Debian, Ubuntu: apt install nlohmann-json3-dev; or github.com/nlohmann/json"
#endif

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "triton/core/tritonbackend.h"

namespace {

using nlohmann::json;

// ---- Limits ----

struct Limits {
  uint64_t max_batch_tokens;   // at least 1
  double max_slots_per_token;  // cap on padded positions (texts x longest text) for each token of a batch, at least
                               // 1.0; infinity for attention kernels that do not pad
};

// The value of parameters { key: "…" value { string_value: "…" } }; nullptr if it is missing.
const json*
FindParameter(const json& config, const std::string& key)
{
  const json::json_pointer path("/parameters/" + key + "/string_value");
  return config.contains(path) ? &config.at(path) : nullptr;
}

// A string as a number, which must be all of it: no blanks, plus sign or hexadecimals; nothing if it is out of range.
template <typename Number>
std::optional<Number>
ParseNumber(const json& value)
{
  constexpr size_t kMaxCharacters = 31;  // more than any sensible limit needs
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const char* const end = text.data() + text.size();
  Number number{};
  const auto [parsed_end, error] = std::from_chars(text.data(), end, number);
  const bool is_number = error == std::errc() && parsed_end == end && text.size() <= kMaxCharacters;
  return is_number ? std::optional(number) : std::nullopt;
}

// A value as JSON, cut to what fits into an error message.
std::string
Quote(const json& value)
{
  return value.dump(-1, ' ', true /* ensure_ascii */).substr(0, 64);
}

uint64_t
ReadMaxBatchTokens(const json& config)
{
  const json* value = FindParameter(config, "max_batch_tokens");
  if (value == nullptr) {
    throw std::invalid_argument(
        "the token budget needs the parameter max_batch_tokens; add to config.pbtxt: "
        "parameters { key: \"max_batch_tokens\" value { string_value: \"16384\" } }");
  }
  const auto tokens = ParseNumber<uint64_t>(*value);
  if (!tokens || *tokens < 1) {
    throw std::invalid_argument(
        "the parameter max_batch_tokens must be a whole number of at least 1, such as \"16384\", not " + Quote(*value));
  }
  return *tokens;
}

double
ReadMaxSlotsPerToken(const json& config)
{
  const json* value = FindParameter(config, "max_slots_per_token");
  if (value == nullptr) {
    return std::numeric_limits<double>::infinity();
  }
  const auto cap = ParseNumber<double>(*value);
  if (!cap || !std::isfinite(*cap) || *cap < 1.0) {
    throw std::invalid_argument(
        "the parameter max_slots_per_token must be a number of at least 1, such as \"1.25\", not " + Quote(*value) +
        "; leave it out where the kernel does not pad");
  }
  return *cap;
}

// Refuses a queue with a delay: Triton then examines a waiting batch again and again, and merges finished batches,
// without calling the strategy, which could neither count nor refuse. Without a delay, a batch holds what was admitted.
void
CheckQueue(const json& config)
{
  if (!config.contains("dynamic_batching")) {
    throw std::invalid_argument(
        "the token budget works on dynamic batches; add dynamic_batching { } to config.pbtxt, or remove "
        "TRITON_BATCH_STRATEGY_PATH");
  }
  const json::json_pointer delay("/dynamic_batching/max_queue_delay_microseconds");
  // Triton may write 64-bit numbers as strings.
  if (config.contains(delay) && config.at(delay) != 0 && config.at(delay) != "0") {
    throw std::invalid_argument(
        "with max_queue_delay_microseconds Triton merges batches past the token budget; remove the delay from "
        "dynamic_batching, or remove TRITON_BATCH_STRATEGY_PATH");
  }
}

// The limits in a model configuration, as Triton writes it in JSON.
//
// Throws std::invalid_argument with a message that names the fix if they are missing or malformed, or could not hold.
Limits
ReadLimits(const char* text, size_t size)
{
  // Malformed JSON becomes a value without members, so that the parameters are reported as missing.
  const json config = json::parse(text, text + size, nullptr, false /* allow_exceptions */);
  const Limits limits{ReadMaxBatchTokens(config), ReadMaxSlotsPerToken(config)};
  CheckQueue(config);
  return limits;
}

// Reads the limits of `model`, and turns exceptions into Triton's errors: none may reach Triton, whose API is C.
TRITONSERVER_Error*
ReadLimitsOfModel(TRITONBACKEND_Model* model, Limits* limits) noexcept
{
  TRITONSERVER_Message* message = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelConfig(model, 1 /* config_version */, &message)) {
    return error;
  }
  const char* text = nullptr;  // belongs to the message
  size_t size = 0;
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &text, &size);
  if (error == nullptr) {
    try {
      *limits = ReadLimits(text, size);
    }
    catch (const std::invalid_argument& refusal) {
      error = TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, refusal.what());
    }
    catch (const std::bad_alloc&) {
      error = TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "no memory for the token budget");
    }
    catch (const std::exception& failure) {
      error = TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, failure.what());
    }
  }
  TRITONSERVER_Error* deleted = TRITONSERVER_MessageDelete(message);
  if (error == nullptr) {
    return deleted;
  }
  if (deleted != nullptr) {
    TRITONSERVER_ErrorDelete(deleted);  // the first failure is reported
  }
  return error;
}

// ---- The batch ----

// Sum and product that stop at the largest number.
uint64_t
SaturatingAdd(uint64_t a, uint64_t b)
{
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t
SaturatingMultiply(uint64_t a, uint64_t b)
{
  return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

// A model's limits and its open batch. Not thread-safe.
class TokenBudget {
 public:
  explicit TokenBudget(const Limits& limits) noexcept : limits_(limits) {}

  // Begins an empty batch, or goes on with the open one if `id` is the same; `id` is compared and never dereferenced.
  void Begin(const void* id) noexcept
  {
    if (id != batch_.id) {
      batch_ = Batch{};
      batch_.id = id;
    }
  }

  // Adds a request of `texts` texts with `length` tokens each if the batch stays within its limits; returns whether it
  // was added.
  //
  // The first request of a batch is always added, however large: refused, it would be offered first again, endlessly.
  // A refusal closes the batch, because the queue keeps its order.
  bool Add(uint64_t texts, uint64_t length) noexcept
  {
    const uint64_t all_texts = SaturatingAdd(batch_.texts, texts);
    const uint64_t tokens = SaturatingAdd(batch_.tokens, SaturatingMultiply(texts, length));
    const uint64_t longest = std::max(batch_.longest, length);
    const uint64_t positions = SaturatingMultiply(all_texts, longest);
    // Without a cap on padding the right side is infinite or, for no tokens at all, not a number: never exceeded.
    const bool fits = tokens <= limits_.max_batch_tokens &&
                      !(static_cast<double>(positions) > limits_.max_slots_per_token * static_cast<double>(tokens));
    if (batch_.has_request && (batch_.is_closed || !fits)) {
      batch_.is_closed = true;
      return false;
    }
    batch_.texts = all_texts;
    batch_.tokens = tokens;
    batch_.longest = longest;
    batch_.has_request = true;
    return true;
  }

  // Adds a request of unknown size if the batch is empty, and closes the batch in any case; returns whether it was
  // added.
  bool AddAlone() noexcept
  {
    const bool added = !batch_.has_request;
    batch_.has_request = true;
    batch_.is_closed = true;
    return added;
  }

 private:
  struct Batch {
    const void* id = nullptr;
    uint64_t texts = 0;
    uint64_t tokens = 0;
    uint64_t longest = 0;      // tokens of its longest text
    bool has_request = false;  // also true for one whose texts are empty
    bool is_closed = false;    // nothing more is added
  };

  Limits limits_;
  Batch batch_;
};

// Reads how many texts a request holds, and how many tokens each of them has, from the shape of its input_ids.
TRITONSERVER_Error*
ReadShape(TRITONBACKEND_Request* request, uint64_t* texts, uint64_t* length)
{
  TRITONBACKEND_Input* input = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_RequestInput(request, "input_ids", &input)) {
    return error;
  }
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0;
  if (TRITONSERVER_Error* error =
          TRITONBACKEND_InputProperties(input, nullptr, nullptr, &shape, &dimensions, nullptr, nullptr)) {
    return error;
  }
  if (dimensions != 2 || shape[0] < 0 || shape[1] < 0) {
    return TRITONSERVER_ErrorNew(
        TRITONSERVER_ERROR_INVALID_ARG, "the token budget needs input_ids [texts, tokens]; the request runs alone");
  }
  *texts = static_cast<uint64_t>(shape[0]);
  *length = static_cast<uint64_t>(shape[1]);
  return nullptr;
}

}  // namespace

// ---- What Triton calls ----

extern "C" {

// Called once, when the model loads. An error keeps the model from loading.
TRITONSERVER_Error*
TRITONBACKEND_ModelBatcherInitialize(TRITONBACKEND_Batcher** batcher, TRITONBACKEND_Model* model)
{
  *batcher = nullptr;
  Limits limits{};
  if (TRITONSERVER_Error* error = ReadLimitsOfModel(model, &limits)) {
    return error;
  }
  auto* budget = new (std::nothrow) TokenBudget(limits);
  if (budget == nullptr) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "no memory for the token budget");
  }
  *batcher = reinterpret_cast<TRITONBACKEND_Batcher*>(budget);
  return nullptr;
}

// Called once, when the model unloads.
TRITONSERVER_Error*
TRITONBACKEND_ModelBatcherFinalize(TRITONBACKEND_Batcher* batcher)
{
  delete reinterpret_cast<TokenBudget*>(batcher);
  return nullptr;
}

// Called when Triton begins a batch, and again when it goes on with the same one: until the model takes a batch, Triton
// adds requests to it, even after ModelBatchFinalize (triton-inference-server/server#6458). `userp` is a field of the
// batch, and Triton keeps the last batch until it has the next, so the same address means the same batch.
TRITONSERVER_Error*
TRITONBACKEND_ModelBatchInitialize(const TRITONBACKEND_Batcher* batcher, void** userp)
{
  // Triton passes the batcher as const, but it is the object that ModelBatcherInitialize made.
  auto* budget = reinterpret_cast<TokenBudget*>(const_cast<TRITONBACKEND_Batcher*>(batcher));
  *userp = budget;
  if (budget == nullptr) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "the model is being unloaded; no token budget");
  }
  budget->Begin(userp);
  return nullptr;
}

// Called for each request in the order of the queue, until one is refused. Triton logs an error and still follows
// `should_include`: a first request that is refused would be offered again at once, endlessly.
TRITONSERVER_Error*
TRITONBACKEND_ModelBatchIncludeRequest(TRITONBACKEND_Request* request, void* userp, bool* should_include)
{
  if (userp == nullptr) {
    *should_include = true;  // it may be the first
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "a batch was begun without a token budget");
  }
  auto* budget = static_cast<TokenBudget*>(userp);
  uint64_t texts = 0;
  uint64_t length = 0;
  TRITONSERVER_Error* error = ReadShape(request, &texts, &length);
  *should_include = error == nullptr ? budget->Add(texts, length) : budget->AddAlone();
  return error;
}

// Called when a batch is ready for the model; Triton may still add requests to it.
TRITONSERVER_Error*
TRITONBACKEND_ModelBatchFinalize(void*)
{
  return nullptr;
}

}  // extern "C"
