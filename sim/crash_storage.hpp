// Storage whose power can be cut: what was not synchronized is lost, or stays, or stays in part, sector by sector and
// in any order; a name that was made or removed without synchronizing its folder may be there or not.
//
// Every call that changes something counts as a step. A plan says at which step the power fails (that step is done in
// part, all later ones fail) or at which one a single error is reported. power_cut() then leaves what survives, drawn from
// the given chance; files that were open before are dead.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "disk/storage.hpp"
#include "rng.hpp"

namespace remus::sim {

class CrashStorage final : public disk::StorageFolder {
 public:
  static constexpr std::uint64_t sector_bytes = 512;

  explicit CrashStorage(std::uint64_t seed) : rng_{seed} {}

  [[nodiscard]] Result<std::unique_ptr<disk::StorageFile>> create(const std::string& name) override;
  [[nodiscard]] Result<std::unique_ptr<disk::StorageFile>> open(const std::string& name) override;
  [[nodiscard]] Status remove(const std::string& name) override;
  [[nodiscard]] Result<std::vector<std::string>> list() override;
  [[nodiscard]] Status synchronize() override;
  [[nodiscard]] Status write_whole(const std::string& name, std::string_view text) override;
  [[nodiscard]] Result<std::string> read_whole(const std::string& name) override;

  /// The power fails during this step (counted from 0).
  void cut_at(std::uint64_t step) { cut_at_ = step; }
  /// This step reports an error; what it was to do may be done in part.
  void fail_at(std::uint64_t step, Errc kind) {
    fail_at_ = step;
    fail_kind_ = kind;
  }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  /// The host is gone. Afterwards the power is on again and there are no more plans.
  void power_cut();
  /// A fault of the medium: a byte that had survived changes.
  void damage(const std::string& name, std::uint64_t offset);

 private:
  struct Change {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    std::size_t data{};  ///< in `log`
    bool zeros{};
    bool resize{};  ///< to `bytes`
  };
  struct Content {
    std::vector<std::byte> now{};
    std::vector<std::byte> kept{};  ///< survives
    std::vector<Change> changes{};  ///< since it was synchronized
    std::vector<std::byte> log{};
    bool dead{};

    void apply(const Change& change, std::vector<std::byte>& to) const;
    void note(const Change& change);
    void cut(Rng& rng);
  };
  class File;

  /// Counts a step. Errors: what the plan says; `partly` is set if it is to be done in part.
  [[nodiscard]] Status step(bool& partly);

  Rng rng_;
  std::map<std::string, std::shared_ptr<Content>> names_{};
  std::map<std::string, std::shared_ptr<Content>> kept_names_{};
  std::uint64_t steps_{};
  std::optional<std::uint64_t> cut_at_{};
  std::optional<std::uint64_t> fail_at_{};
  Errc fail_kind_{Errc::io};
};

}  // namespace remus::sim
