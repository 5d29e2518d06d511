#include "http/types.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace remus::http {
namespace {

using ::testing::HasSubstr;

TEST(Target, IsSplitAndDecoded) {
  const auto target = parse_target("/guests/web%201?follow=1&name=a%26b+c&flag&=x&&last=");
  ASSERT_TRUE(target.has_value()) << target.error().text();
  EXPECT_EQ(target->path, "/guests/web 1");
  EXPECT_EQ(target->query.at("follow"), "1");
  EXPECT_EQ(target->query.at("name"), "a&b c");
  EXPECT_EQ(target->query.at("flag"), "");
  EXPECT_EQ(target->query.at("last"), "");
}

TEST(Target, BadOnesAreRefused) {
  for (const char* bad : {"", "guests", "/a%", "/a%4", "/a%zz", "/a%00b", "/a?x=%0", "http://x/"})
    EXPECT_FALSE(parse_target(bad).has_value()) << bad;
}

TEST(Target, EncodingIsUndoneByParsing) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  const auto target = parse_target("/x?all=" + url_encode(all));
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->query.at("all"), all);
}

TEST(Errors, TravelThroughAResponse) {
  for (const Errc kind : {Errc::invalid, Errc::not_found, Errc::exists, Errc::refused, Errc::unsupported,
                          Errc::incompatible, Errc::unreachable, Errc::denied, Errc::exhausted, Errc::corrupt,
                          Errc::io, Errc::timeout, Errc::closed, Errc::internal}) {
    const Error sent{kind, "it \"failed\" on \n x", "do this"};
    const Response response = error_response(sent);
    EXPECT_GE(response.status, 400U);
    const Error got = error_of(response);
    EXPECT_EQ(got.kind, sent.kind);
    EXPECT_EQ(got.what, sent.what);
    EXPECT_EQ(got.fix, sent.fix);
  }
}

TEST(Errors, BytesThatAreNotTextDoNoHarm) {
  const Error got = error_of(error_response({Errc::invalid, "bad \xff\xfe name", ""}));
  EXPECT_EQ(got.kind, Errc::invalid);
  EXPECT_THAT(got.what, HasSubstr("name"));
}

TEST(Errors, AStrangersAnswerIsToldByItsStatus) {
  const Error got = error_of({404, "<html>nothing here</html>", "text/html", {}});
  EXPECT_EQ(got.kind, Errc::not_found);
  EXPECT_THAT(got.what, HasSubstr("404"));
  EXPECT_EQ(error_of({500, R"({"error":{"kind":3}})", "", {}}).kind, Errc::internal);
}

}  // namespace
}  // namespace remus::http
