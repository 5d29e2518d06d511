// What of the kernel's output buffer needs no kernel. The rest: tests/integration/xen/test_plug.py.
#include <gtest/gtest.h>

#include <set>

#include "output/plug_epochs.hpp"
#include "output/plug_names.hpp"

namespace remus::output {
namespace {

TEST(PlugNames, ReadableWhereTheyCanBe) {
  EXPECT_EQ(plug_name_for("vif3.0"), "rms3.0");
  EXPECT_EQ(plug_name_for("vif12.1-emu"), "rms12.1e");
  EXPECT_EQ(plug_name_for("vif32751.99999"), "rms32751.99999");
}

TEST(PlugNames, FitAndDiffer) {
  std::set<std::string> names;
  const std::vector<std::string> interfaces{"vif1.0",       "vif1.0-emu",         "vif1.01", "web1-lan",
                                            "web1-lan-emu", "vif32751.99999-emu", "vif.0",   "vif3.",
                                            "vif3.x",       "vif3.0-emux"};
  for (const auto& interface : interfaces) {
    const auto name = plug_name_for(interface);
    EXPECT_LE(name.size(), interface_name_chars_max) << interface;
    EXPECT_TRUE(name.starts_with(plug_name_prefix)) << interface;
    EXPECT_TRUE(names.insert(name).second) << interface;
  }
}

TEST(PlugAlias, ComesBack) {
  for (const bool own : {true, false}) {
    const PlugAlias alias{"web1", "vif3.0-emu", own};
    EXPECT_EQ(parse_plug_alias(to_text(alias)), alias);
  }
}

TEST(PlugAlias, WhatIsNotOursIsLeftAlone) {
  for (const char* text : {"", "remus", "remus web1", "remus  vif3.0", "uplink of rack 3",
                           "remus web1 vif3.0 owned", "remus web1 vif3.0 own more", "xremus web1 vif3.0"})
    EXPECT_FALSE(parse_plug_alias(text)) << text;
}

TEST(PlugEpochs, OneAtATime) {
  PlugEpochs epochs;
  ASSERT_TRUE(epochs.free());
  epochs.marked(1);
  EXPECT_FALSE(epochs.free()) << "plug would forget where epoch 1 ended";
  EXPECT_FALSE(epochs.releasable(0)) << "epoch 1 is not acknowledged";
  EXPECT_TRUE(epochs.releasable(1));
  epochs.released();
  EXPECT_TRUE(epochs.free());
  EXPECT_FALSE(epochs.releasable(9)) << "nothing is marked: what is there belongs to the epoch under way";
}

/// Against a model of plug itself (net/sched/sch_plug.c): whatever the order of marks and releases, no packet leaves
/// before its epoch is released, and all leave in the end.
TEST(PlugEpochs, NeverEarlyNeverForgotten) {
  for (unsigned seed = 1; seed <= 2000; ++seed) {
    std::srand(seed);
    const auto below = [](int n) { return std::rand() % n; };
    PlugEpochs epochs;
    std::vector<checkpoint::Epoch> queue;  // the epoch of each packet, in order
    std::size_t current = 0;
    std::size_t last = 0;
    checkpoint::Epoch epoch = 1;
    checkpoint::Epoch acknowledged = 0;
    const auto mark = [&] {
      if (epochs.free()) {
        last = current;
        current = 0;
        epochs.marked(epoch);
      }
      ++epoch;
    };
    const auto release = [&](checkpoint::Epoch upto) {
      acknowledged = upto;
      if (!epochs.releasable(upto)) return;
      for (std::size_t i = 0; i < last; ++i) {
        ASSERT_LE(queue.front(), acknowledged) << "seed " << seed;
        queue.erase(queue.begin());
      }
      last = 0;
      epochs.released();
    };
    for (int step = 0; step < 60; ++step) {
      const int what = below(4);
      if (what <= 1) {
        queue.push_back(epoch);
        ++current;
      } else if (what == 2) {
        mark();
      } else if (acknowledged + 1 < epoch) {
        release(acknowledged + 1 + static_cast<unsigned>(below(static_cast<int>(epoch - acknowledged - 1))));
      }
    }
    mark();
    release(epoch - 1);
    mark();
    release(epoch - 1);
    EXPECT_TRUE(queue.empty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace remus::output
