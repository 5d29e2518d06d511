// Numbers as people read them, and text set in columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace remus::cli {

/// "850 us", "1.2 ms", "3.4 s"
[[nodiscard]] std::string human_us(std::uint64_t us);
/// "12 ms", "4 s", "3 min", "2 h 10 min"
[[nodiscard]] std::string human_ms(std::uint64_t ms);
/// "512 B", "12 KiB", "3.4 MiB", "1.5 GiB"
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
/// "950", "12.3 k", "4.5 M"
[[nodiscard]] std::string human_count(double count);
/// "3.4 %"
[[nodiscard]] std::string human_share(double share);

/// Columns a terminal shows for UTF-8 text (one for each character; escape sequences count as none).
[[nodiscard]] std::size_t shown_width(std::string_view text);
/// Filled up with spaces to `width`, or cut with "…" to fit.
[[nodiscard]] std::string fit(std::string_view text, std::size_t width);

/// Rows of cells in aligned columns, two spaces between; `right` names the columns that are set flush right.
class Table final {
 public:
  explicit Table(std::vector<std::string> head, std::vector<std::size_t> right = {});
  void add(std::vector<std::string> row);
  /// `width_max` 0: no limit; else the last column is cut.
  [[nodiscard]] std::string text(std::size_t width_max = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> right_;
};

/// "[########------------]  43 %"
[[nodiscard]] std::string progress_bar(double share, std::size_t width);
/// One block character a value, highest value fills it: "▁▂▇█". `ascii`: " .:-=+*#".
[[nodiscard]] std::string sparkline(const std::vector<std::uint64_t>& values, bool ascii);

/// Colours, if they are wanted: a terminal, no NO_COLOR, TERM not dumb.
class Style final {
 public:
  explicit Style(bool colours) : colours_{colours} {}
  [[nodiscard]] static Style for_output(int fd);
  [[nodiscard]] bool colours() const noexcept { return colours_; }
  [[nodiscard]] std::string good(std::string_view text) const { return painted(text, "32"); }
  [[nodiscard]] std::string doubtful(std::string_view text) const { return painted(text, "33"); }
  [[nodiscard]] std::string bad(std::string_view text) const { return painted(text, "1;31"); }
  [[nodiscard]] std::string faint(std::string_view text) const { return painted(text, "2"); }
  [[nodiscard]] std::string strong(std::string_view text) const { return painted(text, "1"); }

 private:
  [[nodiscard]] std::string painted(std::string_view text, std::string_view code) const;
  bool colours_;
};

}  // namespace remus::cli
