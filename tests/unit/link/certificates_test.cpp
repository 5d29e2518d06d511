#include "link/certificates.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "link/tls.hpp"
#include "link_fixture.hpp"

namespace remus::link {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Certificates : public test::PkiTest {};

mode_t mode_of(const std::filesystem::path& file) {
  struct stat st {};
  EXPECT_EQ(::stat(file.c_str(), &st), 0) << file;
  return st.st_mode & 07777U;
}

void overwrite(const std::filesystem::path& file, const std::string& text) {
  std::ofstream{file} << text;
}

TEST_F(Certificates, AFreshCaIsACaAndItsKeyIsPrivate) {
  const auto info = describe_certificate(dir() / "ca" / "ca.crt");
  ASSERT_TRUE(info.has_value()) << info.error().text();
  EXPECT_TRUE(info->is_ca);
  EXPECT_THAT(info->subject, HasSubstr("test cluster"));
  EXPECT_GE(info->days_left, ca_valid_days - 1);
  EXPECT_EQ(mode_of(dir() / "ca" / "ca.key"), 0600U);
}

TEST_F(Certificates, ACaIsNeverOverwritten) {
  const auto again = create_ca(dir() / "ca", "other");
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().kind, Errc::exists);
}

TEST_F(Certificates, AHostsCertificateCarriesItsNamesAndAddresses) {
  HostCertificateRequest request;
  request.host = "host-a";
  request.dns_names = {"host-a.example.org"};
  request.addresses = {"192.0.2.7", "2001:db8::7"};
  ASSERT_TRUE(issue_host_certificate(dir() / "ca", request, dir() / "a").has_value());
  const auto info = describe_certificate(dir() / "a" / "host.crt");
  ASSERT_TRUE(info.has_value()) << info.error().text();
  EXPECT_THAT(info->dns_names, ElementsAre("host-a", "host-a.example.org"));
  EXPECT_THAT(info->addresses, ElementsAre("192.0.2.7", "2001:db8::7"));
  EXPECT_FALSE(info->is_ca);
  EXPECT_EQ(info->fingerprint_sha256.size(), 64U);
  EXPECT_EQ(info->serial.size(), 32U);
  EXPECT_EQ(mode_of(dir() / "a" / "host.key"), 0600U);
  const auto pki = Pki::open(dir() / "a");
  ASSERT_TRUE(pki.has_value()) << pki.error().text();
  EXPECT_EQ((*pki)->host(), "host-a");
}

TEST_F(Certificates, BadNamesAndAddressesAreRefusedBeforeAnythingIsWritten) {
  for (const char* name : {"", "a b", "-x", "a/../b", "x,DNS:evil", "a\nb"}) {
    HostCertificateRequest request;
    request.host = name;
    const auto refused = issue_host_certificate(dir() / "ca", request, dir() / "bad");
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().kind, Errc::invalid);
  }
  HostCertificateRequest request;
  request.host = "good";
  request.addresses = {"300.1.1.1"};
  EXPECT_FALSE(issue_host_certificate(dir() / "ca", request, dir() / "bad").has_value());
  EXPECT_FALSE(std::filesystem::exists(dir() / "bad"));
}

TEST_F(Certificates, IssuingWithoutACaSaysWhatToDo) {
  const auto none = issue_host_certificate(dir() / "nowhere", {"host-a", {}, {}, 10}, dir() / "x");
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().kind, Errc::not_found);
  EXPECT_THAT(none.error().fix, HasSubstr("remus cert init"));
}

TEST_F(Certificates, RenewalReplacesCertificateAndKeyAndIsSeenWithoutARestart) {
  issue("host-a", "a");
  auto pki = Pki::open(dir() / "a");
  ASSERT_TRUE(pki.has_value());
  const auto first = (*pki)->context();
  const auto same = (*pki)->context();
  ASSERT_TRUE(first.has_value() && same.has_value());
  EXPECT_EQ(*first, *same);
  issue("host-a", "a");
  const auto renewed = (*pki)->context();
  ASSERT_TRUE(renewed.has_value()) << renewed.error().text();
  EXPECT_NE(*first, *renewed);
}

class PkiErrors : public Certificates {
 protected:
  void SetUp() override {
    Certificates::SetUp();
    issue("host-a", "a");
  }
  Error open_error() {
    auto pki = Pki::open(dir() / "a");
    EXPECT_FALSE(pki.has_value());
    return pki ? Error{} : pki.error();
  }
};

TEST_F(PkiErrors, MissingFileIsNamed) {
  for (const char* name : {"ca.crt", "host.crt", "host.key"}) {
    issue("host-a", "a");
    std::filesystem::remove(dir() / "a" / name);
    const Error error = open_error();
    EXPECT_EQ(error.kind, Errc::not_found);
    EXPECT_THAT(error.what, HasSubstr(name));
  }
}

TEST_F(PkiErrors, AKeyOthersCanReadIsRefused) {
  ASSERT_EQ(::chmod((dir() / "a" / "host.key").c_str(), 0644), 0);
  const Error error = open_error();
  EXPECT_EQ(error.kind, Errc::denied);
  EXPECT_THAT(error.what, HasSubstr("0644"));
  EXPECT_THAT(error.fix, HasSubstr("chmod 600"));
}

TEST_F(PkiErrors, AKeyOfAnotherCertificateIsRefused) {
  issue("host-b", "b");
  std::filesystem::copy_file(dir() / "b" / "host.key", dir() / "a" / "host.key",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(open_error().what, HasSubstr("is not the key of"));
}

TEST_F(PkiErrors, GarbageIsCorrupt) {
  overwrite(dir() / "a" / "host.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
  EXPECT_EQ(open_error().kind, Errc::corrupt);
}

TEST_F(PkiErrors, ExpiredAndNotYetValidSaySo) {
  issue("host-a", "a", -1);
  EXPECT_THAT(open_error().what, HasSubstr("expired on"));
  issue("host-a", "a", 10, std::chrono::hours{48});
  EXPECT_THAT(open_error().what, HasSubstr("not valid before"));
}

TEST_F(PkiErrors, ACertificateOfAnotherCaIsRefused) {
  ASSERT_TRUE(create_ca(dir() / "ca2", "other cluster").has_value());
  std::filesystem::copy_file(dir() / "ca2" / "ca.crt", dir() / "a" / "ca.crt",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(open_error().what, HasSubstr("was not signed by the CA"));
}

TEST_F(PkiErrors, ABadRevocationListIsNotPassedOver) {
  overwrite(dir() / "a" / "revoked", "# comment\n\nabcd\n");
  EXPECT_THAT(open_error().what, HasSubstr("line 3"));
}

TEST_F(PkiErrors, FingerprintsMayHaveColonsCapitalsAndComments) {
  std::string colons;
  for (int i = 0; i < 32; ++i) colons += i == 0 ? "AB" : ":AB";
  overwrite(dir() / "a" / "revoked", colons + "  # host-x, lost\n");
  EXPECT_TRUE(Pki::open(dir() / "a").has_value());
}

}  // namespace
}  // namespace remus::link
