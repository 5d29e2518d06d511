// The conversation with an NBD client, byte by byte.
#include "disk/nbd_session.hpp"

#include <gmock/gmock.h>

#include "model_disk.hpp"

namespace {

using namespace remus;
using namespace remus::disk;
using remus::test::ModelDisk;
using testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t session_bytes = 1U << 20U;

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}
Bytes number(std::uint64_t value, std::size_t bytes) {
  Bytes out;
  nbd::append(out, value, bytes);
  return out;
}
Bytes text(std::string_view words) {
  Bytes out;
  for (const char c : words) out.push_back(static_cast<std::byte>(c));
  return out;
}
Bytes option(std::uint32_t kind, const Bytes& data) {
  return number(nbd::option_magic, 8) + number(kind, 4) + number(data.size(), 4) + data;
}
Bytes go(std::string_view name, std::uint32_t kind = 7) {
  return option(kind, number(name.size(), 4) + text(name) + number(0, 2));
}
Bytes request(std::uint16_t type, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
  return number(nbd::request_magic, 4) + number(flags, 2) + number(type, 2) + number(77, 8) +
         number(offset, 8) + number(length, 4);
}

class NbdSessionTest : public testing::Test {
 protected:
  /// All of the input at once; what is left over stays for the next call.
  Status feed(const Bytes& bytes) {
    left_ = left_ + bytes;
    auto taken = session_.take(left_, out_);
    if (!taken) return std::unexpected(taken.error());
    left_.erase(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(*taken));
    return {};
  }
  void shake_hands() {
    ASSERT_TRUE(feed(number(3, 4) + go("vda")));
    ASSERT_EQ(session_.state(), NbdSession::State::transmission);
    out_.clear();
  }
  /// The error number of the one reply there is.
  std::uint64_t answer(const Bytes& bytes) {
    out_.clear();
    const Status fed = feed(bytes);
    EXPECT_TRUE(fed) << fed.error().text();
    EXPECT_EQ(out_.size(), nbd::reply_bytes);
    if (out_.size() != nbd::reply_bytes) return ~0ULL;
    EXPECT_EQ(nbd::load(std::span{out_}.first(4)), nbd::reply_magic);
    EXPECT_EQ(nbd::load(std::span{out_}.subspan(8, 8)), 77U);
    return nbd::load(std::span{out_}.subspan(4, 4));
  }

  ModelDisk disk_{session_bytes};
  NbdSession session_{{.name = "vda", .bytes = session_bytes}, disk_};
  Bytes left_{};
  Bytes out_{};
};

TEST_F(NbdSessionTest, GoTellsSizeAndBlockSizes) {
  EXPECT_EQ(session_.greeting(), text("NBDMAGICIHAVEOPT") + number(3, 2));
  ASSERT_TRUE(feed(number(3, 4) + go("vda")));
  const auto reply = [](std::uint32_t kind, const Bytes& data) {
    return number(nbd::option_reply_magic, 8) + number(7, 4) + number(kind, 4) + number(data.size(), 4) +
           data;
  };
  EXPECT_EQ(out_, reply(3, number(0, 2) + number(session_bytes, 8) + number(0x96d, 2)) +
                      reply(3, number(3, 2) + number(1, 4) + number(4096, 4) + number(4U << 20U, 4)) +
                      reply(1, {}));
}

