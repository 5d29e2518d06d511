// Pipeline and Replica face to face, without a network, for tests.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <random>

#include "fake_guest.hpp"
#include "guard/pipeline.hpp"
#include "guard/replica.hpp"

namespace remus::guard::testing {

using engine::Epoch;
using engine::Session;

constexpr std::chrono::seconds enough{10};  ///< to verify all memory in one pause

class Copy : public ::testing::Test {
 protected:
  explicit Copy(std::unique_ptr<PrimaryDisks> disks = nullptr, BackupDisks replicas = {})
      : replica{io, std::make_unique<FakeStandby>(view), std::move(replicas), replica_events()} {
    Pipeline::Events p;
    p.layout_known = [this](Session session, const checkpoint::Layout& layout) {
      replica.prepare(session, {}, layout, true,
                      pipeline->disks() != nullptr ? pipeline->disks()->base() : DisksBase{});
    };
    p.progress = [](Session, hypervisor::SyncProgress) {};
    p.synchronized = [this](Session, const hypervisor::CaptureReport&) { ++synchronized; };
    p.sync_failed = [this](Session, const Error& e) { errors.push_back(e); };
    p.captured = [this](Session, Epoch epoch, const hypervisor::CaptureReport&, std::uint64_t) {
      captured = epoch;
    };
    p.capture_failed = [this](Session, const Error& e) { errors.push_back(e); };
    p.ready = [this](Session) { ++ready; };
    p.encoded = [this](const Outbound& item) { deliver(item); };
    p.encode_failed = [this](Session, const Error& e) { errors.push_back(e); };
    p.disks_copied = [this](Session, PrimaryDisks::Progress done) {
      compared_bytes.push_back(done.done_bytes);
      copied_bytes.push_back(done.copied_bytes);
    };
    p.hashes_wanted = [this](const link::DiskHashesWanted& wanted) { replica.receive(wanted); };
    p.disks_press = [] {};
    p.verify_failed = [this](std::uint64_t, const Error& e) { verify_failed = e; };
    p.detached = [this] { ++detached; };
    pipeline = std::make_unique<Pipeline>(io, domain, output, std::move(disks), GuestOptions{}, std::move(p));
  }
  ~Copy() override { pipeline.reset(); }

  Replica::Events replica_events() {
    Replica::Events r;
    r.prepared = [this](Session session, bool hashes_follow, Session disks_base) {
      offered = hashes_follow;
      pipeline->disks_base(disks_base);
      if (!hashes_follow) pipeline->backup_ready(session);
    };
    r.offer = [this](const link::HashOffer& offer) {
      pipeline->offer(offer.session, offer.first_page, offer.hashes);
      if (offer.last) pipeline->backup_ready(offer.session);
    };
    r.disk_hashes = [this](link::DiskHashes hashes) {
      if (spoil_disk_hashes) spoil_disk_hashes(hashes);
      pipeline->disk_hashes(std::move(hashes));
    };
    r.prepare_failed = [this](Session, const Error& e) { errors.push_back(e); };
    r.whole = [this](Session session, Epoch epoch) {
      whole = epoch;
      wholes.push_back(epoch);
      if (apply_whole) replica.apply(session, epoch);
    };
    r.malformed = [this](Session, const Error& e) { errors.push_back(e); };
    r.applied = [this](Session, Epoch epoch) { applied = epoch; };
    r.apply_failed = [this](Session, const Error& e) { errors.push_back(e); };
    r.consumed = [this](std::size_t bytes) { consumed += bytes; };
    r.activated = [this](const hypervisor::ActivationReport&) { ++activated; };
    r.activation_failed = [this](const Error& e) { errors.push_back(e); };
    r.discarded = [this] { ++discarded; };
    r.standby_lost = [this](const Error& e) { errors.push_back(e); };
    r.verified = [this](const link::VerifyResult& result) { verified = result; };
    return r;
  }

