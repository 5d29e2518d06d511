#include "hypervisor/xen/inspect.hpp"

#include <fmt/format.h>
#include <xen/hvm/params.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tuple>

#include "hypervisor/xen/model_watch.hpp"
#include "hypervisor/xen/restorer/libxl.hpp"

namespace remus::hypervisor::xen {

namespace {

struct ContextFree {
  void operator()(libxl_ctx* context) const noexcept { libxl_ctx_free(context); }
};
using Context = std::unique_ptr<libxl_ctx, ContextFree>;

Result<Context> open_libxl(Handles& handles) {
  libxl_ctx* context = nullptr;
  if (libxl_ctx_alloc(&context, LIBXL_VERSION, 0, &handles.log()) != 0)
    return fail(Errc::unsupported, fmt::format("cannot open libxl: {}", handles.log().take_last_error()));
  return Context{context};
}

/// A domain's configuration as libxl keeps it.
class Configuration final {
 public:
  Configuration() { libxl_domain_config_init(&value); }
  ~Configuration() { libxl_domain_config_dispose(&value); }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;
  libxl_domain_config value{};
};

std::string text_of(const char* text) {
  return text == nullptr ? std::string{} : std::string{text};
}

std::uint64_t number(const std::optional<std::string>& text) {
  std::uint64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

std::vector<Vif> vifs_of(const Handles& handles, std::uint32_t domid, Kind kind,
                         const libxl_domain_config& config) {
  constexpr std::string_view connected = "4";
  std::vector<Vif> vifs;
  for (int i = 0; i < config.num_nics; ++i) {
    const libxl_device_nic& nic = config.nics[i];
    Vif vif;
    vif.devid = nic.devid;
    vif.mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", nic.mac[0], nic.mac[1], nic.mac[2],
                          nic.mac[3], nic.mac[4], nic.mac[5]);
    vif.bridge = text_of(nic.bridge);
    const std::string backend = fmt::format("/local/domain/0/backend/vif/{}/{}", domid, nic.devid);
    const std::string configured = text_of(nic.ifname);
    vif.interface =
        handles.read(backend + "/vifname")
            .value_or(configured.empty() ? fmt::format("vif{}.{}", domid, nic.devid) : configured);
    vif.emulated = kind == Kind::hvm && handles.read(backend + "/state").value_or("") != connected;
    if (vif.emulated) vif.interface += "-emu";
    vifs.push_back(std::move(vif));
  }
  return vifs;
}

void note_disks(const Handles& handles, const libxl_domain_config& config, DomainFacts& facts) {
  const auto connected = connected_disks(handles, facts.domid);
  for (int i = 0; i < config.num_disks; ++i) {
    const libxl_device_disk& disk = config.disks[i];
    if (disk.format == LIBXL_DISK_FORMAT_EMPTY) continue;
    Disk out{.device = text_of(disk.vdev),
             .target = text_of(disk.pdev_path),
             .writable = disk.readwrite != 0 && disk.is_cdrom == 0,
             .format = libxl_disk_format_to_string(disk.format),
             .backend = libxl_disk_backend_to_string(disk.backend)};
    out.connected = connected.contains(out.device);
    facts.disks.push_back(std::move(out));
  }
}

void note_devices(const libxl_domain_config& config, DomainFacts& facts) {
  facts.passthrough_devices = static_cast<unsigned>(config.num_pcidevs + config.num_dtdevs + config.num_rdms);
  const auto note = [&](int count, const char* what) {
    if (count > 0) facts.other_devices.emplace_back(what);
  };
  note(config.num_vtpms, "a virtual TPM");
  note(config.num_usbdevs, "a USB device of the host");
  note(config.num_p9s, "a 9p file system");
  note(config.num_pvcallsifs, "a PV calls interface");
  note(config.num_vdispls, "a PV display");
  note(config.num_vsnds, "a PV sound card");
}

}  // namespace

Result<std::uint32_t> find_domain(const Handles& handles, std::string_view name_or_id) {
  std::uint32_t number = 0;
  const char* const begin = name_or_id.data();
  const char* const end = begin + name_or_id.size();
  if (const auto [stop, bad] = std::from_chars(begin, end, number);
      bad == std::errc{} && stop == end && domain_state(handles, number))
    return number;
  unsigned count = 0;
  char** ids = xs_directory(handles.store(), XBT_NULL, "/local/domain", &count);
  std::optional<std::uint32_t> found;
  for (unsigned i = 0; i < count && ids != nullptr && !found; ++i) {
    if (handles.read(fmt::format("/local/domain/{}/name", ids[i])) != name_or_id) continue;
    const std::string_view id{ids[i]};
    if (std::from_chars(id.data(), id.data() + id.size(), number).ec == std::errc{} &&
        domain_state(handles, number))
      found = number;
  }
  std::free(static_cast<void*>(ids));
  if (!found)
    return fail(Errc::not_found, fmt::format("this Xen host has no domain '{}'", name_or_id),
                "`xl list` shows what it has");
  return *found;
}

std::set<std::string> connected_disks(const Handles& handles, std::uint32_t domid) {
  constexpr std::string_view connected = "4";
  std::set<std::string> out;
  const std::string path = fmt::format("/local/domain/0/backend/qdisk/{}", domid);
  unsigned count = 0;
  char** const entries = xs_directory(handles.store(), XBT_NULL, path.c_str(), &count);
  for (unsigned i = 0; i < count && entries != nullptr; ++i) {
    const std::string disk = fmt::format("{}/{}", path, entries[i]);
    if (handles.read(disk + "/state") == connected) out.insert(handles.read(disk + "/dev").value_or(""));
  }
  std::free(static_cast<void*>(entries));
  return out;
}

std::string name_of(const Handles& handles, std::uint32_t domid) {
  return handles.read(Handles::domain_path(domid) + "/name").value_or("");
}

bool being_saved(std::uint32_t domid) {
  // libxl-save-helper --save-domain FD FD DOMID ...
  constexpr std::size_t domid_word = 4;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
    std::ifstream name{entry.path() / "comm"};
    std::string comm;
    if (!std::getline(name, comm) || !comm.starts_with("libxl-save-help")) continue;
    std::ifstream line{entry.path() / "cmdline", std::ios::binary};
    std::vector<std::string> words;
    for (std::string word; std::getline(line, word, '\0');) words.push_back(word);
    if (words.size() > domid_word && words[1] == "--save-domain" &&
        words[domid_word] == std::to_string(domid))
      return true;
  }
  return false;
}