TEST_F(NbdSessionTest, OptionsAreAnsweredAsTheProtocolSays) {
  const auto kind_of = [&](const Bytes& bytes) {
    out_.clear();
    EXPECT_TRUE(feed(bytes));
    return out_.size() < 16 ? 0U : static_cast<std::uint32_t>(nbd::load(std::span{out_}.subspan(12, 4)));
  };
  ASSERT_TRUE(feed(number(3, 4)));
  EXPECT_EQ(kind_of(option(8, {})), 0x80000001U) << "structured replies are not offered";
  EXPECT_EQ(kind_of(go("vdb")), 0x80000006U) << "another export";
  EXPECT_EQ(kind_of(option(7, number(100, 4) + number(0, 2))), 0x80000003U)
      << "a name longer than the option";
  EXPECT_EQ(kind_of(option(7, number(0, 4) + number(2, 2))), 0x80000003U) << "fewer items than announced";
  EXPECT_EQ(kind_of(option(3, text("x"))), 0x80000003U);
  EXPECT_EQ(kind_of(option(3, {})), 2U);
  EXPECT_EQ(kind_of(go("", 6)), 3U) << "the default export is ours";
  EXPECT_EQ(session_.state(), NbdSession::State::handshake) << "INFO does not begin";
  EXPECT_EQ(kind_of(option(2, {})), 1U);
  EXPECT_EQ(session_.state(), NbdSession::State::ended);
}

TEST_F(NbdSessionTest, TheOldExportNameWorksToo) {
  ASSERT_TRUE(feed(number(1, 4) + option(1, text("vda"))));
  EXPECT_EQ(out_, number(session_bytes, 8) + number(0x96d, 2) + Bytes(124));
  EXPECT_EQ(session_.state(), NbdSession::State::transmission);
}

TEST_F(NbdSessionTest, WhatIsNotNbdEndsIt) {
  EXPECT_THAT(feed(number(0xff, 4)).error().text(), HasSubstr("answered the greeting"));
  EXPECT_EQ(session_.state(), NbdSession::State::ended);
  for (const auto& [bytes, word] : std::vector<std::pair<Bytes, std::string>>{
           {number(3, 4) + number(5, 16 - 8) + number(0, 8), "where an option begins"},
           {number(3, 4) + number(nbd::option_magic, 8) + number(99, 4) + number(8193, 4),
            "8193 bytes, more than"},
           {number(3, 4) + option(1, text("other")), "an export other than"},
           {number(3, 4) + go("vda") + Bytes(28), "where a request begins"},
           {number(3, 4) + go("vda") + request(1, 0, (4U << 20U) + 1), "it was told"}}) {
    NbdSession session{{.name = "vda", .bytes = session_bytes}, disk_};
    Bytes out;
    const auto taken = session.take(bytes, out);
    ASSERT_FALSE(taken) << word;
    EXPECT_EQ(taken.error().kind, Errc::corrupt);
    EXPECT_THAT(taken.error().text(), HasSubstr(word));
  }
  NbdSession endless{{.name = "vda", .bytes = session_bytes}, disk_};
  Bytes out;
  Bytes many = number(3, 4);
  for (unsigned i = 0; i <= NbdSession::options_max; ++i) many = many + option(99, {});
  EXPECT_THAT(endless.take(many, out).error().text(), HasSubstr("more than 64 options"));
}

TEST_F(NbdSessionTest, WritesReachTheSinkInAnyPieces) {
  shake_hands();
  const Bytes data(1536, std::byte{9});
  const Bytes message = request(1, 512, 1536) + data;
  for (const std::byte byte : message) ASSERT_TRUE(feed({byte}));
  EXPECT_EQ(out_.size(), nbd::reply_bytes);
  Bytes expected(session_bytes, std::byte{0x55});
  std::fill_n(expected.begin() + 512, 1536, std::byte{9});
  EXPECT_EQ(disk_.content(), expected);
  EXPECT_EQ(answer(request(6, 1024, 512)), 0U);
  EXPECT_EQ(answer(request(6, 4096, 512, nbd::flag_no_hole | nbd::flag_fast_zero)), 0U);
  EXPECT_EQ(answer(request(4, session_bytes - 7, 7)), 0U);
  std::fill_n(expected.begin() + 1024, 512, std::byte{0});
  std::fill_n(expected.begin() + 4096, 512, std::byte{0});
  std::fill_n(expected.end() - 7, 7, std::byte{0});
  EXPECT_EQ(disk_.content(), expected);
  EXPECT_EQ(disk_.unmappable(), 1U);
}

