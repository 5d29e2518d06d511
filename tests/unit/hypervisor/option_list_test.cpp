#include "hypervisor/qemu/option_list.hpp"

#include <gtest/gtest.h>

namespace {

using remus::hypervisor::qemu::OptionList;

TEST(OptionList, ReadsAndWritesQemusRules) {
  const auto list = OptionList::parse("tap,id=n0,ifname=a,,b,vhost", "type");
  EXPECT_EQ(list.get_or("type", ""), "tap");
  EXPECT_EQ(list.get_or("ifname", ""), "a,b");
  EXPECT_TRUE(list.is_on("vhost"));
  EXPECT_FALSE(list.has("script"));
  EXPECT_EQ(list.text(), "tap,id=n0,ifname=a,,b,vhost");
}

TEST(OptionList, TheLastOfAKeyWinsAndSetReplacesAll) {
  auto list = OptionList::parse("x,a=1,a=2", "type");
  EXPECT_EQ(list.get_or("a", ""), "2");
  list.set("a", "3");
  EXPECT_EQ(list.text(), "x,a=3");
  list.set("type", "y");
  EXPECT_EQ(list.text(), "y,a=3");
  list.erase("a");
  list.set("b", "1,2");
  EXPECT_EQ(list.text(), "y,b=1,,2");
}

TEST(OptionList, JsonKeepsNestedValues) {
  auto list =
      OptionList::parse(R"({"type":"tap","fd":"33","id":"hostnet0","n":{"a":[1,2]},"vhost":true})", "type");
  ASSERT_TRUE(list.is_json());
  EXPECT_EQ(list.get_or("fd", ""), "33");
  EXPECT_TRUE(list.is_on("vhost"));
  list.erase("fd");
  list.set_size("size", 4096);
  EXPECT_NE(list.text().find(R"("n":{"a":[1,2]})"), std::string::npos);
  EXPECT_NE(list.text().find(R"("size":4096)"), std::string::npos);
}

TEST(OptionList, OddInputIsKept) {
  EXPECT_EQ(OptionList::parse("", "type").get_or("type", "?"), "");
  EXPECT_EQ(OptionList::parse(",id=n0", "type").text(), ",id=n0");
  EXPECT_EQ(OptionList::parse("{broken", "type").get_or("type", ""), "{broken");
  EXPECT_EQ(OptionList::parse("a=b=c", "type").get_or("a", ""), "b=c");
  EXPECT_EQ(OptionList::parse(",,,", "type").text(), ",,");
  EXPECT_EQ(OptionList::parse("id=x", "type").text(), "id=x");
}

TEST(OptionList, WhatBeganLikeJsonButWasNoneIsNotWrittenAsJson) {
  for (const auto* text : {R"({"a":1},)", R"({"a=b":1,"c":["q"]},)"}) {
    const auto list = OptionList::parse(text, "type");
    EXPECT_FALSE(list.is_json()) << text;
    const auto again = OptionList::parse(list.text(), "type");
    EXPECT_FALSE(again.is_json()) << text;
    EXPECT_EQ(again.keys(), list.keys()) << text;
    EXPECT_EQ(again.text(), list.text()) << text;
  }
}

}  // namespace
