#include "guard/verify.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace remus::guard {
namespace {

using ::testing::HasSubstr;

Result<VerifyRequest> asked(std::string body, std::vector<DiskOption> disks) {
  GuardSpec spec;
  spec.guest = "web1";
  spec.options.disks = std::move(disks);
  http::Request request;
  request.body = std::move(body);
  return verify_request(request, spec);
}

TEST(Verify, DisksAreComparedWhereTheyAreReplicated) {
  EXPECT_FALSE(asked("", {})->disks);
  EXPECT_FALSE(asked(R"({"disks": false})", {})->disks);
  EXPECT_TRUE(asked(R"({"disks": true})", {{"vda", DiskMode::replicate, "", false}})->disks);
  for (const auto& disks :
       {std::vector<DiskOption>{},
        {{"vda", DiskMode::external, "", false}, {"vdb", DiskMode::scratch, "", false}}}) {
    const auto refused = asked(R"({"disks": true})", disks);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, Errc::refused);
    EXPECT_THAT(refused.error().what, HasSubstr("'web1' has no replicated disks"));
  }
  EXPECT_EQ(asked(R"({"disk": true})", {}).error().kind, Errc::invalid);
  EXPECT_EQ(asked("[]", {}).error().kind, Errc::invalid);
}

TEST(Verify, ThePauseIsBounded) {
  EXPECT_EQ(asked("", {})->max_pause, std::chrono::milliseconds{10});
  EXPECT_EQ(asked(R"({"max_pause_ms": 2000})", {})->max_pause, std::chrono::seconds{2});
  for (const auto* body :
       {R"({"max_pause_ms": 0})", R"({"max_pause_ms": 2001})", R"({"max_pause_ms": "10ms"})"})
    EXPECT_EQ(asked(body, {}).error().kind, Errc::invalid) << body;
}

TEST(Verify, AnswersOfSeveralEpochsMakeOneReport) {
  checkpoint::Layout layout;
  layout.add("pc.ram", 100 * checkpoint::page_bytes);
  layout.add("vga.vram", 10 * checkpoint::page_bytes);
  VerifyReport report;
  add_pages(report, {.epoch = 7, .compared_pages = 60}, layout);
  link::VerifyResult second{.epoch = 9, .compared_pages = 50, .differing_pages = 2};
  second.differing = {61, 103};
  add_pages(report, second, layout);
  EXPECT_EQ(sentence_of(report), "epochs 7 to 9: 110 pages compared, 2 differ");
  ASSERT_EQ(report.different.size(), 2U);
  EXPECT_EQ(report.different[1].block, "vga.vram");
  EXPECT_EQ(report.different[1].index, 3U);
}

TEST(Verify, BlocksAreNamedByTheirDisk) {
  VerifyReport report{.first_epoch = 7, .epoch = 7, .pages_compared = 100};
  EXPECT_EQ(sentence_of(report), "epoch 7: 100 pages compared, 0 differ");
  link::VerifyResult result{.compared_blocks = 50, .differing_blocks = 2000};
  result.differing_disk_blocks.assign(2000, {1, 65536});
  result.differing_disk_blocks[0] = {2, 512};
  add_blocks(report, result, {"vda", "vdb"});
  EXPECT_EQ(sentence_of(report),
            "epoch 7: 100 pages compared, 0 differ; 50 blocks of disks compared, 2000 differ");
  ASSERT_EQ(report.different_blocks.size(), 1000U);
  EXPECT_EQ(report.different_blocks[0].disk, "number 2") << "the peer's word is not an index";
  EXPECT_EQ(report.different_blocks[1].disk, "vdb");
  EXPECT_EQ(report.different_blocks[1].offset, 65536U);
}

}  // namespace
}  // namespace remus::guard
