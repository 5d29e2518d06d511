// The words of a domain's wish from anywhere: taken or refused with a sentence; what is taken are options of the admin API.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/auto_protect.hpp"
#include "guard/options.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto wanted = remus::daemon::parse_auto_protect({reinterpret_cast<const char*>(data), size});
  if (!wanted && wanted.error().what.empty()) std::abort();
  if (wanted && (wanted->to.empty() || !remus::guard::options_from_json(wanted->options))) std::abort();
  return 0;
}
