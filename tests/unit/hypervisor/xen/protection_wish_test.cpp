// xl's own parser reads the files; it needs no hypervisor.
#include "hypervisor/xen/protection_wish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "../../temp_dir.hpp"

namespace remus::hypervisor::xen {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ProtectionWishTest : public testing::Test {
 protected:
  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((directory_.path() / file).parent_path());
    std::ofstream{directory_.path() / file} << text;
  }
  std::string words(const std::string& domain = "web1") const {
    const auto wish = wish_for(domain, directory_.path());
    if (!wish) return "error: " + wish.error().text();
    return *wish ? (*wish)->words : "none";
  }
  const test::TempDir directory_{};
};

TEST_F(ProtectionWishTest, IsFoundByTheDomainsName) {
  EXPECT_EQ(words(), "none");
  write("web1.cfg", "name = 'web1'\nmemory = 512\nvif = [ 'bridge=xenbr0' ]\nremus = 'to=hostB'\n");
  write("other.cfg", "name = \"web2\"; remus = \"to=hostC\"\n");
  EXPECT_EQ(words(), "to=hostB");
  EXPECT_EQ(words("web2"), "to=hostC");
  EXPECT_EQ(words("web3"), "none");
}

TEST_F(ProtectionWishTest, MayBeAListAndInAuto) {
  write("auto/10-web1", "name = 'web1'\nremus = [ 'to=hostB', 'arbiter=manual' ]\n");
  EXPECT_EQ(words(), "to=hostB,arbiter=manual");
}

TEST_F(ProtectionWishTest, AFileBesideLeads) {
  write("web1.cfg", "name = 'web1'\nremus = 'to=hostB'\n");
  write("web1.remus", "to=hostC\n");
  EXPECT_EQ(words(), "to=hostC\n");
}

TEST_F(ProtectionWishTest, ALinkIsNoSecondWishAndAnotherWishIsAnError) {
  write("web1.cfg", "name = 'web1'\nremus = 'to=hostB'\n");
  fs::create_directories(directory_.path() / "auto");
  fs::create_symlink("../web1.cfg", directory_.path() / "auto/web1.cfg");
  EXPECT_EQ(words(), "to=hostB");
  write("old.cfg", "name = 'web1'\nremus = 'to=hostC'\n");
  EXPECT_THAT(words(), HasSubstr("different protections of domain 'web1'"));
}

TEST_F(ProtectionWishTest, WhatXlCannotReadHoldsNobodyUp) {
  write("broken.cfg", "name = 'web1\nremus = {to = 'hostB'}\n");
  write("auto/web1.img", std::string(std::size_t{2} << 20, 'x'));
  fs::create_symlink("nowhere", directory_.path() / "gone.cfg");
  EXPECT_EQ(words(), "none");
  write("web2.cfg", "name = 'web2'\nremus = 'to=hostB'\n");
  EXPECT_EQ(words("web2"), "to=hostB");
  fs::remove(directory_.path() / "gone.cfg");
  write("web1.cfg", "name = 'web1'\nremus = [ [ 'to=hostB' ] ]\n");
  EXPECT_THAT(words(), HasSubstr("neither a text nor a list of texts"));
}

}  // namespace
}  // namespace remus::hypervisor::xen
