// What really happened, as nobody in the product can know it: who captured what, which epochs were whole
// where, what the outside world has seen. Every step of a run is checked against it; a broken invariant
// throws Violation.
//
// A guest's life is a *lineage*: a row of progress steps. Each packet reveals how far its lineage had come.
// An activation from epoch m forks a new lineage off at m's progress; from then on nothing of the old lineage
// beyond that point may ever be seen (S2 for what was seen before, S3 for what is seen after).
//
//   lineage 1 ──●──●──●─┬●──●   seen up to here: must be ≤ the fork, before and after
//                       └ fork: lineage 2 ──●──●──
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/types.hpp"

namespace remus::sim {

using engine::Epoch;
using engine::Generation;
using engine::Session;

class Violation final : public std::exception {
 public:
  Violation(std::string invariant, std::string text)
      : invariant_{std::move(invariant)}, text_{invariant_ + ": " + std::move(text)} {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
  [[nodiscard]] const std::string& invariant() const noexcept { return invariant_; }

 private:
  std::string invariant_;
  std::string text_;
};

inline constexpr std::size_t disk_numbers = 8;
/// What stands on a guest's disks, as far as a model needs it. 0: never written, or discarded.
using DiskContent = std::array<std::uint64_t, disk_numbers>;

/// A guest at one moment: how far it had come (memory, devices) and what it had written to its disks.
struct Snapshot {
  std::uint32_t lineage{};
  std::uint64_t progress{};
  DiskContent disk{};
  std::uint8_t written{};  ///< of an epoch: which numbers differ from the epoch before; epoch 0: all
  bool operator==(const Snapshot&) const = default;
};

class Truth final {
 public:
  [[nodiscard]] std::uint32_t new_lineage();

  void captured(Session session, Epoch epoch, const Snapshot& snapshot);
  void whole(Session session, Epoch epoch);
  void ack_sent(Session session, Epoch epoch);
  /// The primary lets go the output of all epochs ≤ `upto` (S1).
  void released(Session session, Epoch upto);
  /// A packet left the host for the world (S2, S3).
  void seen(std::uint32_t lineage, std::uint64_t progress);
  /// `host` takes `generation` for itself, by activation or by going alone (S3).
  void takes(std::size_t host, Generation generation);
  /// `epoch` is to be activated: it must be whole, and nothing acknowledged may be newer (S2, S5).
  void may_activate(Session session, Epoch epoch);
  /// The standby is about to run from `image`, said to hold `epoch` (S2, S4, S5). Returns the new lineage.
  std::uint32_t activates(Session session, Epoch epoch, const Snapshot& image);
  /// A host that was down finds replicas of `epoch` (S4).
  void recovers(Session session, Epoch epoch, const DiskContent& disk);
  /// A person accepted loss or a split (forced failover): what the world sees is that person's business from
  /// now on.
  void accept_loss() noexcept { loss_accepted_ = true; }
  [[nodiscard]] bool loss_accepted() const noexcept { return loss_accepted_; }

 private:
  struct Lineage {
    std::uint64_t seen{};
    std::optional<std::uint64_t> fork{};
  };
  struct SessionTruth {
    Session session{};
    std::vector<Snapshot> epochs{};
    std::int64_t whole{-1};
    std::int64_t acked{-1};
  };

  SessionTruth& of(Session session);

  std::vector<Lineage> lineages_{};
  std::vector<SessionTruth> sessions_{};
  std::map<Generation, std::size_t> taken_{};
  bool loss_accepted_{};
};

}  // namespace remus::sim
