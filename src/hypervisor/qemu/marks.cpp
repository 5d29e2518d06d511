#include "hypervisor/qemu/marks.hpp"

#include <algorithm>

namespace remus::hypervisor::qemu {

Status put_mark(Qmp& qmp, std::string_view mark) {
  auto put = qmp.execute("object-add", {{"qom-type", "secret"}, {"id", mark}, {"data", "none"}});
  if (!put) return std::unexpected(put.error());
  return {};
}

Result<bool> has_mark(Qmp& qmp, std::string_view mark) {
  auto objects = qmp.execute("qom-list", {{"path", "/objects"}});
  if (!objects) return std::unexpected(objects.error());
  return std::ranges::any_of(*objects, [&](const auto& entry) { return entry.value("name", "") == mark; });
}

Status take_mark(Qmp& qmp, std::string_view mark) {
  auto taken = qmp.execute("object-del", {{"id", mark}});
  if (!taken) return std::unexpected(taken.error());
  return {};
}

}  // namespace remus::hypervisor::qemu
