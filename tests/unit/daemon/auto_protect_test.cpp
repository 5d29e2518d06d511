#include "daemon/auto_protect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "../temp_dir.hpp"

namespace remus::daemon {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;

TEST(AutoProtect, WordsAreThoseOfTheCommand) {
  const auto wanted = parse_auto_protect(
      "to=hostB, max-latency=25ms,arbiter = manual,max-epochs-in-flight=4,max-overhead=0.3,"
      "disk=hda=scratch,disk=hdb=shared,bridge=xenbr0=lan1");
  ASSERT_TRUE(wanted) << wanted.error().text();
  EXPECT_EQ(wanted->to, "hostB");
  EXPECT_EQ(wanted->options,
            (json{{"max_latency", "25ms"},
                  {"arbiter", "manual"},
                  {"max_epochs_in_flight", 4},
                  {"max_overhead", 0.3},
                  {"disks",
                   {{{"name", "hda"}, {"mode", "scratch"}, {"target", ""}, {"overwrite", false}},
                    {{"name", "hdb"}, {"mode", "shared"}, {"target", ""}, {"overwrite", false}}}},
                  {"bridges", {{"xenbr0", "lan1"}}}}));
}

TEST(AutoProtect, AFileHasALineAWordAndComments) {
  const auto wanted =
      parse_auto_protect("# the other rack\nto=hostB\r\n\n  interval=50ms  # calm\n#compression=none\n");
  ASSERT_TRUE(wanted) << wanted.error().text();
  EXPECT_EQ(wanted->to, "hostB");
  EXPECT_EQ(wanted->options, json({{"interval", "50ms"}}));
}

TEST(AutoProtect, WhatIsWrongIsNamed) {
  const auto said = [](std::string_view words) {
    const auto wanted = parse_auto_protect(words);
    return wanted ? std::string{"(taken)"} : wanted.error().text();
  };
  EXPECT_THAT(said(""), HasSubstr("to=HOST"));
  EXPECT_THAT(said("interval=50ms"), HasSubstr("to=HOST"));
  EXPECT_THAT(said("to=hostB,manual"), HasSubstr("'manual' is not KEY=VALUE"));
  EXPECT_THAT(said("to=hostB,=x"), HasSubstr("'=x'"));
  EXPECT_THAT(said("to=hostB,intervall=50ms"), HasSubstr("intervall"));
  EXPECT_THAT(said("to=hostB,interval=fast"), HasSubstr("interval"));
  EXPECT_THAT(said("to=hostB,interval=50ms,interval=60ms"), HasSubstr("twice"));
  EXPECT_THAT(said("to=hostB,to=hostC"), HasSubstr("twice"));
  EXPECT_THAT(said("to=../etc"), HasSubstr("../etc"));
  EXPECT_THAT(said("to=hostB,arbiter=manua\xff"), HasSubstr("word number 2"));
  EXPECT_EQ(said("to=hostB # f\xc3\xbcr das andere Regal"), "(taken)");
  EXPECT_THAT(said("to=hostB,bridge=xenbr0"), HasSubstr("HERE=THERE"));
  EXPECT_THAT(said("to=hostB,bridge=xenbr0=lan1,bridge=xenbr0=lan2"),
              HasSubstr("'xenbr0' of this host is given twice"));
  EXPECT_THAT(said("to=hostB,bridges=xenbr0,bridge=xenbr0=lan1"), HasSubstr("bridge=HERE=THERE"));
  EXPECT_THAT(said("to=hostB,disks=hda,disk=hda=scratch"), HasSubstr("disk=NAME=MODE"));
  EXPECT_THAT(said("to=hostB,disk=hda=vouched"), HasSubstr("'vouched'"));
  EXPECT_THAT(said("to=hostB,disk=hda=scratch,disk=hda=scratch"), HasSubstr("named twice"));
  EXPECT_THAT(said("to=hostB,disk=hda=shared"), HasSubstr("arbiter fail-stop"));
  EXPECT_THAT(said("to=hostB,max-overhead=" + std::string(100'000, '[')), HasSubstr("max_overhead"));
}

constexpr HeededWishes::Clock::time_point now{1h};
const DomainLifeKey web1{7, "17f4f1f0-0000-4000-8000-000000000001"};

TEST(HeededWishes, OnceInADomainsLifeAlsoAcrossARestartOfOurs) {
  const test::TempDir dir;
  const auto file = dir.path() / "wishes.json";
  HeededWishes wishes{file};
  wishes.load();
  EXPECT_TRUE(wishes.due(web1, now));
  ASSERT_TRUE(wishes.done(web1));
  EXPECT_FALSE(wishes.due(web1, now + 24h));

  HeededWishes later{file};
  later.load();
  EXPECT_FALSE(later.due(web1, now));
  EXPECT_TRUE(later.due({8, web1.uuid}, now)) << "started again, it has another number";
  later.keep_only({});
  EXPECT_TRUE(later.due(web1, now)) << "a later domain may have the number of one that is gone";
}

TEST(HeededWishes, FailuresAreTriedAgainEverMoreSeldom) {
  const test::TempDir dir;
  HeededWishes wishes{dir.path() / "wishes.json"};
  auto at = now;
  auto wait = 0s;
  for (int i = 0; i < 20; ++i) {
    wishes.failed(web1, at);
    auto next = at;
    while (!wishes.due(web1, next)) next += 1s;
    const auto waited = std::chrono::duration_cast<std::chrono::seconds>(next - at);
    EXPECT_GE(waited, wait);
    EXPECT_LE(waited, 300s);
    wait = waited;
    at = next;
  }
  EXPECT_EQ(wait, 300s);
}

TEST(HeededWishes, AFileThatIsNotOursIsAsNone) {
  const test::TempDir dir;
  const auto file = dir.path() / "wishes.json";
  for (const char* text : {"", "{", "[1, {\"domid\": -1}, {\"domid\": \"7\"}]", "{\"domid\": 7}"}) {
    std::ofstream{file, std::ios::trunc} << text;
    HeededWishes wishes{file};
    wishes.load();
    EXPECT_TRUE(wishes.due(web1, now)) << text;
  }
}

}  // namespace
}  // namespace remus::daemon
