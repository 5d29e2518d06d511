// What holds bulk back, what overtakes it, and that it arrives intact.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <random>

#include "link_fixture.hpp"

namespace remus::link {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t batch_bytes = 256 * 1024;

class Flow : public test::LinkTest {
 protected:
  /// The same bytes in every test, made once; batch i is a different slice of them.
  static Payload batch(std::uint32_t i) {
    static const Payload noise = [] {
      std::mt19937_64 random{42};
      std::vector<std::byte> out(2 * batch_bytes);
      for (auto& b : out) b = static_cast<std::byte>(random());
      return Payload::own(std::move(out));
    }();
    return Payload{std::make_shared<Payload>(noise),
                   noise.bytes().subspan(i * 97 % batch_bytes, batch_bytes)};
  }
  /// Keeps the queue full until `count` batches are queued.
  void stream_batches(std::uint32_t count) {
    while (next_ < count && primary->send(EpochPages{1, next_, batch(next_)}).has_value()) ++next_;
  }
  std::uint32_t next_{0};
};

TEST_F(Flow, TwoHundredMegabytesArriveIntactAndInOrder) {
  constexpr std::uint32_t count = 800;
  connector_options.connection.send_queue_bytes = 4U << 20;
  establish();
  std::uint32_t seen = 0;
  bool intact = true;
  std::size_t writable_calls = 0;
  std::uint64_t queued_max = 0;
  backup->start({[&](const Message& message, std::size_t bulk_bytes) {
                   const auto& pages = std::get<EpochPages>(message);
                   intact =
                       intact && pages.batch == seen && pages.data == batch(seen) && bulk_bytes > batch_bytes;
                   ++seen;
                 },
                 {},
                 [](const Error& e) { ADD_FAILURE() << e.text(); }});
  primary->start({{},
                  [&] {
                    ++writable_calls;
                    stream_batches(count);
                    queued_max = std::max(queued_max, primary->stats().queued_bulk_bytes);
                  },
                  [](const Error& e) { ADD_FAILURE() << e.text(); }});
  stream_batches(count);
  while (seen < count) {  // as long as it goes on: with sanitizers, on a busy machine, it may take a while
    const std::uint32_t before = seen;
    ASSERT_TRUE(run_until([&] { return seen > before; }));
  }
  EXPECT_TRUE(intact);
  EXPECT_GT(writable_calls, 10U);
  EXPECT_LE(queued_max, (4U << 20) + batch_bytes + 64);
  EXPECT_EQ(backup->stats().received_bulk_bytes, count * (batch_bytes + frame_header_bytes + 12));
}

TEST_F(Flow, AWriterThatAsksBeforeItSendsIsCalledWhenThereIsRoom) {
  constexpr std::uint32_t count = 100;
  connector_options.connection.send_queue_bytes = 1U << 20;
  establish();
  std::uint32_t seen = 0;
  backup->start({[&](const Message&, std::size_t) { ++seen; }, {}, {}});
  const auto pump = [&] {
    while (next_ < count && primary->writable()) {
      ASSERT_TRUE(primary->send(EpochPages{1, next_, batch(next_)}));
      ++next_;
    }
  };
  primary->start({{}, pump, {}});
  pump();
  ASSERT_LT(next_, count);
  while (seen < count) {
    const std::uint32_t before = seen;
    ASSERT_TRUE(run_until([&] { return seen > before; }));
  }
}

TEST_F(Flow, BulkStopsAtTheWindowAndGoesOnWhenGranted) {
  listener_options.connection.receive_window_bytes = receive_window_bytes_min;
  listener_options.connection.consume_on_return = false;
  establish();
  std::size_t received = 0;
  std::size_t unconsumed = 0;
  std::size_t heartbeats = 0;
  backup->start({[&](const Message& message, std::size_t bulk_bytes) {
                   heartbeats += std::holds_alternative<HeartbeatMsg>(message) ? 1U : 0U;
                   received += bulk_bytes;
                   unconsumed += bulk_bytes;
                 },
                 {},
                 {}});
  primary->start({});
  stream_batches(20);
  constexpr std::size_t frame_bytes = batch_bytes + frame_header_bytes + 12;
  constexpr std::size_t fit = receive_window_bytes_min / frame_bytes;
  ASSERT_TRUE(run_until([&] { return received == fit * frame_bytes; }));

  // The window is used up; control still gets through, bulk does not.
  ASSERT_TRUE(primary->send(HeartbeatMsg{}).has_value());
  ASSERT_TRUE(run_until([&] { return heartbeats == 1; }));
  io.restart();
  io.run_for(50ms);
  EXPECT_EQ(received, fit * frame_bytes);
  EXPECT_EQ(primary->stats().window_stalls, 1U);
  EXPECT_LT(primary->stats().window_left_bytes, frame_bytes);

  while (received < 20 * frame_bytes) {
    const std::size_t before = received;
    backup->consumed(std::exchange(unconsumed, 0));
    ASSERT_TRUE(run_until([&] { return received > before; }));
  }
  EXPECT_EQ(received, 20 * frame_bytes);
}

TEST_F(Flow, AnAckAloneOpensTheWindow) {
  listener_options.connection.receive_window_bytes = receive_window_bytes_min;
  listener_options.connection.consume_on_return = false;
  establish();
  std::size_t received = 0;
  backup->start({[&](const Message&, std::size_t bulk_bytes) { received += bulk_bytes; }, {}, {}});
  primary->start({});
  stream_batches(8);
  constexpr std::size_t frame_bytes = batch_bytes + frame_header_bytes + 12;
  ASSERT_TRUE(run_until([&] { return received == 7 * frame_bytes; }));
  // Less than a quarter of the window is not worth a WindowUpdate, but an Ack carries it.
  backup->consumed(frame_bytes);
  io.restart();
  io.run_for(30ms);
  EXPECT_EQ(received, 7 * frame_bytes);
  ASSERT_TRUE(backup->send(Ack{1, 1, 0}).has_value());
  EXPECT_TRUE(run_until([&] { return received == 8 * frame_bytes; }));
}

TEST_F(Flow, ControlOvertakesQueuedBulk) {
  establish();
  std::vector<bool> was_heartbeat;
  backup->start({[&](const Message& m, std::size_t) {
                   was_heartbeat.push_back(std::holds_alternative<HeartbeatMsg>(m));
                 },
                 {},
                 {}});
  primary->start({});
  stream_batches(100);  // 25 MB queued
  ASSERT_EQ(next_, 100U);
  ASSERT_TRUE(primary->send(HeartbeatMsg{}).has_value());
  ASSERT_TRUE(run_until([&] { return was_heartbeat.size() == 101; }));
  const auto at = std::ranges::find(was_heartbeat, true) - was_heartbeat.begin();
  // Only what was handed to the stream before it may come first: one write's worth.
  EXPECT_LE(at, 2);
}

TEST_F(Flow, BandwidthLimitHoldsBulkToWhatTheClockAllowsAndControlNotAtAll) {
  std::chrono::steady_clock::time_point clock{};
  connector_options.connection.now = [&clock] { return clock; };
  connector_options.connection.bandwidth_bytes_per_s = 10'000'000;
  establish();
  std::size_t received = 0;
  std::size_t heartbeats = 0;
  backup->start({[&](const Message& m, std::size_t bulk_bytes) {
                   received += bulk_bytes;
                   heartbeats += std::holds_alternative<HeartbeatMsg>(m) ? 1U : 0U;
                 },
                 {},
                 {}});
  primary->start({});
  stream_batches(100);
  constexpr std::size_t frame_bytes = batch_bytes + frame_header_bytes + 12;
  // The clock stands still: the first frame empties the bucket, and no more goes.
  ASSERT_TRUE(run_until([&] { return received == frame_bytes; }));
  ASSERT_TRUE(primary->send(HeartbeatMsg{}).has_value());
  ASSERT_TRUE(run_until([&] { return heartbeats == 1; }));
  EXPECT_EQ(primary->stats().sent_bulk_bytes, frame_bytes);

  // Each 10 ms of it let 100 kB through, to within a frame and the bucket.
  for (std::uint64_t step = 1; step <= 100; ++step) {
    clock += 10ms;
    const std::uint64_t allowed = step * 100'000;
    ASSERT_TRUE(run_until([&] {
      const std::uint64_t sent = primary->stats().sent_bulk_bytes;
      return sent + frame_bytes >= allowed && received == sent;
    }));
    EXPECT_LE(primary->stats().sent_bulk_bytes, allowed + 200'000 + frame_bytes);
  }
  EXPECT_GE(primary->stats().bandwidth_stalls, 10U);

  primary->set_bandwidth(0);
  EXPECT_TRUE(run_until([&] { return received == 100 * frame_bytes; }));
}

TEST_F(Flow, PooledBuffersGoBackToTheirPoolWhenSent) {
  establish();
  std::vector<std::byte> pool(batch_bytes);
  bool returned = false;
  backup->start({});
  primary->start({});
  {
    std::shared_ptr<const void> owner{pool.data(), [&returned](const void*) { returned = true; }};
    ASSERT_TRUE(primary->send(SyncPages{1, 0, Payload{std::move(owner), pool}}).has_value());
  }
  EXPECT_FALSE(returned);
  EXPECT_TRUE(run_until([&] { return returned; }));
}

}  // namespace
}  // namespace remus::link