  // What Sender and the link do, without them.
  void deliver(const Outbound& item) {
    last = item;
    if (drop_outbound) return;
    if (postpone_outbound) return postponed.push_back(item);
    if (item.kind == Outbound::Kind::messages) {
      for (const auto& message : item.messages) {
        if (const auto* begin = std::get_if<link::VerifyBegin>(&message)) replica.receive(*begin, 1);
        if (const auto* hashes = std::get_if<link::VerifyHashes>(&message)) replica.receive(*hashes, 1);
        if (const auto* blocks = std::get_if<link::VerifyDiskHashes>(&message)) replica.receive(*blocks, 1);
      }
      return;
    }
    if (item.kind == Outbound::Kind::sync) {
      for (std::size_t i = 0; item.disks && i < item.disks->size(); ++i)
        replica.receive(link::DiskSync{item.session, 0, {item.disks, item.disks->batch(i)}}, 1);
      for (std::size_t i = 0; item.data && i < item.data->batches(); ++i) {
        wire_bytes += item.data->batch(i).size();
        replica.receive(link::SyncPages{item.session, 0, {item.data, item.data->batch(i)}}, 1);
      }
      return;
    }
    deliver_epoch(item, {});
  }
  void deliver_epoch(const Outbound& item, const std::function<void(link::EpochEnd&)>& spoil) {
    replica.receive(link::EpochBegin{item.session, item.epoch, 0, 0}, 1);
    for (std::size_t i = 0; i < item.data->batches(); ++i)
      replica.receive(
          link::EpochPages{item.epoch, static_cast<std::uint32_t>(i), {item.data, item.data->batch(i)}}, 1);
    const std::size_t disk_batches = item.disks ? item.disks->size() : 0;
    for (std::size_t i = 0; i < disk_batches; ++i)
      replica.receive(
          link::DiskWrites{item.epoch, static_cast<std::uint32_t>(i), {item.disks, item.disks->batch(i)}}, 1);
    replica.receive(link::EpochDevice{item.epoch, 0, {item.data, item.data->device_state()}}, 1);
    link::EpochEnd end{.session = item.session,
                       .epoch = item.epoch,
                       .batches = static_cast<std::uint32_t>(item.data->batches()),
                       .pages = item.data->digest().pages,
                       .batch_bytes = item.data->batch_bytes(),
                       .device_bytes = item.data->device_state().size(),
                       .disk_batches = static_cast<std::uint32_t>(disk_batches),
                       .disk_bytes = item.disks ? item.disks->bytes() : 0};
    for (std::size_t i = 0; i < 8; ++i) {
      end.image_hash[i] = static_cast<std::byte>(item.data->digest().image_hash.low >> (8 * i));
      end.image_hash[8 + i] = static_cast<std::byte>(item.data->digest().image_hash.high >> (8 * i));
    }
    if (spoil) spoil(end);
    replica.receive(end, 1);
  }

  /// Runs the main loop until `done`; a test that waits longer than a minute fails.
  void until(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (!done() && errors.empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up);
      io.restart();
      io.run_for(std::chrono::milliseconds{2});
    }
  }
  void synchronize(Session session) {
    const int before = synchronized;
    applied.reset();
    replica.begin(session);
    pipeline->synchronize(session);
    until([&] { return synchronized > before && applied == Epoch{0}; });
    for (const Error& error : errors) ADD_FAILURE() << error.text();
  }
  void checkpoint(Session session, Epoch epoch) {
    pipeline->capture(session, epoch);
    until([&] { return applied == epoch; });
  }
  [[nodiscard]] std::vector<std::byte> image() const {
    std::vector<std::byte> all;
    for (const auto& block : view.memory) all.insert(all.end(), block.begin(), block.end());
    return all;
  }

  boost::asio::io_context io{};
  std::mt19937_64 random{42};
  FakeDomain domain{small_layout()};
  FakeOutput output{};
  FakeStandby::View view{};
  Replica replica;
  std::unique_ptr<Pipeline> pipeline{};

  std::vector<Error> errors{};
  int synchronized{0}, ready{0}, detached{0}, activated{0}, discarded{0};
  std::optional<Epoch> captured{}, whole{}, applied{};
  std::optional<link::VerifyResult> verified{};
  std::optional<Error> verify_failed{};
  bool offered{false}, apply_whole{true}, drop_outbound{false}, postpone_outbound{false};
  std::vector<Outbound> postponed{};
  std::vector<Epoch> wholes{};
  std::vector<std::uint64_t> compared_bytes{}, copied_bytes{};  ///< of disks, by each synchronization
  std::function<void(link::DiskHashes&)> spoil_disk_hashes{};
  std::size_t wire_bytes{0}, consumed{0};
  Outbound last{};
};

}  // namespace remus::guard::testing
