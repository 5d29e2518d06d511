#include "hypervisor/xen/domain_disks.hpp"

#include <fmt/format.h>

#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "hypervisor/qemu/guest_disks.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/leftovers.hpp"
#include "hypervisor/xen/device_model.hpp"
#include "hypervisor/xen/inspect.hpp"
#include "hypervisor/xen/session_mark.hpp"

namespace remus::hypervisor::xen {

namespace {

constexpr const char* mark_name = ".disks";
/// By then QEMU's I/O threads have begun whatever stood in the rings when the domain was paused; it ends when QEMU is stopped.
constexpr std::chrono::milliseconds rings_emptied{20};

/// The domain begins nothing while `body` runs.
Status stand_still(Handles& handles, std::uint32_t domid, SessionMark& mark,
                   const std::function<Status()>& body) {
  mark.fields().pausing = 1;
  if (xc_domain_pause(handles.xc(), domid) != 0) {
    mark.fields().pausing = 0;
    // Of a domain that is no more, nothing begins anything.
    return domain_state(handles, domid) ? handles.fail_call(fmt::format("cannot pause domain {}", domid))
                                        : body();
  }
  std::this_thread::sleep_for(rings_emptied);
  Status done = body();
  // Else the mark stays: a rescue unpauses it.
  if (xc_domain_unpause(handles.xc(), domid) != 0 && domain_state(handles, domid))
    return handles.fail_call(fmt::format("cannot unpause domain {}", domid));
  mark.fields().pausing = 0;
  return done;
}

class DomainDisks final : public GuestDisks {
 public:
  DomainDisks(std::shared_ptr<Handles> handles, std::uint32_t domid, std::shared_ptr<qemu::Qmp> monitor)
      : handles_{std::move(handles)}, domid_{domid}, monitor_{std::move(monitor)}, mark_{mark_name} {}

  ~DomainDisks() override {
    bool left = true;
    for (std::size_t i = 0; disks_ && i < disks_->list().size(); ++i)
      left = disks_->leave(i).has_value() && left;
    disks_.reset();
    if (left) mark_.remove();
  }

  Status open(const std::string& uuid, const ServedDisks& served, const DomainFacts& facts,
              const std::filesystem::path& directory) {
    if (Status marked = mark_.create(domid_, uuid); !marked) return marked;
    disks_ = qemu::make_guest_disks(monitor_, served, directory, [this](const auto& body) {
      return stand_still(*handles_, domid_, mark_, body);
    });
    for (const auto& [name, disk] : served)
      for (const Disk& known : facts.disks)
        if (known.device == name && !known.connected) emulated_.insert(name);
    return {};
  }

  const std::vector<GuestDisk>& list() const override { return disks_->list(); }
  Status follow(std::size_t disk, const std::function<Status(Fd)>& serve) override {
    return disks_->follow(disk, serve);
  }
  Result<std::vector<std::size_t>> broken() override {
    if (Status same = still_emulated(); !same) return std::unexpected(same.error());
    return disks_->broken();
  }
  Status leave(std::size_t disk) override { return disks_->leave(disk); }
  Result<Reading> read(std::size_t disk) override { return disks_->read(disk); }
  Status end_reading() override { return disks_->end_reading(); }
  Status begin_record(const std::string& name) override { return disks_->begin_record(name); }
  Result<std::vector<std::string>> records() override { return disks_->records(); }
  Result<std::vector<Range>> take_record(std::size_t disk, const std::string& name) override {
    return disks_->take_record(disk, name);
  }
  Status end_records(const std::vector<std::string>& except) override { return disks_->end_records(except); }

 private:
  /// A PV driver that is loaded later writes past the emulated disk that we follow.
  [[nodiscard]] Status still_emulated() const {
    if (emulated_.empty()) return {};
    for (const std::string& name : connected_disks(*handles_, domid_))
      if (emulated_.contains(name))
        return fail(Errc::io,
                    fmt::format("a PV driver of domain {} has taken over disk '{}', which was emulated",
                                domid_, name),
                    "unprotect and protect the guest: then the driver's writes are followed");
    return {};
  }

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  std::shared_ptr<qemu::Qmp> monitor_;
  SessionMark mark_;
  std::unique_ptr<GuestDisks> disks_{};
  std::set<std::string> emulated_{};
};

}  // namespace

Result<ServedDisks> inspect_served(qemu::Qmp& monitor, const DomainFacts& facts,
                                   const std::vector<std::string>& names) {
  qemu::GuestFacts served;
  served.version = monitor.version();
  if (Status seen = qemu::inspect_disks(monitor, served); !seen) return std::unexpected(seen.error());
  return find_served(facts, names, std::move(served));
}

Result<std::unique_ptr<GuestDisks>> make_domain_disks(const std::shared_ptr<Handles>& handles,
                                                      DomainIdentity domain,
                                                      const std::shared_ptr<qemu::Qmp>& monitor,
                                                      const ServedDisks& disks, const DomainFacts& facts,
                                                      const std::filesystem::path& directory) {
  auto made = std::make_unique<DomainDisks>(handles, domain.domid, monitor);
  if (Status opened = made->open(domain.uuid, disks, facts, directory); !opened)
    return std::unexpected(opened.error());
  return made;
}

Status rescue_domain_disks(const std::shared_ptr<Handles>& handles, const DomainIdentity& domain) {
  SessionMark mark{mark_name};
  if (!mark.open(domain.domid, domain.uuid)) return {};
  if (mark.fields().pausing != 0) {
    const auto state = domain_state(*handles, domain.domid);
    if (state && state->paused && xc_domain_unpause(handles->xc(), domain.domid) != 0)
      return handles->fail_call(fmt::format("cannot unpause domain {}", domain.domid));
    mark.fields().pausing = 0;
  }
  auto monitor = connect_model(domain.domid);
  if (!monitor) return std::unexpected(monitor.error());
  Status gone = qemu::remove_leftovers(
      **monitor, [&](const auto& body) { return stand_still(*handles, domain.domid, mark, body); });
  if (gone) mark.remove();
  return gone;
}

}  // namespace remus::hypervisor::xen
