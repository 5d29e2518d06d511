// The NBD server, with libnbd as its client.
#include "disk/nbd_server.hpp"

#include <gmock/gmock.h>
#include <libnbd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "model_disk.hpp"

namespace {

using namespace remus;
using namespace remus::disk;
using remus::test::ModelDisk;
using testing::HasSubstr;

constexpr std::uint64_t disk_bytes = 8U << 20U;

class Client final {
 public:
  Client() : handle_{::nbd_create()} {
    ::nbd_set_export_name(handle_, "vda");
    // Nothing is checked on the client's side: it is the server that must.
    ::nbd_set_strict_mode(handle_, 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::nbd_close(handle_); }
  operator nbd_handle*() const noexcept { return handle_; }  // NOLINT: it stands for it

 private:
  nbd_handle* handle_;
};

class NbdServerTest : public testing::Test {
 protected:
  [[nodiscard]] int connect(Client& client) {
    int pair[2] = {};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    static_cast<void>(server_.serve(Fd{pair[0]}));  // refused, it is closed: the client sees that
    return ::nbd_connect_socket(client, pair[1]);
  }
  [[nodiscard]] std::vector<std::string> ends() {
    const std::lock_guard lock{mutex_};
    return ends_;
  }

  ModelDisk disk_{disk_bytes};
  std::mutex mutex_{};
  std::vector<std::string> ends_{};
  NbdServer server_{{.name = "vda", .bytes = disk_bytes}, disk_, [this](const Status& status) {
                      const std::lock_guard lock{mutex_};
                      ends_.push_back(status ? "" : status.error().text());
                    }};
};

TEST_F(NbdServerTest, ServesAnotherImplementationOfTheProtocol) {
  Client client;
  ASSERT_EQ(connect(client), 0) << ::nbd_get_error();
  EXPECT_EQ(::nbd_get_size(client), static_cast<std::int64_t>(disk_bytes));
  EXPECT_EQ(::nbd_can_trim(client), 1);
  EXPECT_EQ(::nbd_can_zero(client), 1);
  EXPECT_EQ(::nbd_can_fast_zero(client), 1);
  EXPECT_EQ(::nbd_can_flush(client), 1);
  EXPECT_EQ(::nbd_can_fua(client), 1);
  EXPECT_EQ(::nbd_can_multi_conn(client), 1);
  EXPECT_EQ(::nbd_get_block_size(client, LIBNBD_SIZE_MAXIMUM), NbdSession::payload_bytes_max);

  std::vector<std::byte> expected = disk_.content();
  std::mt19937_64 random{5};
  std::vector<std::byte> data(4U << 20U);
  for (auto& byte : data) byte = static_cast<std::byte>(random());
  for (int round = 0; round < 300; ++round) {
    const std::uint64_t offset = random() % disk_bytes;
    const std::uint64_t longest = round % 10 == 0 ? data.size() : 20'000;
    const std::uint64_t bytes = std::min(1 + random() % longest, disk_bytes - offset);
    const auto place = expected.begin() + static_cast<std::ptrdiff_t>(offset);
    if (round % 3 == 0) {
      ASSERT_EQ(::nbd_zero(client, bytes, offset, 0), 0) << ::nbd_get_error();
      std::fill_n(place, bytes, std::byte{0});
    } else if (round % 3 == 1) {
      ASSERT_EQ(::nbd_trim(client, bytes, offset, 0), 0) << ::nbd_get_error();
      std::fill_n(place, bytes, std::byte{0});
    } else {
      ASSERT_EQ(::nbd_pwrite(client, data.data(), bytes, offset, 0), 0) << ::nbd_get_error();
      std::copy_n(data.begin(), bytes, place);
    }
  }
  ASSERT_EQ(::nbd_flush(client, 0), 0);
  EXPECT_EQ(disk_.content(), expected);
  EXPECT_EQ(::nbd_pread(client, data.data(), 512, 0, 0), -1);
  EXPECT_EQ(::nbd_get_errno(), EPERM);
  EXPECT_EQ(::nbd_pwrite(client, data.data(), 512, disk_bytes, 0), -1);
  EXPECT_EQ(::nbd_get_errno(), ENOSPC);
  EXPECT_EQ(::nbd_zero(client, 512, 0, 0), 0) << "and it goes on";
  const auto counts = server_.counts();
  EXPECT_EQ(counts.writes, 100U);
  EXPECT_EQ(counts.zeroes, 101U);
  EXPECT_EQ(counts.trims, 100U);
  EXPECT_EQ(counts.flushes, 1U);
  EXPECT_EQ(counts.refused, 2U);
  ASSERT_EQ(::nbd_shutdown(client, 0), 0);
  server_.stop();
  EXPECT_EQ(ends(), std::vector<std::string>{""}) << "a good end is none to tell of";
  EXPECT_EQ(server_.counts().writes, 100U) << "counts outlive the connection";
}

TEST_F(NbdServerTest, ManyRequestsUnderWayOnSeveralConnections) {
  constexpr int clients = 4;
  constexpr std::uint64_t part = disk_bytes / clients;
  std::vector<std::thread> threads;
  for (int number = 0; number < clients; ++number)
    threads.emplace_back([this, number] {
      Client client;
      ASSERT_EQ(connect(client), 0) << ::nbd_get_error();
      const std::vector<std::byte> data(4096, static_cast<std::byte>(number + 1));
      for (std::uint64_t at = 0; at < part; at += data.size())
        ASSERT_NE(::nbd_aio_pwrite(client, data.data(), data.size(),
                                   static_cast<std::uint64_t>(number) * part + at, NBD_NULL_COMPLETION, 0),
                  -1);
      while (::nbd_aio_in_flight(client) > 0) {
        ASSERT_NE(::nbd_poll(client, -1), -1) << ::nbd_get_error();
        for (std::int64_t cookie = 0; (cookie = ::nbd_aio_peek_command_completed(client)) > 0;)
          ASSERT_EQ(::nbd_aio_command_completed(client, static_cast<std::uint64_t>(cookie)), 1);
      }
    });
  for (auto& thread : threads) thread.join();
  std::vector<std::byte> expected(disk_bytes);
  for (std::size_t i = 0; i < disk_bytes; ++i) expected[i] = static_cast<std::byte>(i / part + 1);
  EXPECT_EQ(disk_.content(), expected);
}

TEST_F(NbdServerTest, AStoppedServerServesNobody) {
  Client client;
  ASSERT_EQ(connect(client), 0) << ::nbd_get_error();
  EXPECT_EQ(::nbd_pwrite(client, "x", 1, 3, 0), 0);
  EXPECT_EQ(disk_.content().at(3), std::byte{'x'});
  server_.stop();
  EXPECT_EQ(::nbd_pwrite(client, "x", 1, 3, 0), -1);
}

TEST_F(NbdServerTest, TooManyConnectionsHarmNone) {
  std::list<Client> clients;
  for (std::size_t i = 0; i < NbdServer::connections_max; ++i) ASSERT_EQ(connect(clients.emplace_back()), 0);
  {
    Client late;
    EXPECT_EQ(connect(late), -1);
  }
  for (auto& client : clients) EXPECT_EQ(::nbd_pwrite(client, "y", 1, 0, 0), 0);
  const auto handed_over = server_.serve(Fd{::dup(0)});
  ASSERT_FALSE(handed_over);
  EXPECT_EQ(handed_over.error().kind, Errc::exhausted);
  clients.pop_back();
  while (server_.connections() == NbdServer::connections_max) std::this_thread::yield();
  Client next;
  EXPECT_EQ(connect(next), 0) << "a place that is free is used again";
}

TEST_F(NbdServerTest, AStalledSinkDoesNotKeepItFromStopping) {
  Client client;
  ASSERT_EQ(connect(client), 0);
  disk_.stall(true);
  ASSERT_NE(::nbd_aio_pwrite(client, "x", 1, 0, NBD_NULL_COMPLETION, 0), -1);
  while (!disk_.somebody_waits()) std::this_thread::yield();
  disk_.fail_with(Error{Errc::closed, "the log is closed"});
  disk_.stall(false);  // what the log's owner does first
  server_.stop();
  server_.stop();
  EXPECT_EQ(disk_.content().at(0), std::byte{0x55});
}

TEST_F(NbdServerTest, WhatIsNotNbdIsToldAndClosed) {
  int pair[2] = {};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  ASSERT_TRUE(server_.serve(Fd{pair[0]}));
  const Fd ours{pair[1]};
  ASSERT_EQ(::write(ours.get(), "GET / HTTP/1.1\r\n\r\n", 18), 18);
  char answer[64];
  while (::read(ours.get(), answer, sizeof answer) > 0) {
  }
  while (ends().empty()) std::this_thread::yield();
  EXPECT_THAT(ends().front(), HasSubstr("answered the greeting"));
}

}  // namespace
