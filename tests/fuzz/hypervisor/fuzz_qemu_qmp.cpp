// Arbitrary text as what QEMU prints or is told: options, `info` output, device blobs, descriptions of
// guests.
#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/device_blob.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/option_list.hpp"

using namespace remus::hypervisor::qemu;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  static_cast<void>(parse_blob(std::as_bytes(std::span{data, size})));
  static_cast<void>(parse_info_network(text));
  static_cast<void>(parse_info_ramblock(text));
  OptionList list = OptionList::parse(text, "type");
  const OptionList again = OptionList::parse(list.text(), "type");
  for (const auto& key : list.keys())
    if (list.get(key) != again.get(key) && !list.keys().front().empty() && !key.empty()) __builtin_trap();
  GuestFacts facts;
  facts.argv = {"qemu"};
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    facts.argv.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  facts.directory = "/";
  facts.memory = {{"pc.ram", "pc.ram", 4096, 0}};
  static_cast<void>(derive_command_line(facts, {}));
  static_cast<void>(objections(facts));
  const auto value = nlohmann::json::parse(text, nullptr, false);
  static_cast<void>(facts_from_json(value));
  try {
    facts.disks = parse_query_block(value);
    static_cast<void>(disk_objections(facts, {"virtio0"}));
  } catch (const nlohmann::json::exception&) {  // which inspect() turns into an error
  }
  return 0;
}
