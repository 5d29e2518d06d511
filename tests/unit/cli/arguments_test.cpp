#include "cli/arguments.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "cli/xl_remus.hpp"
#include "guard/options.hpp"

namespace remus::cli {
namespace {

using testing::HasSubstr;

std::variant<Arguments, Exit> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "remus");
  return parse_arguments(static_cast<int>(words.size()), words.data());
}

template <typename T>
T command(std::vector<const char*> words) {
  auto parsed = parse(std::move(words));
  if (const auto* exit = std::get_if<Exit>(&parsed)) {
    ADD_FAILURE() << exit->text;
    return {};
  }
  return std::get<T>(std::get<Arguments>(parsed).command);
}

Exit refused(std::vector<const char*> words) {
  auto parsed = parse(std::move(words));
  return std::holds_alternative<Exit>(parsed) ? std::get<Exit>(parsed) : Exit{-1, "(accepted)"};
}

TEST(Arguments, WhatXlRemusAskedFor) {
  const auto protect =
      protect_of(command<XlRemus>({"xl-remus", "-i", "20", "-u", "-e", "-F", "web1", "hostB"}));
  ASSERT_TRUE(protect);
  EXPECT_EQ(protect->guest, "web1");
  EXPECT_EQ(protect->to, "hostB");
  EXPECT_FALSE(protect->wait);
  EXPECT_EQ(protect->options.dump(), R"({"compression":"none","interval":"20ms"})");
  EXPECT_EQ(protect_of(command<XlRemus>({"xl-remus", "web1", "hostB"}))->options.dump(),
            R"({"interval":"200ms"})")
      << "as xl remus";
}

TEST(Arguments, WhatGivesUpAGuaranteeIsRefusedWithASentence) {
  for (const char* flag : {"-b", "-n", "-d", "-c", "-p"}) {
    const auto refused_too = protect_of(command<XlRemus>({"xl-remus", "-F", flag, "web1", "hostB"}));
    ASSERT_FALSE(refused_too) << flag;
    EXPECT_THAT(refused_too.error().what, testing::StartsWith(flag));
    EXPECT_FALSE(refused_too.error().fix.empty()) << flag;
  }
  for (const char* flag : {"-s", "-N"})
    EXPECT_FALSE(protect_of(command<XlRemus>({"xl-remus", flag, "word", "web1", "hostB"}))) << flag;
  EXPECT_FALSE(protect_of(command<XlRemus>({"xl-remus", "-Fnd", "web1", "hostB"})))
      << "flags in one word, as xl takes them";
}

TEST(Arguments, Protect) {
  const auto p = command<Protect>({"protect", "web1", "--to", "hostB", "--qmp", "/run/x", "--interval",
                                   "50ms", "--bandwidth", "100MiB/s", "--max-overhead", "0.2", "--arbiter",
                                   "manual", "--bridge", "br0=lan1"});
  EXPECT_EQ(p.guest, "web1");
  EXPECT_EQ(p.to, "hostB");
  EXPECT_TRUE(p.wait);
  EXPECT_FALSE(p.dry_run);
  EXPECT_EQ(
      p.options.dump(),
      R"({"arbiter":"manual","bandwidth":"100MiB/s","bridges":{"br0":"lan1"},"interval":"50ms","max_overhead":0.2})")
      << "only what was given: the rest is the daemon's configuration";
  EXPECT_FALSE(command<Protect>({"protect", "web1", "--to", "hostB", "--no-wait"}).wait);
  const auto disks = command<Protect>(
      {"protect", "--to", "hostB", "--disk", "vda,overwrite", "--disk", "vdb=shared", "web1"});
  EXPECT_EQ(disks.guest, "web1") << "a disk's word is one";
  EXPECT_EQ(disks.options.dump(),
            R"({"disks":[{"mode":"replicate","name":"vda","overwrite":true,"target":""},)"
            R"({"mode":"shared","name":"vdb","overwrite":false,"target":""}]})");
  EXPECT_TRUE(command<Protect>({"protect", "web1", "--to", "hostB", "--dry-run"}).dry_run);
}

TEST(Arguments, GlobalOptionsStandAnywhere) {
  for (const auto& words : {std::vector<const char*>{"--json", "--socket", "/x", "status"},
                            std::vector<const char*>{"status", "--json", "--socket", "/x"}}) {
    const auto parsed = parse(words);
    ASSERT_TRUE(std::holds_alternative<Arguments>(parsed));
    EXPECT_TRUE(std::get<Arguments>(parsed).json);
    EXPECT_EQ(std::get<Arguments>(parsed).socket, "/x");
  }
}

TEST(Arguments, TheSocketMayComeFromTheEnvironment) {
  ::setenv("REMUS_SOCKET", "/lab/remusd.sock", 1);
  const auto parsed = parse({"status"});
  ::unsetenv("REMUS_SOCKET");
  EXPECT_EQ(std::get<Arguments>(parsed).socket, "/lab/remusd.sock");
}

