// One run of `remus`: the daemon it asks, where it prints, and how errors end it.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.hpp"
#include "cli/arguments.hpp"
#include "cli/format.hpp"
#include "http/client.hpp"

namespace remus::cli {

class Session final {
 public:
  explicit Session(const Arguments& arguments);
  /// Another to ask while this one waits for an answer.
  [[nodiscard]] Session beside() const { return Session{{.socket = socket_, .json = json_}}; }

  /// Asks the daemon; a status that tells of failure becomes its error.
  [[nodiscard]] Result<nlohmann::json> ask(const std::string& method, const std::string& target,
                                           const nlohmann::json& body = nullptr,
                                           std::chrono::milliseconds timeout = std::chrono::seconds{10});
  [[nodiscard]] http::Client& client() noexcept { return client_; }

  [[nodiscard]] bool json() const noexcept { return json_; }
  [[nodiscard]] const Style& style() const noexcept { return style_; }
  [[nodiscard]] bool terminal() const noexcept { return terminal_; }

  /// Prints the document if --json was given, else `text`.
  void print(const nlohmann::json& document, const std::string& text) const;
  /// Says the error on standard error (as JSON, if asked for, on standard output) and gives its exit status.
  [[nodiscard]] int failed(const Error& error) const;

 private:
  std::filesystem::path socket_;
  http::Client client_;
  bool json_;
  bool terminal_;
  Style style_;
};

/// "/v1/guests/<name>", encoded.
[[nodiscard]] std::string guest_path(const std::string& name, const char* rest = "");

// protect.cpp, looking.cpp, local.cpp: the commands that take more than one question.
[[nodiscard]] int run_protect(Session& session, const Protect& words);
[[nodiscard]] int run_status(Session& session, const Show& words);
[[nodiscard]] int run_top(Session& session, const Top& words);
[[nodiscard]] int run_events(Session& session, const Events& words);
[[nodiscard]] int run_doctor(Session& session, const Doctor& words);
[[nodiscard]] int run_failover(Session& session, const Failover& words);
[[nodiscard]] int run_certificates(Session& session, const Command& command);

}  // namespace remus::cli
