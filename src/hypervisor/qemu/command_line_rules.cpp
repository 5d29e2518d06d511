#include "hypervisor/qemu/command_line_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hypervisor/qemu/leftovers.hpp"

namespace remus::hypervisor::qemu {

namespace {

template <std::size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::ranges::find(words, word) != words.end();
}

// The standby is steered by us alone, waits for its state, and stays our child process.
constexpr std::array<std::string_view, 19> dropped_options{
    "S",           "daemonize",  "pidfile",      "incoming",  "loadvm",
    "qmp",         "qmp-pretty", "monitor",      "D",         "gdb",
    "s",           "mem-path",   "mem-prealloc", "preconfig", "add-fd",
    "writeconfig", "nographic",  "display-none", "trace"};

constexpr std::array<std::string_view, 5> window_options{"sdl", "gtk", "curses", "full-screen",
                                                         "show-cursor"};

bool has_suffix_backend(std::string_view type) {
  return type.starts_with("memory-backend-");
}

}  // namespace

CommandLineRules::CommandLineRules(const GuestFacts& facts, const StandbyPaths& paths,
                                   const std::vector<Option>& options)
    : facts_{facts}, paths_{paths} {
  for (const Option& option : options) {
    if (option.name == "mon")
      monitor_chardevs_.insert(OptionList::parse(option.value, "chardev").get_or("chardev", ""));
    if (option.name == "qmp" || option.name == "monitor") {
      const std::string_view value = option.value;
      if (value.starts_with("chardev:")) monitor_chardevs_.insert(std::string{value.substr(8)});
    }
    if (option.name == "nodefaults") nodefaults_ = true;
    if (option.name == "nographic") nographic_ = true;
    if (option.name == "serial") serial_ = true;
    if (option.name == "object") {
      const OptionList list = OptionList::parse(option.value, "qom-type");
      if (has_suffix_backend(list.get_or("qom-type", ""))) declared_backends_.insert(list.get_or("id", ""));
    }
  }
}

void CommandLineRules::apply(const Option& option) {
  if (dropped(option) || refused(option)) return;
  const std::string_view name = option.name;
  if (name == "machine" || name == "M") {
    machine(option);
  } else if (name == "object") {
    object(option);
  } else if (name == "netdev") {
    netdev(option);
  } else if (name == "nic") {
    nic(option);
  } else if (name == "chardev") {
    chardev(option);
  } else if (name == "serial" || name == "parallel" || name == "debugcon" || name == "virtioconsole") {
    serial(option);
  } else if (name == "display" || one_of(name, window_options)) {
    display(option);
  } else if (name == "vnc") {
    vnc(option);
  } else if (name == "spice") {
    note("SPICE is not offered after a failover");
  } else if (name == "drive" || name == "blockdev" || name == "cdrom" || name == "pflash") {
    drive(option);
  } else if (name == "kernel" || name == "initrd" || name == "dtb" || name == "bios" || name == "L") {
    // initrd may name several multiboot modules; then the first word of each is a path QEMU itself checks.
    needs(option.value, fmt::format("-{}", name));
    if (name == "bios" && option.value.find('/') == std::string::npos) {
      out_.files.pop_back();  // looked up in QEMU's own data directories
      keep(option);
    } else {
      emit(name, absolute(option.value));
    }
  } else if (name == "device") {
    device(option);
  } else {
    keep(option);
  }
}

bool CommandLineRules::dropped(const Option& option) {
  if (option.name == "mon") return true;
  return one_of(std::string_view{option.name}, dropped_options);
}

bool CommandLineRules::refused(const Option& option) {
  const std::string_view name = option.name;
  if (name.empty()) {
    object_to(fmt::format("disk image '{}' has no replication", option.value));
  } else if (name == "readconfig" || name == "plugin") {
    object_to(fmt::format("-{} {}: what it adds to the guest cannot be seen; write it on the command line",
                          name, option.value));
  } else if (name == "net" && option.value != "none") {
    object_to(fmt::format("-net {}: the old network hub cannot be protected; use -netdev and -device",
                          option.value));
  } else if (name == "snapshot") {
    object_to("-snapshot: the guest writes to a temporary disk that has no replication");
  } else if (name == "numa" && OptionList::parse(option.value, "type").has("mem")) {
    object_to(fmt::format("-numa {}: use memdev= instead of mem=", option.value));
  } else {
    return false;
  }
  return true;
}

void CommandLineRules::machine(const Option& option) {
  OptionList list = OptionList::parse(option.value, "type");
  list.set("type", facts_.machine);
  machine_ = true;
  emit("machine", list.text());
}

std::string CommandLineRules::backend_argument(const MemoryBackend& backend) const {
  OptionList list = OptionList::parse("memory-backend-file", "qom-type");
  list.set("id", backend.id);
  list.set_size("size", backend.bytes);
  list.set("mem-path", (paths_.image_dir / image_file_name(backend.id)).native());
  list.set("share", "on");
  // The name in the stream must be the primary's; what QEMU makes of the id depends on the machine's age.
  if (backend.ramblock != backend.id) list.set("x-use-canonical-path-for-ramblock-id", "on");
  return list.text();
}

