#include "hypervisor/xen/base64.hpp"

#include <gtest/gtest.h>

namespace {

using namespace remus::hypervisor::xen;

std::vector<std::byte> characters(std::string_view chars) {
  const auto bytes = std::as_bytes(std::span{chars});
  return {bytes.begin(), bytes.end()};
}

TEST(Base64, HasTheValuesOfRfc4648) {
  const std::pair<const char*, const char*> known[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : known) {
    EXPECT_EQ(encode_base64(characters(plain)), coded);
    EXPECT_EQ(decode_base64(coded).value(), characters(plain));
  }
  EXPECT_EQ(encode_base64(std::vector<std::byte>{std::byte{0xfb}, std::byte{0xff}, std::byte{0xfe}}), "+//+");
}

TEST(Base64, WhatIsNotIsRefused) {
  for (const char* bad : {"Z", "Zg", "Zg=", "Z===", "Zh==", "Zm9=", "Zm 9", "=Zg=", "Zm9v\n", "Zg==Zg=="})
    EXPECT_FALSE(decode_base64(bad)) << bad;
}

}  // namespace
