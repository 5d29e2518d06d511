// The rules by which one option of the primary becomes options of the standby. Used by command_line.cpp only.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/option_list.hpp"

namespace remus::hypervisor::qemu {

class CommandLineRules final {
 public:
  CommandLineRules(const GuestFacts& facts, const StandbyPaths& paths, const std::vector<Option>& options);

  void apply(const Option& option);
  [[nodiscard]] DerivedCommandLine finish() &&;

 private:
  [[nodiscard]] bool dropped(const Option& option);
  [[nodiscard]] bool refused(const Option& option);
  void machine(const Option& option);
  void object(const Option& option);
  void netdev(const Option& option);
  void tap(const OptionList& old, const std::string& id);
  void nic(const Option& option);
  void chardev(const Option& option);
  void serial(const Option& option);
  void display(const Option& option);
  void vnc(const Option& option);
  void drive(const Option& option);
  void device(const Option& option);

  void keep(const Option& option);
  void emit(std::string_view name, std::string value);
  void emit(std::string_view name);
  void note(std::string text) { out_.notes.push_back(std::move(text)); }
  void object_to(std::string text) { out_.objections.push_back(std::move(text)); }
  void needs(const std::string& path, std::string_view what);
  [[nodiscard]] std::string absolute(const std::string& path) const;
  [[nodiscard]] std::string backend_argument(const MemoryBackend& backend) const;

  const GuestFacts& facts_;
  const StandbyPaths& paths_;
  DerivedCommandLine out_{};
  std::set<std::string> monitor_chardevs_{};   ///< used by nothing but a monitor: dropped with it
  std::set<std::string> declared_backends_{};  ///< memory backends the command line itself declares
  bool nographic_{};
  bool display_{};
  bool serial_{};
  bool nodefaults_{};
  bool machine_{};
  int serials_{};
};

}  // namespace remus::hypervisor::qemu
