// What a domain's configuration says of its protection. xl knows nothing of Remus and drops what it does not
// know, so its files are read here, by xl's own parser:
//
//   /etc/xen/web1.cfg, or below auto/   remus = "to=hostB,max-latency=25ms"   (or a list of such strings)
//   beside it, web1.remus               to=hostB                              (it leads, where both are there)
//                                       max-latency=25ms
//
// The words are those of `remus protect`, without the dashes; daemon/auto_protect.hpp understands them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

struct ProtectionWish {
  std::string words{};  ///< "to=hostB,max-latency=25ms": separated by commas or line ends
  std::filesystem::path file{};
};

/// The wish for the domain of this name in the files of `directory` and its `auto`; nullopt if nobody wishes
/// anything. A configuration that cannot be read, or that xl's parser refuses, is none. Errors: invalid
/// (`remus` is neither text nor a list of texts; wishes in two files that differ), io (NAME.remus).
[[nodiscard]] Result<std::optional<ProtectionWish>> wish_for(
    const std::string& domain, const std::filesystem::path& directory = "/etc/xen");

}  // namespace remus::hypervisor::xen
