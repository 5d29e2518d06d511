// A guard's spec from anywhere: read or refused; what is read is written and read back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "guard/api.hpp"
#include "guard/spec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = nlohmann::json::parse(data, data + size, nullptr, false);
  if (value.is_discarded()) return 0;
  const auto spec = remus::guard::spec_from_json(value);
  if (spec) {
    const auto written = remus::guard::to_json(*spec);
    const auto again = remus::guard::spec_from_json(written);
    if (!again || remus::guard::to_json(*again) != written) std::abort();
  }
  const auto status = remus::guard::status_from_json(value);
  if (status && !remus::guard::status_from_json(remus::guard::to_json(*status))) std::abort();
  static_cast<void>(remus::guard::event_from_json(value));
  static_cast<void>(remus::guard::verify_report_from_json(value));
  static_cast<void>(remus::guard::report_from_json(value));
  static_cast<void>(remus::guard::error_from_json(value));
  return 0;
}
