#include "cli/format.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace remus::cli {
namespace {

/// "1.2", "12.3", "123"
std::string figures(double value) {
  if (value < 99.95) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

/// Bytes of the character (or escape sequence, `shown` 0) that begins at `at`.
std::size_t step(std::string_view text, std::size_t at, std::size_t& shown) {
  shown = 1;
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead == 0x1b) {
    shown = 0;
    const auto end = text.find('m', at);
    return end == std::string_view::npos ? text.size() - at : end - at + 1;
  }
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return std::min(length, text.size() - at);
}

}  // namespace

std::string human_us(std::uint64_t us) {
  if (us < 1000) return fmt::format("{} us", us);
  const auto value = static_cast<double>(us);
  if (us < 1'000'000) return figures(value / 1e3) + " ms";
  return figures(value / 1e6) + " s";
}

std::string human_ms(std::uint64_t ms) {
  if (ms < 1000) return fmt::format("{} ms", ms);
  const std::uint64_t s = ms / 1000;
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", s / 60);
  if (s < 172'800) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} days", s / 86'400);
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array units{"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", figures(value), units.at(unit));
}

std::string human_count(double count) {
  if (count < 1000) return fmt::format("{:.0f}", count);
  if (count < 1e6) return figures(count / 1e3) + " k";
  return figures(count / 1e6) + " M";
}

std::string human_share(double share) {
  return fmt::format("{:.1f} %", share * 100);
}

std::size_t shown_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t shown = 0;
    at += step(text, at, shown);
    width += shown;
  }
  return width;
}

std::string fit(std::string_view text, std::size_t width) {
  const auto has = shown_width(text);
  if (has <= width) return std::string{text} + std::string(width - has, ' ');
  if (width == 0) return {};
  std::string out;
  std::size_t used = 0;
  bool painted = false;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t shown = 0;
    const auto bytes = step(text, at, shown);
    if (used + shown > width - 1) break;
    painted = painted || shown == 0;
    out += text.substr(at, bytes);
    used += shown;
    at += bytes;
  }
  return out + "…" + (painted ? "\x1b[0m" : "");
}

Table::Table(std::vector<std::string> head, std::vector<std::size_t> right) : right_{std::move(right)} {
  rows_.push_back(std::move(head));
}

void Table::add(std::vector<std::string> row) {
  rows_.push_back(std::move(row));
}

std::string Table::text(std::size_t width_max) const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i)
      widths[i] = std::max(widths[i], shown_width(row[i]));
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i != 0) line += "  ";
      const bool flush_right = std::ranges::find(right_, i) != right_.end();
      const bool last = i + 1 == row.size();
      if (flush_right)
        line += std::string(widths[i] - shown_width(row[i]), ' ') + row[i];
      else
        line += last ? row[i] : fit(row[i], widths[i]);
    }
    if (width_max != 0 && shown_width(line) > width_max) line = fit(line, width_max);
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  return out;
}

std::string progress_bar(double share, std::size_t width) {
  share = std::clamp(share, 0.0, 1.0);
  const auto full = static_cast<std::size_t>(std::lround(share * static_cast<double>(width)));
  return fmt::format("[{}{}] {:3.0f} %", std::string(full, '#'), std::string(width - full, '-'), share * 100);
}

std::string sparkline(const std::vector<std::uint64_t>& values, bool ascii) {
  constexpr std::array blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::array plain{".", ":", "-", "=", "+", "*", "#", "@"};
  if (values.empty()) return {};
  const auto highest = std::max<std::uint64_t>(1, *std::ranges::max_element(values));
  std::string out;
  for (const auto value : values) {
    const auto level = std::min<std::uint64_t>(7, value * 8 / highest);
    out += ascii ? plain.at(level) : blocks.at(level);
  }
  return out;
}

Style Style::for_output(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  const bool wanted = (no_colour == nullptr || *no_colour == '\0') && terminal != nullptr &&
                      std::string_view{terminal} != "dumb" && ::isatty(fd) == 1;
  return Style{wanted};
}

std::string Style::painted(std::string_view text, std::string_view code) const {
  if (!colours_) return std::string{text};
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

}  // namespace remus::cli