void CommandLineRules::object(const Option& option) {
  const OptionList list = OptionList::parse(option.value, "qom-type");
  const std::string type = list.get_or("qom-type", "");
  const std::string id = list.get_or("id", "");
  if (has_suffix_backend(type)) {
    const auto backend = std::ranges::find(facts_.memory, id, &MemoryBackend::id);
    if (backend == facts_.memory.end())
      return object_to(fmt::format("memory backend '{}' is not memory of the machine", id));
    return emit("object", backend_argument(*backend));
  }
  if (type == "secret" && id == "masterKey0")
    return;  // libvirt's, for secrets that a guest without disks has not
  if (type.starts_with("filter-") || type.starts_with("colo-"))
    return note(fmt::format("network filter '{}' is not there after a failover", id));
  if (const auto file = list.get("file")) needs(*file, fmt::format("-object {},id={}", type, id));
  keep(option);
}

void CommandLineRules::tap(const OptionList& old, const std::string& id) {
  const auto ours = paths_.taps.find(id);
  if (ours == paths_.taps.end()) return object_to(fmt::format("netdev '{}': no tap was chosen for it", id));
  OptionList fresh = OptionList::parse("tap", "type");
  fresh.set("id", id);
  fresh.set("ifname", ours->second);
  fresh.set("script", "no");
  fresh.set("downscript", "no");
  for (const char* key : {"vnet_hdr", "sndbuf", "poll-us"})
    if (const auto value = old.get(key)) fresh.set(key, *value);
  emit("netdev", fresh.text());
}

void CommandLineRules::netdev(const Option& option) {
  const OptionList list = OptionList::parse(option.value, "type");
  const std::string type = list.get_or("type", "");
  const std::string id = list.get_or("id", "");
  if (type == "tap" || type == "bridge") {
    tap(list, id);
  } else if (type == "vhost-user" || type == "vhost-vdpa") {
    object_to(fmt::format("netdev '{}': packets of {} bypass QEMU, so its output cannot be held", id, type));
  } else if (list.has("fd") || list.has("h")) {
    object_to(
        fmt::format("netdev '{}' was given as an open file (fd=), which the backup cannot open again", id));
  } else {
    keep(option);
  }
}

void CommandLineRules::nic(const Option& option) {
  OptionList list = OptionList::parse(option.value, "type");
  const std::string type = list.get_or("type", "");
  if (type == "tap" || type == "bridge") {
    const auto ours = paths_.taps.find(list.get_or("id", ""));
    if (ours == paths_.taps.end())
      return object_to(fmt::format("-nic {}: give it an id=, or use -netdev and -device", option.value));
    for (const char* key : {"br", "helper", "fd", "fds", "vhost", "vhostfd", "vhostfds", "queues"})
      list.erase(key);
    list.set("type", "tap");
    list.set("ifname", ours->second);
    list.set("script", "no");
    list.set("downscript", "no");
    return emit("nic", list.text());
  }
  keep(option);
}

void CommandLineRules::chardev(const Option& option) {
  OptionList list = OptionList::parse(option.value, "backend");
  const std::string type = list.get_or("backend", "");
  const std::string id = list.get_or("id", "");
  if (monitor_chardevs_.contains(id)) return;
  const std::string path = list.get_or("path", "");
  const bool passed_in = list.has("fd") || path.starts_with("/dev/fdset/");
  if (type == "stdio" || type == "spicevmc" || type == "spiceport" || passed_in) {
    note(fmt::format("chardev '{}' ({}) goes nowhere after a failover", id,
                     passed_in ? "an open file" : type));
    return emit("chardev", fmt::format("null,id={}", id));
  }
  if (type == "file" || type == "pipe") {
    needs(std::filesystem::path{absolute(path)}.parent_path().native(),
          fmt::format("-chardev {},id={}", type, id));
    list.set("path", absolute(path));
    if (type == "file") list.set("append", "on");
    return emit("chardev", list.text());
  }
  if (type == "socket") {
    if (!path.empty()) {
      needs(std::filesystem::path{absolute(path)}.parent_path().native(),
            fmt::format("-chardev socket,id={}", id));
      list.set("path", absolute(path));
    }
    const bool server = list.is_on("server");
    if (server && !list.has("nowait")) list.set("wait", "off");
    // A client whose peer is not there yet must not keep the standby from starting.
    if (!server && !list.has("reconnect") && !list.has("reconnect-ms")) list.set("reconnect", "5");
    return emit("chardev", list.text());
  }
  keep(option);
}

