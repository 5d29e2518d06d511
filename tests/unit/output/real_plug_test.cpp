// The kernel's output buffer in this kernel: a veth pair is the guest and its backend interface, a bridge the network.
// Needs root and the modules ifb, sch_plug, cls_matchall, act_mirred; skipped without (the Xen lab's dom0 has them:
// tests/integration/xen/test_plug.py runs this program there).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/fd.hpp"
#include "output/plug.hpp"
#include "output/plug_netlink.hpp"

namespace {

using namespace remus;
using namespace remus::output;
using std::chrono::milliseconds;

constexpr std::uint16_t our_ethertype = 0x88b5;  // for local experiments
constexpr milliseconds soon{3000};
constexpr milliseconds quiet{150};

bool run(const std::string& command) {
  return std::system((command + " 2>/dev/null").c_str()) == 0;
}

class RealPlug : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs network namespaces";
    if (!run("ip link add rmtprobe type ifb")) GTEST_SKIP() << "this kernel has no ifb interfaces";
    if (!run("ip link del rmtprobe && ip link add rmtbr type bridge && ip link add vif9.0 type veth peer "
             "name rmtguest"
             " && ip link add rmtport type veth peer name rmtnet && ip link set vif9.0 master rmtbr"
             " && ip link set rmtport master rmtbr"
             " && for i in rmtbr vif9.0 rmtguest rmtport rmtnet; do"
             " echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; ip link set $i up; done"))
      GTEST_SKIP() << "the network of this test cannot be made";
    if (const auto tried = plug()->attach(); !tried && tried.error().kind == Errc::unsupported)
      GTEST_SKIP() << tried.error().text();
    guest_ = packet_socket("rmtguest");
    network_ = packet_socket("rmtnet");
    // A bridge's port forwards a moment after it has come up.
    const auto until = std::chrono::steady_clock::now() + soon;
    do send(0);
    while (!arrives(0, milliseconds{50}) && std::chrono::steady_clock::now() < until);
    while (next(milliseconds{50}) >= 0) {
    }
  }

  void TearDown() override {
    for (const char* name : {"vif9.0", "rmtport", "rmtbr"}) run(std::string{"ip link del "} + name);
  }

  static Fd packet_socket(const char* interface) {
    Fd fd{::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(our_ethertype))};
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(our_ethertype);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << interface;
    return fd;
  }

  void send(int number, std::size_t bytes = 64) const {
    std::vector<char> frame(bytes);
    std::memcpy(frame.data(), &number, sizeof number);
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(our_ethertype);
    to.sll_ifindex = static_cast<int>(::if_nametoindex("rmtguest"));
    to.sll_halen = ETH_ALEN;
    std::fill_n(to.sll_addr, ETH_ALEN, static_cast<unsigned char>(0xff));
    EXPECT_GT(
        ::sendto(guest_.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
        0);
  }

  /// The number of the next frame on the network's side; -1 if none comes.
  [[nodiscard]] int next(milliseconds patience) const {
    pollfd ready{network_.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return -1;
    std::array<char, 4096> frame{};
    int number = -1;
    if (::recv(network_.get(), frame.data(), frame.size(), 0) >= static_cast<ssize_t>(sizeof number))
      std::memcpy(&number, frame.data(), sizeof number);
    return number;
  }
  [[nodiscard]] bool arrives(int number, milliseconds patience = soon) const {
    return next(patience) == number;
  }
  [[nodiscard]] bool nothing_comes() const { return next(quiet) == -1; }

  static void expect_no_trace() {
    EXPECT_FALSE(run("ip -br link | grep -q ^rms"));
    EXPECT_FALSE(run("tc qdisc show dev vif9.0 | grep -q ingress"));
  }

  static std::unique_ptr<OutputBuffer> plug(std::size_t limit = 1UL << 20) {
    return make_plug({"web1", {"vif9.0"}, limit});
  }

  Fd guest_{};
  Fd network_{};
};

#define ASSERT_OK(expression)                                 \
  do {                                                        \
    const auto& status = (expression);                        \
    ASSERT_TRUE(status.has_value()) << status.error().text(); \
  } while (false)

TEST_F(RealPlug, HoldsReleasesInOrderAndGoesAwayWithoutATrace) {
  const auto buffer = plug();
  std::atomic<int> told{0};
  buffer->on_waiting([&] { ++told; });
  ASSERT_OK(buffer->attach());
  send(1);
  EXPECT_TRUE(arrives(1)) << "until hold() packets pass";

  ASSERT_OK(buffer->hold());
  send(2);
  send(3);
  EXPECT_TRUE(nothing_comes());
  EXPECT_EQ(told, 1) << "once an epoch";
  ASSERT_OK(buffer->mark(1));
  send(4);
  EXPECT_TRUE(nothing_comes());
  EXPECT_EQ(told, 1) << "while plug can take no mark a checkpoint would not help";
  EXPECT_EQ(buffer->stats().held_packets, 3U);
  buffer->release(0);
  EXPECT_TRUE(nothing_comes()) << "epoch 1 is not acknowledged";
  buffer->release(1);
  EXPECT_TRUE(arrives(2));
  EXPECT_TRUE(arrives(3));
  EXPECT_TRUE(nothing_comes()) << "4 was sent in epoch 2";
  EXPECT_EQ(told, 2) << "now that plug takes a mark again";
  ASSERT_OK(buffer->mark(2));
  send(5);
  ASSERT_OK(buffer->mark(3));  // plug cannot keep two: 5 waits for the next
  buffer->release(2);
  EXPECT_TRUE(arrives(4));
  buffer->release(3);
  EXPECT_TRUE(nothing_comes());
  ASSERT_OK(buffer->mark(4));
  buffer->release(4);
  EXPECT_TRUE(arrives(5));
  EXPECT_EQ(buffer->stats().held_packets, 0U);
  EXPECT_GE(buffer->stats().released_packets, 4U);

  send(6);
  buffer->pass();
  EXPECT_TRUE(arrives(6));
  for (int i = 10; i < 60; ++i) send(i);
  for (int i = 10; i < 60; ++i) ASSERT_TRUE(arrives(i)) << i;

  ASSERT_OK(buffer->hold());
  send(7);
  ASSERT_OK(buffer->mark(5));
  EXPECT_TRUE(nothing_comes());
  buffer->release(5);
  EXPECT_TRUE(arrives(7)) << "a second session counts anew";
  send(8);
  ASSERT_OK(buffer->detach());
  EXPECT_TRUE(arrives(8)) << "what is held is let go";
  send(9);
  EXPECT_TRUE(arrives(9));
  expect_no_trace();
}

TEST_F(RealPlug, DropsTheNewestAtItsLimit) {
  const auto buffer = plug(10'000);
  ASSERT_OK(buffer->attach());
  ASSERT_OK(buffer->hold());
  for (int i = 0; i < 40; ++i) send(i, 1000);
  const auto held = buffer->stats();
  EXPECT_GT(held.dropped_packets, 20U);
  EXPECT_LE(held.held_bytes, 10'000U);
  ASSERT_OK(buffer->mark(1));
  buffer->release(1);
  for (int i = 0; i < static_cast<int>(held.held_packets); ++i) EXPECT_TRUE(arrives(i));
  EXPECT_TRUE(nothing_comes());
}

TEST_F(RealPlug, NothingOfASupersededGuestGetsOut) {
  const auto buffer = plug();
  ASSERT_OK(buffer->attach());
  ASSERT_OK(buffer->hold());
  send(1);
  buffer->discard();
  send(2);
  buffer->release(1);
  buffer->pass();
  EXPECT_TRUE(nothing_comes());
  ASSERT_OK(buffer->detach());
  expect_no_trace();
}

/// A guard is killed: its successor, or its keeper, finds what it left.
TEST_F(RealPlug, WhatADeadGuardLeftIsClearedAndItsPacketsPass) {
  const pid_t guard = ::fork();
  ASSERT_GE(guard, 0);
  if (guard == 0) {
    const auto dead = plug();
    const bool holds = dead->attach().has_value() && dead->hold().has_value();
    ::_exit(holds ? 0 : 1);  // it says goodbye to nobody
  }
  int end = 0;
  ASSERT_EQ(::waitpid(guard, &end, 0), guard);
  ASSERT_EQ(end, 0);
  send(1);
  EXPECT_TRUE(nothing_comes());
  ASSERT_OK(clear_plugs("web2"));
  EXPECT_TRUE(nothing_comes()) << "another guest's";
  ASSERT_OK(clear_plugs("web1"));
  EXPECT_TRUE(arrives(1));
  send(2);
  EXPECT_TRUE(arrives(2));
  expect_no_trace();
  const auto next = plug();
  ASSERT_OK(next->attach());
}

TEST_F(RealPlug, AUsersOwnIngressStays) {
  ASSERT_TRUE(run("tc qdisc add dev vif9.0 clsact"));
  {
    const auto buffer = plug();
    ASSERT_OK(buffer->attach());
    ASSERT_OK(buffer->hold());
    send(1);
    EXPECT_TRUE(nothing_comes());
    ASSERT_OK(buffer->detach());
    EXPECT_TRUE(arrives(1));
  }
  EXPECT_TRUE(run("tc qdisc show dev vif9.0 | grep -q clsact"));
  ASSERT_TRUE(run("tc filter add dev vif9.0 ingress prio 1 protocol all matchall classid 1:1"));
  const auto refused = plug()->attach();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Errc::refused) << refused.error().text();
  EXPECT_FALSE(run("ip -br link | grep -q ^rms"));
}

/// As Open vSwitch does with its ports when it starts.
TEST_F(RealPlug, AFilterThatSomebodyTakesAwayIsPutBack) {
  const auto buffer = plug();
  std::atomic<int> told{0};
  buffer->on_waiting([&] { ++told; });
  ASSERT_OK(buffer->attach());
  ASSERT_OK(buffer->hold());
  const auto within_soon = [](const auto& condition) {
    const auto until = std::chrono::steady_clock::now() + soon;
    while (!condition() && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(milliseconds{5});
    return condition();
  };
  const auto is_back = [] { return run("tc filter show dev vif9.0 ingress | grep -q rms9.0"); };
  ASSERT_TRUE(is_back());
  checkpoint::Epoch epoch = 0;
  for (const char* away : {"tc qdisc del dev vif9.0 ingress", "tc filter del dev vif9.0 ingress"}) {
    ASSERT_TRUE(run(away));
    EXPECT_TRUE(within_soon(is_back)) << away;
    EXPECT_TRUE(within_soon([&] { return told == 1; })) << "what may have left is to be committed soon";
    ASSERT_OK(buffer->mark(++epoch));
    buffer->release(epoch);
    send(1);
    EXPECT_TRUE(nothing_comes()) << away;
    ASSERT_TRUE(run(away));
    EXPECT_TRUE(within_soon(is_back)) << away;
    EXPECT_TRUE(nothing_comes()) << "what is held stays so";
    ASSERT_OK(buffer->mark(++epoch));
    buffer->release(epoch);
    EXPECT_TRUE(arrives(1)) << away;
    told = 0;
  }
  buffer->pass();
  EXPECT_TRUE(within_soon([&] { return !is_back(); }));
  send(2);
  EXPECT_TRUE(arrives(2)) << "output that passes is left alone";
  ASSERT_TRUE(run("tc qdisc del dev vif9.0 ingress"));
  EXPECT_TRUE(within_soon([] { return run("tc qdisc show dev vif9.0 | grep -q ingress"); }));
  ASSERT_OK(buffer->hold());  // a second session
  send(3);
  EXPECT_TRUE(nothing_comes());
  ASSERT_OK(buffer->detach());
  EXPECT_TRUE(arrives(3));
  expect_no_trace();
}

TEST_F(RealPlug, AnInterfaceThatIsNotThereIsNamed) {
  const auto refused = make_plug({"web1", {"vif9.0", "vif9.1"}, 1U << 20})->attach();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("vif9.1"), std::string::npos) << refused.error().text();
  expect_no_trace();
}

}  // namespace
