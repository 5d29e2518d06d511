// What we have done to a running QEMU and it has no name for, noted in QEMU itself: objects that mean nothing to it (secrets
// without a user), and that whoever comes after our death finds there.
#pragma once

#include <string_view>

#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// Its NBD server is ours.
inline constexpr std::string_view server_mark = "remus-nbd-server";
/// The guest, which was running, is stopped by us for a moment, and is to go on.
inline constexpr std::string_view stop_mark = "remus-stopped";

Status put_mark(Qmp& qmp, std::string_view mark);
[[nodiscard]] Result<bool> has_mark(Qmp& qmp, std::string_view mark);
Status take_mark(Qmp& qmp, std::string_view mark);

}  // namespace remus::hypervisor::qemu