void CommandLineRules::serial(const Option& option) {
  std::string_view value = option.value;
  if (value.starts_with("mon:")) value.remove_prefix(4);
  if (value == "stdio" || value.starts_with("fd:") || value.starts_with("con:")) {
    note(fmt::format("-{} {} goes nowhere after a failover", option.name, option.value));
    return emit(option.name, "null");
  }
  if (value.starts_with("file:")) {
    // Appended to, so that what was logged on this host before is not lost.
    const std::string path = absolute(std::string{value.substr(5)});
    const std::string id = fmt::format("{}{}{}", standby_chardev_prefix, option.name, serials_++);
    needs(std::filesystem::path{path}.parent_path().native(),
          fmt::format("-{} {}", option.name, option.value));
    OptionList list = OptionList::parse("file", "backend");
    list.set("id", id);
    list.set("path", path);
    list.set("append", "on");
    emit("chardev", list.text());
    return emit(option.name, "chardev:" + id);
  }
  emit(option.name, std::string{value});
}

void CommandLineRules::display(const Option& option) {
  const std::string type = OptionList::parse(option.value, "type").get_or("type", option.name);
  if (type == "egl-headless" || type == "dbus" || type == "vnc") return keep(option);
  if (!display_) emit("display", "none");
  display_ = true;
  if (type != "none") note(fmt::format("the window ({}) is not there after a failover", type));
}

void CommandLineRules::vnc(const Option& option) {
  OptionList list = OptionList::parse(option.value, "vnc");
  const std::string where = list.get_or("vnc", "");
  if (where == "none") return keep(option);
  if (where.starts_with("unix:")) {
    list.set("vnc", "unix:" + (paths_.runtime_dir / "vnc.sock").native());
  } else if (!list.has("to") && !list.is_on("reverse")) {
    list.set("to", "99");  // the primary's port may be taken here: the next free one
    note("VNC may have another port after a failover");
  }
  emit("vnc", list.text());
}

void CommandLineRules::drive(const Option& option) {
  OptionList list = OptionList::parse(option.value, option.name == "blockdev" ? "driver" : "file");
  const bool plain = option.name == "cdrom" || option.name == "pflash";
  const std::string file = plain ? option.value : list.get_or(list.has("filename") ? "filename" : "file", "");
  // A node with its file inside ("file.filename=") is told of in one option.
  if (file.empty() && list.has("file.filename"))
    needs(list.get_or("file.filename", ""), fmt::format("-{}", option.name));
  // Files only; what is a protocol ("nbd://...") or another node's name is not ours to look for.
  const bool is_node = option.name == "blockdev" && !list.has("filename");
  if (!file.empty() && !is_node && file.find(':') == std::string::npos)
    needs(file, fmt::format("-{}", option.name));
  if (file.starts_with("/dev/fdset/"))
    object_to(
        fmt::format("-{} {}: an open file that the backup cannot open again", option.name, option.value));
  keep(option);
}

void CommandLineRules::device(const Option& option) {
  const OptionList list = OptionList::parse(option.value, "driver");
  if (const auto rom = list.get("romfile"); rom && rom->find('/') != std::string::npos)
    needs(*rom, fmt::format("-device {}", list.get_or("driver", "")));
  keep(option);
}

void CommandLineRules::keep(const Option& option) {
  if (option.has_value) {
    emit(option.name, option.value);
  } else {
    emit(option.name);
  }
}

void CommandLineRules::emit(std::string_view name, std::string value) {
  emit(name);
  out_.arguments.push_back(std::move(value));
}

void CommandLineRules::emit(std::string_view name) {
  out_.arguments.push_back(fmt::format("-{}", name));
}

void CommandLineRules::needs(const std::string& path, std::string_view what) {
  NeededFile file{absolute(path), std::string{what}};
  if (std::ranges::find(out_.files, file) == out_.files.end()) out_.files.push_back(std::move(file));
}

std::string CommandLineRules::absolute(const std::string& path) const {
  return (std::filesystem::path{facts_.directory} / path).lexically_normal().native();
}

DerivedCommandLine CommandLineRules::finish() && {
  // Memory that the machine made by itself has no option to rewrite: it gets one.
  std::string default_backend;
  for (const MemoryBackend& backend : facts_.memory) {
    if (declared_backends_.contains(backend.id)) continue;
    if (!default_backend.empty())
      object_to(
          fmt::format("memory '{}' and '{}' have no -object: only one may", default_backend, backend.id));
    default_backend = backend.id;
    emit("object", backend_argument(backend));
  }
  // Options of -machine given twice are merged by QEMU.
  if (!machine_ || !default_backend.empty()) {
    OptionList list = OptionList::parse(facts_.machine, "type");
    if (!default_backend.empty()) list.set("memory-backend", default_backend);
    emit("machine", list.text());
  }
  if (nographic_) {
    if (!display_) emit("display", "none");
    if (!serial_ && !nodefaults_) emit("serial", "null");
    emit("monitor", "none");
    note("-nographic: the terminal is not there after a failover");
  } else if (!display_) {
    emit("display", "none");
  }
  emit("qmp", fmt::format("unix:{},server=on,wait=off", paths_.qmp.native()));
  emit("incoming", "defer");
  return std::move(out_);
}

}  // namespace remus::hypervisor::qemu
