#include "hypervisor/xen/copy_crew.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace remus::hypervisor::xen {
namespace {

TEST(CopyCrew, DoesEachPartOnceCallAfterCall) {
  CopyCrew crew{3};
  std::vector<unsigned> done(5000);
  for (unsigned call = 1; call <= 300; ++call) {
    const std::size_t count = call * 131 % done.size();
    std::ranges::fill(done, 0U);
    crew.share(count, [&](std::size_t first, std::size_t end) {
      for (std::size_t i = first; i < end; ++i) ++done[i];
    });
    for (std::size_t i = 0; i < done.size(); ++i)
      ASSERT_EQ(done[i], i < count ? 1U : 0U) << call << ", " << i;
  }
}

TEST(CopyCrew, WhatEachHasDoneIsSeenByTheCaller) {
  CopyCrew crew{2};
  std::vector<std::size_t> values(4096);
  for (std::size_t call = 0; call < 100; ++call) {
    crew.share(values.size(), [&](std::size_t first, std::size_t end) {
      for (std::size_t i = first; i < end; ++i) values[i] = i + call;
    });
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], i + call);
  }
}

TEST(CopyCrew, HelpersHelp) {
  CopyCrew crew{2};
  std::atomic<bool> helped{false};
  const auto caller = std::this_thread::get_id();
  // The caller keeps at its first part until somebody else has taken one: without helpers that would be for ever.
  crew.share(1024, [&](std::size_t, std::size_t) {
    if (std::this_thread::get_id() != caller) helped = true;
    while (!helped) std::this_thread::yield();
  });
  EXPECT_TRUE(helped);
}

TEST(CopyCrew, AloneTheCallerDoesAll) {
  CopyCrew crew{0};
  EXPECT_TRUE(crew.alone());
  std::vector<std::size_t> parts;
  crew.share(1000, [&](std::size_t first, std::size_t end) {
    parts.push_back(first);
    parts.push_back(end);
  });
  EXPECT_EQ(parts, (std::vector<std::size_t>{0, 1000}));
  crew.share(0, [&](std::size_t, std::size_t) { FAIL() << "there was nothing to do"; });
}

TEST(CopyCrew, EndsWhileNobodyAsks) {
  for (int i = 0; i < 50; ++i) {
    CopyCrew crew{3};
    if (i % 2 == 0) crew.share(640, [](std::size_t, std::size_t) {});
  }
}

}  // namespace
}  // namespace remus::hypervisor::xen