Result<DomainFacts> inspect(Handles& handles, std::uint32_t domid) {
  const auto state = domain_state(handles, domid);
  if (!state) return fail(Errc::not_found, fmt::format("there is no domain {}", domid));
  DomainFacts facts;
  facts.domid = domid;
  facts.name = name_of(handles, domid);
  if (domid == 0) return facts;
  auto context = open_libxl(handles);
  if (!context) return std::unexpected(context.error());
  Configuration configuration;
  libxl_domain_config& config = configuration.value;
  if (libxl_retrieve_domain_configuration(context->get(), domid, &config, nullptr) != 0) {
    // libxl asks the device model, too, and does not say that there is none any more.
    ModelWatch model;
    if (handles.read(Handles::domain_path(domid) + "/image/device-model-pid"))
      if (auto found = model.open(handles, domid); !found)
        return fail(Errc::refused, found.error().what,
                    "it cannot go on: `xl destroy` it, and start it again");
    return fail(Errc::io,
                fmt::format("libxl does not tell the configuration of domain {} ({}): {}", domid, facts.name,
                            handles.log().take_last_error()),
                "was it created by xl or libvirt?");
  }
  char* json = libxl_domain_config_to_json(context->get(), &config);
  if (json == nullptr) return fail(Errc::exhausted, "no memory for the domain's configuration");
  facts.config = json;
  std::free(json);

  facts.kind = config.c_info.type == LIBXL_DOMAIN_TYPE_PV    ? Kind::pv
               : config.c_info.type == LIBXL_DOMAIN_TYPE_PVH ? Kind::pvh
                                                             : Kind::hvm;
  char uuid[LIBXL_UUID_FMTLEN + 1];
  std::ignore = std::snprintf(uuid, sizeof uuid, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(config.c_info.uuid));
  facts.uuid = uuid;
  const int version = xc_version(handles.xc(), XENVER_version, nullptr);
  facts.xen_major = version >> 16;
  facts.xen_minor = version & 0xffff;
  facts.vcpus = state->vcpu_id_max + 1;
  facts.pages = state->pages;
  facts.paused = state->paused;
  facts.shut_down = state->shut_down;
  facts.dying = state->dying;
  facts.moving =
      being_saved(domid) || facts.name.ends_with("--incoming") || facts.name.ends_with("--migratedaway");
  facts.vifs = vifs_of(handles, domid, facts.kind, config);
  note_disks(handles, config, facts);
  note_devices(config, facts);
  const std::string path = Handles::domain_path(domid) + "/memory";
  facts.target_kib = number(handles.read(path + "/target"));
  facts.maximum_kib = number(handles.read(path + "/static-max"));
  if (facts.kind == Kind::pv) {
    facts.cooperative = true;
    if (xc_domain_get_guest_width(handles.xc(), domid, &facts.pv_width_bytes) != 0)
      return handles.fail_call(fmt::format("cannot learn the word size of domain {}", domid));
    return facts;
  }
  std::uint64_t callback = 0;
  if (xc_hvm_param_get(handles.xc(), domid, HVM_PARAM_CALLBACK_IRQ, &callback) != 0)
    return handles.fail_call(fmt::format("cannot learn whether domain {} has PV drivers", domid));
  facts.cooperative = callback != 0;
  std::uint64_t total = 0;
  std::uint64_t cached = 0;
  if (xc_domain_get_pod_target(handles.xc(), domid, &total, &cached, &facts.populate_on_demand_pages) != 0)
    return handles.fail_call(fmt::format("cannot learn whether domain {} is populated on demand", domid));
  if (facts.kind == Kind::hvm) {
    facts.video = config.b_info.u.hvm.vga.kind != LIBXL_VGA_INTERFACE_TYPE_NONE;
    const auto on = [](libxl_defbool value) {
      return !libxl_defbool_is_default(value) && libxl_defbool_val(value);
    };
    facts.stub_domain = on(config.b_info.device_model_stubdomain);
    facts.restricted_model = on(config.b_info.dm_restrict);
  }
  return facts;
}

Status destroy_domain(Handles& handles, std::uint32_t domid) {
  if (!domain_state(handles, domid)) return {};
  auto context = open_libxl(handles);
  if (!context) return std::unexpected(context.error());
  if (libxl_domain_destroy(context->get(), domid, nullptr) != 0 && domain_state(handles, domid))
    return fail(Errc::io, fmt::format("cannot destroy domain {}: {}", domid, handles.log().take_last_error()),
                fmt::format("`xl destroy {}`", domid));
  return {};
}

}  // namespace remus::hypervisor::xen
