// A backup's life with replicas, drawn from a seed, on storage whose power can be cut at any step: what a guest wrote,
// what the backup was given and told, and what must be found afterwards.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "crash_storage.hpp"
#include "disk/replica_set.hpp"
#include "support.hpp"

namespace remus::disk::test {

using Disks = std::vector<Bytes>;

/// What the primary sends: sessions of a synchronization and some epochs, and the disks after each.
struct Script {
  struct Epoch {
    std::vector<Bytes> batches{};
    Disks after{};
  };
  struct Session {
    std::vector<Bytes> synchronization{};
    std::vector<Epoch> epochs{};
  };
  std::vector<std::uint64_t> sizes{};
  std::vector<Session> sessions{};
};

inline Script make_script(std::uint64_t seed, const std::shared_ptr<ChunkPool>& pool) {
  std::mt19937_64 random{seed};
  Script script;
  script.sizes = {4096 + random() % 20000};
  if (random() % 2 == 0) script.sizes.push_back(512 * (1 + random() % 20));
  std::vector<std::unique_ptr<WriteLog>> logs;
  Disks disks;
  for (const std::uint64_t bytes : script.sizes) {
    logs.push_back(std::make_unique<WriteLog>(WriteLogSettings{bytes}, pool));
    disks.emplace_back(bytes);
  }
  WriteBatchEncoder encoder{checkpoint::Compression::lz4, 1'000'000'000};
  const auto portion = [&](std::uint64_t writes) {
    BatchList out;
    for (DiskIndex d = 0; d < logs.size(); ++d) {
      for (std::uint64_t i = 0; i < writes; ++i) {
        const std::uint64_t size = script.sizes[d];
        const std::uint64_t offset = random() % size;
        const std::uint64_t bytes = 1 + random() % std::min<std::uint64_t>(size - offset, 3000);
        if (random() % 4 == 0) {
          apply({offset, bytes, WriteKind::zero, {}}, disks[d]);
          must(random() % 2 == 0 ? logs[d]->zero(offset, bytes, false) : logs[d]->trim(offset, bytes));
        } else {
          const Bytes data = pattern(bytes, random());
          apply({offset, bytes, WriteKind::data, data}, disks[d]);
          must(logs[d]->write(offset, data));
        }
      }
      const auto number = logs[d]->mark();
      must(encoder.encode(d, *logs[d]->portion(number), out));
      logs[d]->release(number);
    }
    return std::move(out.list);
  };
  for (std::uint64_t s = 1 + random() % 2; s > 0; --s) {
    Script::Session session;
    session.synchronization = portion(3);
    for (std::uint64_t e = 2 + random() % 6; e > 0; --e) {
      auto batches = portion(random() % 4);
      session.epochs.push_back({std::move(batches), disks});
    }
    script.sessions.push_back(std::move(session));
  }
  return script;
}

/// Runs a script and knows at every moment what a recovery must find.
class ReplicaRun final {
 public:
  ReplicaRun(const Script& script, std::uint64_t seed) : script_{script}, random_{seed}, storage{seed} {
    for (std::size_t d = 0; d < script_.sizes.size(); ++d) {
      auto file = must(storage.create(name(d)));
      must(file->resize(script_.sizes[d]));
      must(file->synchronize());
    }
    must(storage.synchronize());
  }

  /// Until the script is over or the power fails.
  void run() {
    if (!start()) return;
    for (std::size_t s = 0; s < script_.sessions.size(); ++s) {
      if (!session(s)) return;
    }
    if (random_() % 2 == 0) {
      // At any epoch that is committed, and not behind what was applied.
      const Epoch first = std::max<Epoch>(set->applied_end(), 1) - 1;
      activating = first + random_() % (set->committed_end() - first);
      const auto done = attempt([&]() -> Status {
        auto status = set->activate(*activating);
        if (status) activated = activating;
        return status;
      });
      static_cast<void>(done);  // the check tells what must be there
    }
  }

  /// The power fails. A violation of S4 as a sentence, or nothing.
  [[nodiscard]] std::string cut_and_check() {
    // With a second cut in the midst of recovery, and a third.
    for (int again = 0; again < 3; ++again) {
      set.reset();
      storage.power_cut();
      if (random_() % 2 == 0) storage.cut_at(storage.steps() + random_() % 12);
      if (activated) return check_activated();
      if (!start()) return "replicas cannot be opened";
      recovered = set->recover();
      if (!*recovered && (*recovered).error().kind == Errc::io &&
          recovered->error().what == "the power is off")
        continue;
      return check_recovered();
    }
    set.reset();
    storage.power_cut();
    if (!start()) return "replicas cannot be opened";
    recovered = set->recover();
    return check_recovered();
  }

  [[nodiscard]] std::string check_disks(const Disks& wanted) {
    for (std::size_t d = 0; d < wanted.size(); ++d) {
      auto file = must(storage.open(name(d)));
      Bytes found(must(file->size()));
      must(file->read(0, found));
      if (found != wanted[d])
        return "disk " + std::to_string(d) + " does not hold exactly the writes of its epochs";
    }
    return {};
  }

 private:
  static std::string name(std::size_t disk) { return "disk" + std::to_string(disk); }

  bool start() {
    std::vector<ReplicaDisk> disks;
    for (std::size_t d = 0; d < script_.sizes.size(); ++d)
      disks.push_back({name(d), must(storage.open(name(d))), script_.sizes[d]});
    ReplicaSettings settings;
    settings.journal.segment_bytes = 3 * 4096;
    settings.settle_bytes = 6000;
    auto opened = ReplicaSet::open(storage, std::move(disks), settings);
    if (!opened) return false;
    set = std::move(*opened);
    return true;
  }

  /// Errors that are not the power's are met by trying again, as a guard would.
  template <typename Action>
  bool attempt(Action&& action) {
    if (action()) return true;
    return action().has_value();
  }

  bool session(std::size_t s) {
    const Script::Session& session = script_.sessions[s];
    beginning = true;
    if (!attempt([&] { return set->begin_session(s + 1); })) return false;
    beginning = false;
    current = s;
    told = 0;
    acknowledged = 0;
    for (const Bytes& payload : session.synchronization) {
      if (!attempt([&] { return set->synchronize(payload); })) return false;
    }
    for (Epoch e = 0; e < session.epochs.size(); ++e) {
      if (!attempt([&] { return receive(session.epochs[e], e); })) return false;
      acknowledged = e + 1;
      while (set->applied_end() <= e && (random_() % 3 != 0 || e - set->applied_end() >= 2)) {
        if (!attempt([&] { return set->apply(set->applied_end()); })) return false;
        told = set->survives();
      }
      told = set->survives();
      if ((set->wants_settling() || random_() % 8 == 0) && set->applied_end() > 0 &&
          !attempt([&] { return set->settle(); }))
        return false;
    }
    return true;
  }

  Status receive(const Script::Epoch& epoch, Epoch number) {
    if (random_() % 3 == 0) {  // the link breaks in the midst of it
      for (const Bytes& payload : epoch.batches) {
        if (random_() % 2 == 0) break;
        if (auto held = set->hold(payload); !held) return std::unexpected(held.error());
      }
    }
    set->drop_torn();
    const auto count = static_cast<std::uint32_t>(epoch.batches.size());
    if (count != 0 && random_() % 6 == 0) {  // a batch is lost on its way: this is not whole
      for (std::uint32_t i = 1; i < count; ++i) {
        if (auto held = set->hold(epoch.batches[i]); !held) return std::unexpected(held.error());
      }
      if (set->commit(number, count)) return {};
      set->drop_torn();
    }
    for (const Bytes& payload : epoch.batches) {
      if (auto held = set->hold(payload); !held) return std::unexpected(held.error());
    }
    return set->commit(number, count);
  }

  std::string check_activated() {
    const Script::Session& session = script_.sessions[*current];
    if (auto wrong = check_disks(session.epochs[*activated].after); !wrong.empty()) return wrong;
    if (!start()) return "replicas cannot be opened";
    const auto again = set->recover();
    if (again || again.error().kind != Errc::refused) return "disks of a guest are taken for replicas";
    return {};
  }

  std::string check_recovered() {
    if (!*recovered) {
      const Errc kind = recovered->error().kind;
      if (kind != Errc::refused && kind != Errc::not_found) return recovered->error().text();
      if (activating && recovered->error().what.starts_with("a guest was started")) {
        const auto wrong = check_disks(script_.sessions[*current].epochs[*activating].after);
        return wrong.empty() ? wrong : wrong + ", activating: " + recovered->error().text();
      }
      if (!beginning && told != 0) return "what was told to survive is gone: " + recovered->error().text();
      return {};
    }
    const auto [number, epoch] = **recovered;
    const std::size_t s = number - 1;
    const bool before = current && s == *current;
    if (s >= script_.sessions.size() || !before) return "recovered from a session that was over";
    if (epoch >= acknowledged + 1) return "recovered an epoch that was never whole";
    if (epoch + 1 < told)
      return "epoch " + std::to_string(told - 1) + " was told to survive, found " + std::to_string(epoch);
    if (auto wrong = check_disks(script_.sessions[s].epochs[epoch].after); !wrong.empty())
      return wrong + ": session " + std::to_string(number) + ", epoch " + std::to_string(epoch);
    return {};
  }

  const Script& script_;
  std::mt19937_64 random_;

 public:
  sim::CrashStorage storage;
  std::unique_ptr<ReplicaSet> set{};
  std::optional<Result<ReplicaSet::Recovered>> recovered{};
  std::optional<std::size_t> current{};  ///< session begun last
  bool beginning{};                      ///< the next one is being begun
  Epoch told{};                          ///< epochs before it survive, says the set
  Epoch acknowledged{};                  ///< epochs before it are committed
  std::optional<Epoch> activating{};     ///< the epoch the guest is to be started from
  std::optional<Epoch> activated{};
};

}  // namespace remus::disk::test