TEST(Arguments, BadValuesAreExplained) {
  EXPECT_THAT(refused({"protect", "web1", "--to", "hostB", "--interval", "50"}).text,
              HasSubstr("'50' is not a duration; write it like 50ms"));
  EXPECT_THAT(refused({"protect", "web1", "--to", "hostB", "--bandwidth", "fast"}).text,
              HasSubstr("100MiB/s"));
  EXPECT_THAT(refused({"protect", "../web1", "--to", "hostB"}).text, HasSubstr("is not a guest name"));
  EXPECT_THAT(refused({"protect", "web1"}).text, HasSubstr("--to"));
  EXPECT_THAT(refused({"protect", "web1", "--to", "hostB", "--bridge", "br0"}).text, HasSubstr("HERE=THERE"));
  EXPECT_THAT(refused({"protect", "web1", "--to", "hostB", "--disk", "vda=mirror"}).text,
              HasSubstr("use replicate, shared, external or scratch"));
  EXPECT_NE(refused({"protect", "web1", "--to", "hostB", "--wait", "--no-wait"}).status, -1);
  for (const auto& words :
       {std::vector<const char*>{}, {"nonsense"}, {"status", "--nonsense"}, {"host"}, {"cert", "issue"}})
    EXPECT_EQ(refused(words).status, exit_status(Errc::invalid));
}

const std::vector<std::vector<const char*>> commands{{"protect"},        {"unprotect"},    {"set"},
                                                     {"status"},         {"top"},          {"events"},
                                                     {"failover"},       {"verify"},       {"doctor"},
                                                     {"host", "show"},   {"host", "list"}, {"host", "add"},
                                                     {"host", "remove"}, {"cert", "init"}, {"cert", "issue"},
                                                     {"cert", "show"}};

std::string help_of(std::vector<const char*> words) {
  words.push_back("--help");
  const auto exit = refused(words);
  EXPECT_EQ(exit.status, 0) << words.front();
  return exit.text;
}

TEST(Arguments, EveryCommandHasHelpWithExamplesAndItsExitStatus) {
  auto all = commands;
  all.push_back({"host"});
  all.push_back({"cert"});
  for (const auto& words : all) {
    const auto help = help_of(words);
    EXPECT_THAT(help, HasSubstr("Examples:\n  remus ")) << words.back();
    EXPECT_THAT(help, HasSubstr("Exit status:")) << words.back();
  }
  EXPECT_THAT(help_of({}), HasSubstr("20 not healthy"));
}

TEST(Arguments, TheOthers) {
  EXPECT_EQ(command<HostAdd>({"host", "add", "hostB", "10.0.0.2", "192.168.1.2"}).addresses.size(), 2U);
  EXPECT_EQ(command<CertIssue>({"cert", "issue", "/ca", "hostB", "/out", "--days", "30"}).valid_days, 30);
  EXPECT_TRUE(command<Events>({"events", "web1", "-f"}).follow);
  EXPECT_EQ(command<Top>({"top", "-d", "500ms", "-n", "3"}).interval_ms, 500U);
  EXPECT_EQ(command<Top>({"top", "-d", "1ms"}).interval_ms, 100U) << "not faster than anybody can read";
  const auto f = command<Failover>({"failover", "web1", "--force", "-y"});
  EXPECT_TRUE(f.force && f.yes);
  EXPECT_TRUE(command<Unprotect>({"unprotect", "web1", "--force"}).force);
}

TEST(Arguments, EachKindOfErrorHasAnExitStatusOfItsOwn) {
  std::set<int> seen;
  for (int kind = 0; kind <= static_cast<int>(Errc::internal); ++kind)
    seen.insert(exit_status(static_cast<Errc>(kind)));
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(Errc::internal) + 1);
  EXPECT_FALSE(seen.contains(0));
  EXPECT_FALSE(seen.contains(exit_not_healthy));
}

TEST(Help, TheManualNamesEveryCommandAndOption) {
  std::ifstream in{std::filesystem::path{REMUS_SOURCE_DIR} / "docs/man/remus.1.md"};
  const std::string manual{std::istreambuf_iterator<char>{in}, {}};
  ASSERT_FALSE(manual.empty());
  const std::regex option{"--[a-z][a-z-]+"};
  for (const auto& words : commands) {
    EXPECT_THAT(manual, HasSubstr(fmt::format("**{}**", fmt::join(words, " "))));
    const auto help = help_of(words);
    const auto end = help.find("Examples:");
    for (std::sregex_iterator found{help.begin(), help.begin() + static_cast<std::ptrdiff_t>(end), option},
         none;
         found != none; ++found)
      EXPECT_THAT(manual, HasSubstr("\\" + found->str())) << words.back() << " " << found->str();
  }
}

TEST(Help, TheConfigurationsManualNamesEveryOptionOfAGuest) {
  std::ifstream in{std::filesystem::path{REMUS_SOURCE_DIR} / "docs/man/remus.toml.5.md"};
  const std::string manual{std::istreambuf_iterator<char>{in}, {}};
  const auto options = guard::to_json(guard::GuestOptions{});
  for (const auto& [name, value] : options.items()) EXPECT_THAT(manual, HasSubstr("**" + name + "**"));
}

}  // namespace
}  // namespace remus::cli
