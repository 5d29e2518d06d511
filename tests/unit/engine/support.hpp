// What the engine's tests share: a clock, and a way to ask what an engine wants done.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "engine/backup.hpp"
#include "engine/primary.hpp"

namespace remus::engine::test {

/// Host clocks start anywhere but at zero.
inline Time at_ms(std::int64_t n) {
  return Time{std::chrono::milliseconds{1'000'000 + n}};
}
inline Duration ms(std::int64_t n) {
  return std::chrono::milliseconds{n};
}

/// All actions taken, and the first of one kind among them.
template <typename Variant>
class Taken {
 public:
  explicit Taken(std::vector<Variant> actions) : actions_{std::move(actions)} {}
  template <typename A>
  [[nodiscard]] std::optional<A> first() const {
    for (const auto& action : actions_) {
      if (const auto* found = std::get_if<A>(&action)) return *found;
    }
    return std::nullopt;
  }
  template <typename A>
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        actions_, [](const auto& action) { return std::holds_alternative<A>(action); }));
  }
  template <typename A>
  [[nodiscard]] bool has() const {
    return count<A>() > 0;
  }
  /// Position of the first of that kind; the order of actions is part of the contract.
  template <typename A>
  [[nodiscard]] std::size_t position() const {
    for (std::size_t i = 0; i < actions_.size(); ++i) {
      if (std::holds_alternative<A>(actions_[i])) return i;
    }
    return actions_.size();
  }

 private:
  std::vector<Variant> actions_;
};

template <typename Engine>
auto take(Engine& engine) {
  auto actions = engine.take_actions();
  return Taken<typename decltype(actions)::value_type>{std::move(actions)};
}

/// Ticks the engine at every deadline it names until `until`, collecting what it asks for meanwhile.
template <typename Engine>
auto run_until(Engine& engine, Time until) {
  auto all = engine.take_actions();
  while (engine.next_deadline() <= until) {
    engine.tick(engine.next_deadline());
    auto more = engine.take_actions();
    all.insert(all.end(), more.begin(), more.end());
  }
  return Taken<typename decltype(all)::value_type>{std::move(all)};
}

}  // namespace remus::engine::test
