// An established connection: messages both ways, what breaks it, and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "link/connection_impl.hpp"
#include "link/dial.hpp"
#include "link/frame.hpp"
#include "link_fixture.hpp"

namespace remus::link {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class Established : public test::LinkTest {
 protected:
  void SetUp() override {
    LinkTest::SetUp();
    establish();
    primary->start({[this](Message m, std::size_t) { at_primary.push_back(std::move(m)); },
                    {},
                    [this](Error e) { primary_closed.push_back(std::move(e)); }});
    backup->start({[this](Message m, std::size_t) { at_backup.push_back(std::move(m)); },
                   {},
                   [this](Error e) { backup_closed.push_back(std::move(e)); }});
  }

  std::vector<Message> at_primary{};
  std::vector<Message> at_backup{};
  std::vector<Error> primary_closed{};
  std::vector<Error> backup_closed{};
};

Payload bytes(std::size_t size, int value) {
  return Payload::own(std::vector<std::byte>(size, static_cast<std::byte>(value)));
}

TEST_F(Established, MessagesArriveWholeAndInOrder) {
  for (std::uint32_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(primary->send(EpochPages{1, i, bytes(i * 1000, static_cast<int>(i))}).has_value());
    ASSERT_TRUE(backup->send(Ack{1, i, 0}).has_value());
  }
  ASSERT_TRUE(run_until([this] { return at_backup.size() == 50 && at_primary.size() == 50; }));
  for (std::uint32_t i = 0; i < 50; ++i) {
    EXPECT_EQ(std::get<EpochPages>(at_backup[i]), (EpochPages{1, i, bytes(i * 1000, static_cast<int>(i))}));
    EXPECT_EQ(std::get<Ack>(at_primary[i]).epoch, i);
  }
  EXPECT_EQ(primary->stats().sent_bulk_bytes, backup->stats().received_bulk_bytes);
}

TEST_F(Established, ClosingOneSideIsToldOnBothExactlyOnce) {
  primary->close({Errc::io, "enough", ""});
  EXPECT_TRUE(primary_closed.empty());  // never from within
  ASSERT_TRUE(run_until([this] { return !primary_closed.empty() && !backup_closed.empty(); }));
  primary->close({Errc::io, "again", ""});
  EXPECT_FALSE(primary->send(WindowUpdate{}).has_value());
  io.restart();
  io.run_for(50ms);
  ASSERT_EQ(primary_closed.size(), 1U);
  EXPECT_EQ(primary_closed[0].what, "enough");
  EXPECT_EQ(backup_closed.size(), 1U);
}

TEST_F(Established, AGoodbyeIsDeliveredBeforeTheEnd) {
  ASSERT_TRUE(primary->send(EpochPages{1, 0, bytes(300'000, 1)}).has_value());
  ASSERT_TRUE(primary->send(Goodbye{GoodbyeReason::switchover, 1, 2, 3, "planned"}).has_value());
  primary->close_after_flush(10s, {Errc::closed, "goodbye said", ""});
  EXPECT_FALSE(primary->send(WindowUpdate{}).has_value());
  ASSERT_TRUE(backup->send(HeartbeatMsg{}).has_value());  // something of the peer's on its way does no harm
  ASSERT_TRUE(run_until([this] { return !primary_closed.empty() && !backup_closed.empty(); }));
  ASSERT_EQ(at_backup.size(), 2U);
  EXPECT_EQ(std::get<Goodbye>(at_backup[1]).epoch, 3U);
  EXPECT_EQ(primary_closed[0].what, "goodbye said");
  EXPECT_EQ(backup_closed[0].kind, Errc::closed);
}

TEST_F(Established, ACutIsNoGoodEnd) {
  primary.reset();  // as when its process is killed: no TLS close
  ASSERT_TRUE(run_until([this] { return !backup_closed.empty(); }));
  EXPECT_EQ(backup_closed[0].kind, Errc::unreachable);
  EXPECT_TRUE(primary_closed.empty());
}

TEST_F(Established, AfterACutTheNextConnectionWorks) {
  backup.reset();
  ASSERT_TRUE(run_until([this] { return !primary_closed.empty(); }));
  primary.reset();
  connector->start();
  ASSERT_TRUE(run_until([this] { return primary && backup; }));
  backup->start({[this](Message m, std::size_t) { at_backup.push_back(std::move(m)); }, {}, {}});
  primary->start({});
  ASSERT_TRUE(primary->send(EpochBegin{1, 2, 3, 4}).has_value());
  EXPECT_TRUE(run_until([this] { return at_backup.size() == 1; }));
}

TEST_F(Established, AHandlerMayDestroyItsConnection) {
  backup->start({[this](const Message&, std::size_t) { backup.reset(); }, {}, [](const Error&) { FAIL(); }});
  ASSERT_TRUE(primary->send(EpochPages{1, 0, bytes(5000, 1)}).has_value());
  ASSERT_TRUE(primary->send(EpochPages{1, 1, bytes(5000, 1)}).has_value());
  EXPECT_TRUE(run_until([this] { return !primary_closed.empty(); }));
  EXPECT_EQ(backup, nullptr);
}

TEST_F(Established, ARefusalEndsTheConnectionWithItsKindAndFix) {
  ASSERT_TRUE(backup->send(Refuse{Errc::exhausted, "no memory for the standby", "free 4 GiB"}).has_value());
  backup->close_after_flush(5s, {Errc::exhausted, "refused", ""});
  ASSERT_TRUE(run_until([this] { return !primary_closed.empty(); }));
  EXPECT_EQ(primary_closed[0].kind, Errc::exhausted);
  EXPECT_THAT(primary_closed[0].what, HasSubstr("no memory for the standby"));
  EXPECT_EQ(primary_closed[0].fix, "free 4 GiB");
}

TEST_F(Established, AMessageOutOfPlaceIsAnsweredWithAReason) {
  ASSERT_TRUE(primary->send(Hello{}).has_value());
  ASSERT_TRUE(run_until([this] { return !primary_closed.empty() && !backup_closed.empty(); }));
  EXPECT_EQ(backup_closed[0].kind, Errc::corrupt);
  EXPECT_THAT(primary_closed[0].what, HasSubstr("hello message where none may be"));
}

TEST_F(Established, AnUnreasonableWindowUpdateIsCaught) {
  ASSERT_TRUE(primary->send(WindowUpdate{1000}).has_value());
  ASSERT_TRUE(run_until([this] { return !backup_closed.empty(); }));
  EXPECT_THAT(backup_closed[0].what, HasSubstr("says it has consumed 1000 bytes"));
}

TEST_F(Established, AControlFloodToADeafPeerIsBounded) {
  // The loop does not run: nothing is read, and what the kernel and TLS don't take waits in the queue.
  const Refuse large{Errc::io, std::string(text_bytes_max, 'x'), ""};
  Status sent;
  std::size_t count = 0;
  while (sent && count < 100'000) {
    sent = primary->send(large);
    ++count;
  }
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().kind, Errc::exhausted);
  EXPECT_LE(count, ConnectionOptions{}.control_queue_frames + 100);
  EXPECT_FALSE(primary->open());
}

TEST_F(Established, StartingAfterTheEndStillTellsOfIt) {
  std::optional<Error> told;
  primary->close({Errc::io, "early", ""});
  primary->start({{}, {}, [&](Error e) { told = std::move(e); }});
  ASSERT_TRUE(run_until([&] { return told.has_value(); }));
  EXPECT_EQ(told->what, "early");
}

/// Frames made by hand, sent by an enrolled peer.
class Hostile : public test::LinkTest {
 protected:
  void SetUp() override {
    LinkTest::SetUp();
    listen();
    const auto dial =
        Dial::start(io, open("a"), DialOptions{{"127.0.0.1", listener->port()}, "host-b", 5s, 5s, 5s},
                    [this](Result<Dialed> dialed) {
                      ASSERT_TRUE(dialed.has_value());
                      stream = std::move(dialed->stream);
                    });
    ASSERT_TRUE(run_until([this] { return stream != nullptr; }));
  }
  void TearDown() override {
    stream.reset();
    LinkTest::TearDown();
  }

  std::vector<std::byte> frame(const Message& message) {
    const Outgoing out = encode(message);
    return frame(static_cast<std::uint16_t>(out.type),
                 out.lane == Lane::bulk ? frame_flag::bulk : std::uint16_t{0}, out.head, out.tail.bytes());
  }
  std::vector<std::byte> frame(std::uint16_t type, std::uint16_t flags, std::span<const std::byte> head,
                               std::span<const std::byte> tail) {
    const auto header = encode_frame_header(
        {type, flags, static_cast<std::uint32_t>(head.size() + tail.size()), sequence++}, head, tail);
    std::vector<std::byte> bytes(header.size() + head.size() + tail.size());
    auto at = std::ranges::copy(header, bytes.begin()).out;
    at = std::ranges::copy(head, at).out;
    std::ranges::copy(tail, at);
    return bytes;
  }
  void write(const std::vector<std::byte>& bytes) {
    bool done = false;
    boost::asio::async_write(*stream, boost::asio::buffer(bytes),
                             [&](boost::system::error_code, std::size_t) { done = true; });
    ASSERT_TRUE(run_until([&] { return done; }));
  }
  void greet() {
    Hello greeting;
    greeting.host = "host-a";
    write(frame(greeting));
    ASSERT_TRUE(run_until([this] { return backup != nullptr; }));
    backup->start({[this](Message m, std::size_t) { got.push_back(std::move(m)); },
                   {},
                   [this](Error e) { closed = std::move(e); }});
  }
  Error ended() {
    EXPECT_TRUE(run_until([this] { return closed.has_value(); }));
    return closed.value_or(Error{});
  }

  std::unique_ptr<TlsStream> stream{};
  std::uint64_t sequence{0};
  std::vector<Message> got{};
  std::optional<Error> closed{};
};

TEST_F(Hostile, AnOversizedHelloIsRefusedBeforeItIsRead) {
  std::vector<std::byte> header = frame(1, 0, {}, {});
  header[14] = std::byte{0x0f};  // some 980 kB
  write(header);
  EXPECT_THAT(first_rejection().what, HasSubstr("payload bytes"));
}

TEST_F(Hostile, ABadChecksumEndsIt) {
  greet();
  auto bytes = frame(EpochBegin{1, 2, 3, 4});
  bytes.back() ^= std::byte{1};
  write(bytes);
  EXPECT_THAT(ended().what, HasSubstr("checksum"));
  EXPECT_TRUE(got.empty());
}

TEST_F(Hostile, GarbageInsideTlsEndsIt) {
  greet();
  write(std::vector<std::byte>(64, std::byte{0x41}));
  EXPECT_THAT(ended().what, HasSubstr("AAAAAAAA"));
}

TEST_F(Hostile, ATruncatedFrameIsNotDelivered) {
  greet();
  auto bytes = frame(EpochBegin{1, 2, 3, 4});
  bytes.pop_back();
  write(bytes);
  stream->lowest_layer().close();
  EXPECT_EQ(ended().kind, Errc::unreachable);
  EXPECT_TRUE(got.empty());
}

TEST_F(Hostile, UnknownOptionalFramesAreSkippedMandatoryOnesEndIt) {
  greet();
  write(frame(0x7f00, frame_flag::optional, {}, {}));
  write(frame(0x7f01, frame_flag::optional | frame_flag::bulk, {}, {}));
  write(frame(EpochBegin{1, 2, 3, 4}));
  ASSERT_TRUE(run_until([this] { return got.size() == 1; }));
  write(frame(0x7f02, 0, {}, {}));
  EXPECT_EQ(ended().kind, Errc::incompatible);
}

TEST_F(Hostile, PagesThatEvadeTheWindowAreCaught) {
  greet();
  const std::vector<std::byte> payload(12);
  write(frame(static_cast<std::uint16_t>(MessageType::epoch_pages), 0, payload, {}));
  EXPECT_THAT(ended().what, HasSubstr("bulk flag clear against the protocol"));
}

class HostileSmallWindow : public Hostile {
 protected:
  void SetUp() override {
    listener_options.connection.receive_window_bytes = receive_window_bytes_min;
    listener_options.connection.consume_on_return = false;
    Hostile::SetUp();
  }
};

TEST_F(HostileSmallWindow, ASenderBeyondTheWindowIsCutOff) {
  greet();
  const Payload data = Payload::own(std::vector<std::byte>(batch_bytes_max));
  for (std::uint32_t i = 0; i < 4; ++i) write(frame(EpochPages{1, i, data}));
  EXPECT_THAT(ended().what, HasSubstr("more than the receive window"));
  EXPECT_LE(got.size(), 3U + 1U);
}

}  // namespace
}  // namespace remus::link
