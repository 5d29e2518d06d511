// Documents of the daemon as text for people. Pure: JSON in, text out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/format.hpp"
#include "link/certificates.hpp"

namespace remus::cli {

/// All guests in a table.
[[nodiscard]] std::string render_status(const nlohmann::json& guests, const Style& style);
/// One guest, everything known of it.
[[nodiscard]] std::string render_guest(const nlohmann::json& guest, const Style& style);
[[nodiscard]] std::string render_host(const nlohmann::json& host);
[[nodiscard]] std::string render_peers(const nlohmann::json& peers, const Style& style);
[[nodiscard]] std::string render_event(const nlohmann::json& event, const Style& style);
[[nodiscard]] std::string render_verify(const std::string& guest, const nlohmann::json& report,
                                        const Style& style);
[[nodiscard]] std::string render_doctor(const nlohmann::json& report, const Style& style);
[[nodiscard]] std::string render_certificate(const link::CertificateInfo& certificate);
[[nodiscard]] std::string render_dry_run(const std::string& guest, const nlohmann::json& answer);

/// "manual"; "fail-stop: <what there is to know about it>"
[[nodiscard]] std::string text_of_arbiter(const nlohmann::json& arbiter, const Style& style);

/// `remus top`: keeps the last pauses of each guest between two looks.
class TopView final {
 public:
  static constexpr std::size_t history_max = 24;
  /// `width`, `height`: of the terminal; 0: unlimited.
  [[nodiscard]] std::string render(const nlohmann::json& host, const nlohmann::json& guests,
                                   std::size_t width, std::size_t height, const Style& style);

 private:
  std::map<std::string, std::deque<std::uint64_t>> pauses_{};
};

/// The state's sentence in the colour of its gravity.
[[nodiscard]] std::string painted_state(const nlohmann::json& guest, const Style& style);

}  // namespace remus::cli
