#include "cli/format.hpp"

#include <gtest/gtest.h>

namespace remus::cli {
namespace {

TEST(Format, Numbers) {
  EXPECT_EQ(human_us(850), "850 us");
  EXPECT_EQ(human_us(1234), "1.2 ms");
  EXPECT_EQ(human_us(45'600), "45.6 ms");
  EXPECT_EQ(human_us(3'400'000), "3.4 s");
  EXPECT_EQ(human_ms(999), "999 ms");
  EXPECT_EQ(human_ms(3'999), "3 s");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1ULL << 40), "1.0 TiB");
  EXPECT_EQ(human_bytes((1ULL << 20) - 1), "1.0 MiB") << "never 1024 KiB";
  EXPECT_EQ(human_count(950), "950");
  EXPECT_EQ(human_count(12'300), "12.3 k");
  EXPECT_EQ(human_share(0.034), "3.4 %");
}

TEST(Format, WidthIsWhatATerminalShows) {
  EXPECT_EQ(shown_width("abc"), 3U);
  EXPECT_EQ(shown_width("▁▂█"), 3U);
  EXPECT_EQ(shown_width("\x1b[1;31mred\x1b[0m"), 3U);
  EXPECT_EQ(fit("abc", 5), "abc  ");
  EXPECT_EQ(fit("abcdef", 4), "abc…");
  EXPECT_EQ(shown_width(fit("\x1b[31mabcdef\x1b[0m", 4)), 4U);
  EXPECT_TRUE(fit("\x1b[31mabcdef\x1b[0m", 4).ends_with("\x1b[0m")) << "a cut must not colour what follows";
}

TEST(Format, ColumnsAreAligned) {
  Table table{{"NAME", "N"}, {1}};
  table.add({"a", "1"});
  table.add({"\x1b[32mlonger\x1b[0m", "100"});
  EXPECT_EQ(table.text(), "NAME      N\na         1\n\x1b[32mlonger\x1b[0m  100\n");
  EXPECT_EQ(Table({"ABCDEFGH", "X"}).text(6), "ABCDE…\n");
}

TEST(Format, Bars) {
  EXPECT_EQ(progress_bar(0.43, 10), "[####------]  43 %");
  EXPECT_EQ(progress_bar(7, 4), "[####] 100 %");
  EXPECT_EQ(sparkline({0, 4, 8}, true), ".+@");
  EXPECT_EQ(sparkline({0, 8}, false), "▁█");
  EXPECT_EQ(sparkline({}, false), "");
  EXPECT_EQ(sparkline({0, 0}, true), "..");
}

TEST(Format, NoColoursUnlessWanted) {
  EXPECT_EQ(Style{false}.bad("x"), "x");
  EXPECT_EQ(Style{true}.good("x"), "\x1b[32mx\x1b[0m");
}

}  // namespace
}  // namespace remus::cli
