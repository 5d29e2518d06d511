// A cluster of throw-away certificates, a listener and a connector on loopback, and an event loop that runs
// until something has happened.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/certificates.hpp"
#include "link/connector.hpp"
#include "link/listener.hpp"

namespace remus::link::test {

/// How long a test waits for what must happen. Generous: it is reached only when something is broken.
inline constexpr std::chrono::seconds patience{30};

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "remus-link-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    ASSERT_TRUE(create_ca(dir_ / "ca", "test cluster").has_value());
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }

  void issue(const std::string& host, const std::string& to, int days = 10,
             std::chrono::seconds start_offset = {}, const std::string& ca = "ca") {
    HostCertificateRequest request;
    request.host = host;
    request.valid_days = days;
    request.start_offset = start_offset;
    const auto issued = issue_host_certificate(dir_ / ca, request, dir_ / to);
    ASSERT_TRUE(issued.has_value()) << issued.error().text();
  }
  std::shared_ptr<Pki> open(const std::string& name) {
    auto pki = Pki::open(dir_ / name);
    EXPECT_TRUE(pki.has_value()) << (pki ? "" : pki.error().text());
    return pki ? *pki : nullptr;
  }

 private:
  std::filesystem::path dir_{};
};

/// host-a (primary) connects to host-b (backup).
class LinkTest : public PkiTest {
 protected:
  void SetUp() override {
    PkiTest::SetUp();
    issue("host-a", "a");
    issue("host-b", "b");
    listener_options.address = {"127.0.0.1", 0};
    connector_options.expected_host = "host-b";
    connector_options.backoff_min = std::chrono::milliseconds{20};
    connector_options.backoff_max = std::chrono::milliseconds{100};
  }
  void TearDown() override {
    primary.reset();
    backup.reset();
    connector.reset();
    listener.reset();
    io.restart();
    io.poll();
    PkiTest::TearDown();
  }

  template <typename Done>
  [[nodiscard]] bool run_until(const Done& done) {
    const auto end = std::chrono::steady_clock::now() + patience;
    io.restart();
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.run_one_for(std::chrono::milliseconds{50});
      if (io.stopped()) io.restart();
    }
    return true;
  }

  void listen(const std::string& pki = "b") {
    auto opened =
        Listener::open(io, open(pki), listener_options,
                       {[this](Incoming incoming) {
                          hello = incoming.hello();
                          if (on_incoming)
                            on_incoming(std::move(incoming));
                          else
                            backup = std::move(incoming).welcome(welcome);
                        },
                        [this](const std::string&, const Error& error) { rejected.push_back(error); }});
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    listener = std::move(*opened);
  }

  void connect(const std::string& pki = "a") {
    if (connector_options.addresses.empty()) connector_options.addresses = {{"127.0.0.1", listener->port()}};
    connector = std::make_unique<Connector>(
        io, open(pki), connector_options,
        Connector::Handlers{
            [] {
              Hello out;
              out.guest = "web1";
              out.generation = 3;
              return out;
            },
            [this](std::unique_ptr<Connection> connection, Welcome answer) {
              primary = std::move(connection);
              welcomed = std::move(answer);
            },
            [this](Error error, std::chrono::milliseconds) { failed.push_back(std::move(error)); }});
    connector->start();
  }

  /// A connection up on both sides, not started yet.
  void establish() {
    listen();
    connect();
    ASSERT_TRUE(run_until([this] { return primary && backup; }))
        << (failed.empty() ? "" : failed.back().text());
  }

  /// The connector's first failure.
  Error first_failure() {
    EXPECT_TRUE(run_until([this] { return !failed.empty(); }));
    return failed.empty() ? Error{} : failed.front();
  }
  /// The listener's first rejection.
  Error first_rejection() {
    EXPECT_TRUE(run_until([this] { return !rejected.empty(); }));
    return rejected.empty() ? Error{} : rejected.front();
  }

  boost::asio::io_context io{1};
  ListenerOptions listener_options{};
  ConnectorOptions connector_options{};
  Welcome welcome{};
  std::function<void(Incoming)> on_incoming{};

  std::unique_ptr<Listener> listener{};
  std::unique_ptr<Connector> connector{};
  std::unique_ptr<Connection> primary{};
  std::unique_ptr<Connection> backup{};
  std::optional<Hello> hello{};
  std::optional<Welcome> welcomed{};
  std::vector<Error> failed{};
  std::vector<Error> rejected{};
};

}  // namespace remus::link::test