TEST_F(NbdSessionTest, SeveralMessagesAtOnceAreAnsweredInOrder) {
  shake_hands();
  Bytes three =
      request(1, 0, 2) + text("ab") + request(1, 1, 2) + text("cd") + request(3, 0, 0) + request(1, 0, 4);
  ASSERT_TRUE(feed(three));
  EXPECT_EQ(out_.size(), 3 * nbd::reply_bytes);
  EXPECT_EQ(left_.size(), nbd::request_bytes) << "the last one lacks its data";
  const auto content = disk_.content();
  EXPECT_EQ(Bytes(content.begin(), content.begin() + 3), text("acd"));
  EXPECT_EQ(disk_.flushes(), 1U);
}

TEST_F(NbdSessionTest, FuaFlushes) {
  shake_hands();
  EXPECT_EQ(answer(request(1, 0, 1, nbd::flag_fua) + text("x")), 0U);
  EXPECT_EQ(disk_.flushes(), 1U);
  EXPECT_EQ(answer(request(4, 0, 1, nbd::flag_fua)), 0U);
  EXPECT_EQ(disk_.flushes(), 2U);
}

TEST_F(NbdSessionTest, WhatIsOutOfBoundsIsRefusedAndTheRestGoesOn) {
  shake_hands();
  constexpr auto invalid = static_cast<std::uint64_t>(nbd::Errno::invalid);
  constexpr auto no_space = static_cast<std::uint64_t>(nbd::Errno::no_space);
  EXPECT_EQ(answer(request(0, 0, 512)), static_cast<std::uint64_t>(nbd::Errno::perm)) << "reads";
  EXPECT_EQ(answer(request(1, session_bytes - 1, 2) + text("xy")), no_space);
  EXPECT_EQ(answer(request(1, ~0ULL, 2) + text("xy")), no_space) << "no overflow";
  EXPECT_EQ(answer(request(6, session_bytes, 1)), no_space);
  EXPECT_EQ(answer(request(6, 0, 0xffffffff)), no_space);
  EXPECT_EQ(answer(request(4, session_bytes, 1)), invalid);
  EXPECT_EQ(answer(request(4, 0, 0)), invalid);
  EXPECT_EQ(answer(request(1, 0, 0)), invalid);
  EXPECT_EQ(answer(request(5, 0, 1)), invalid) << "cache was not offered";
  EXPECT_EQ(answer(request(1, 0, 1, 0x80) + text("x")), invalid) << "an unknown flag";
  EXPECT_EQ(answer(request(1, 0, 1, nbd::flag_no_hole) + text("x")), invalid);
  EXPECT_EQ(disk_.content(), Bytes(session_bytes, std::byte{0x55}));
  EXPECT_FALSE(disk_.out_of_bounds());
  EXPECT_EQ(session_.counts().refused, 11U);
  EXPECT_EQ(answer(request(1, 0, 1) + text("x")), 0U);
  EXPECT_EQ(session_.counts().refused, 11U);
}

TEST_F(NbdSessionTest, TheSinksErrorsAreTold) {
  shake_hands();
  disk_.fail_with(Error{Errc::exhausted, "the log is full"});
  EXPECT_EQ(answer(request(1, 0, 1) + text("x")), static_cast<std::uint64_t>(nbd::Errno::no_space));
  disk_.fail_with(Error{Errc::io, "the log broke"});
  EXPECT_EQ(answer(request(6, 0, 1)), static_cast<std::uint64_t>(nbd::Errno::io));
  EXPECT_EQ(answer(request(3, 0, 0)), static_cast<std::uint64_t>(nbd::Errno::io));
  ASSERT_TRUE(session_.sink_error());
  EXPECT_EQ(session_.sink_error()->what, "the log broke");
}

TEST_F(NbdSessionTest, DisconnectEndsIt) {
  shake_hands();
  ASSERT_TRUE(feed(request(2, 0, 0) + request(1, 0, 1) + text("x")));
  EXPECT_EQ(session_.state(), NbdSession::State::ended);
  EXPECT_TRUE(out_.empty()) << "nothing is done after it";
  EXPECT_EQ(session_.counts().writes, 0U);
}

}  // namespace
