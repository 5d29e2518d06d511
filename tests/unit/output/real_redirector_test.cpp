// The redirector in a real QEMU, whose firmware asks the network for a boot server again and again.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../hypervisor/real_qemu.hpp"
#include "output/redirector.hpp"

namespace {

using namespace remus;
using namespace remus::output;
using std::chrono::milliseconds;

class RealRedirector : public test::RealQemu {
 protected:
  void SetUp() override {
    RealQemu::SetUp();
    if (IsSkipped()) return;
    if (!test::fs::exists("/usr/lib/ipxe/qemu/efi-e1000.rom")) GTEST_SKIP() << "no network boot firmware";
    network_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (directory_ / "net").native().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(network_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    start({"-boot", "n,reboot-timeout=1", "-device", "e1000,netdev=n0,mac=52:54:00:12:34:56", "-netdev",
           "dgram,id=n0,local.type=unix,local.path=" + (directory_ / "nic").native() +
               ",remote.type=unix,remote.path=" + (directory_ / "net").native()});
  }

  /// Waits for a frame of the guest on the network's side.
  bool frame(milliseconds patience) {
    pollfd ready{network_.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return false;
    std::array<char, 65536> bytes{};
    return ::recv(network_.get(), bytes.data(), bytes.size(), 0) > 0;
  }
  void expect_nothing_of_ours_in_qemu() {
    const auto chardevs = qmp_->execute("query-chardev");
    for (const auto& entry : *chardevs)
      EXPECT_FALSE(entry.at("label").get<std::string>().starts_with("remus-"));
    const auto objects = qmp_->execute("qom-list", {{"path", "/objects"}});
    for (const auto& entry : *objects)
      EXPECT_FALSE(entry.at("name").get<std::string>().starts_with("remus-"));
  }

  Fd network_{};
};

constexpr milliseconds patience{90'000};  // firmware under emulation on a busy machine

TEST_F(RealRedirector, HoldsReleasesInOrderAndGoesAwayWithoutATrace) {
  ASSERT_TRUE(frame(patience)) << "the firmware sends nothing: " << log();
  const auto redirector = make_redirector(qmp_, {{"n0"}, 1UL << 20, true});
  std::atomic<int> waiting{0};
  redirector->on_waiting([&] { ++waiting; });
  const auto attached = redirector->attach();
  ASSERT_TRUE(attached) << attached.error().text();
  ASSERT_TRUE(frame(patience)) << "until hold() packets pass";

  ASSERT_TRUE(redirector->hold());
  ASSERT_TRUE(redirector->pause_hooks().resuming());
  while (frame(milliseconds{0})) continue;
  for (int i = 0; i < 900 && redirector->stats().held_packets == 0; ++i)
    EXPECT_FALSE(frame(milliseconds{100}));
  const std::uint64_t held = redirector->stats().held_packets;
  ASSERT_GT(held, 0U) << "what the guest sent has come to us";
  EXPECT_GE(waiting, 1);
  ASSERT_TRUE(redirector->mark(1));
  redirector->release(0);
  EXPECT_FALSE(frame(milliseconds{200}));
  redirector->release(1);
  for (std::uint64_t i = 0; i < held; ++i) EXPECT_TRUE(frame(patience)) << "packet " << i << " of " << held;
  EXPECT_GE(redirector->stats().released_packets, held);

  redirector->pass();
  ASSERT_TRUE(frame(patience)) << "after pass() packets pass again";
  const auto detached = redirector->detach();
  ASSERT_TRUE(detached) << detached.error().text();
  ASSERT_TRUE(redirector->detach()) << "idempotent";
  expect_nothing_of_ours_in_qemu();
  ASSERT_TRUE(frame(patience));
}

TEST_F(RealRedirector, DiscardedPacketsNeverLeave) {
  ASSERT_TRUE(frame(patience));
  const auto redirector = make_redirector(qmp_, {{"n0"}, 1UL << 20, true});
  ASSERT_TRUE(redirector->attach());
  ASSERT_TRUE(redirector->hold());
  ASSERT_TRUE(redirector->pause_hooks().resuming());
  while (frame(milliseconds{0})) continue;
  for (int i = 0; i < 900 && redirector->stats().held_packets == 0; ++i)
    std::this_thread::sleep_for(milliseconds{100});
  ASSERT_GT(redirector->stats().held_packets, 0U);
  ASSERT_TRUE(qmp_->execute("stop"));
  redirector->discard();
  redirector->release(100);
  EXPECT_FALSE(frame(milliseconds{300}));
  EXPECT_EQ(redirector->stats().held_packets, 0U);
  EXPECT_GT(redirector->stats().dropped_packets, 0U);
}

TEST_F(RealRedirector, AFailureLeavesNothingBehind) {
  const auto redirector = make_redirector(qmp_, {{"n0", "no-such-netdev"}, 1UL << 20, true});
  const auto attached = redirector->attach();
  ASSERT_FALSE(attached);
  EXPECT_NE(attached.error().text().find("no-such-netdev"), std::string::npos);
  expect_nothing_of_ours_in_qemu();
  EXPECT_TRUE(redirector->detach());
}

TEST_F(RealRedirector, HooksAndCallsAfterTheGuestsDeathReturn) {
  auto redirector = make_redirector(qmp_, {{"n0"}, 1UL << 20, true});
  ASSERT_TRUE(redirector->attach());
  ASSERT_TRUE(redirector->hold());
  const auto hooks = redirector->pause_hooks();
  ASSERT_TRUE(hooks.resuming());
  ASSERT_TRUE(guest_->kill());
  hooks.before();
  ASSERT_TRUE(redirector->mark(1));
  redirector->release(1);
  hooks.after();
  EXPECT_TRUE(redirector->detach());
  redirector.reset();
  hooks.before();
  EXPECT_TRUE(hooks.resuming());
  hooks.after();
}

}  // namespace
