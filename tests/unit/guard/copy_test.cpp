// Pipeline and Replica face to face, without a network: whatever the guest does, the copy is exact.
#include "copy.hpp"

namespace remus::guard::testing {
namespace {

TEST_F(Copy, IsExactAfterEveryEpoch) {
  domain.change(random, 4000);
  synchronize(11);
  EXPECT_EQ(image(), domain.memory());
  EXPECT_EQ(output.holds, 1) << "output is held from epoch 0's pause on";
  for (Epoch epoch = 1; epoch <= 30; ++epoch) {
    domain.change(random, random() % 500);
    checkpoint(11, epoch);
    ASSERT_EQ(image(), domain.memory()) << "epoch " << epoch;
    EXPECT_EQ(output.marked, epoch);
  }
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(Copy, ActivatesWithTheDeviceStateOfTheNewestAppliedEpoch) {
  synchronize(1);
  domain.change(random, 10);
  checkpoint(1, 1);
  domain.change(random, 10);
  checkpoint(1, 2);
  const auto devices = domain.devices();
  replica.activate(2);
  until([&] { return activated == 1; });
  EXPECT_EQ(view.activated_with, devices);
}

TEST_F(Copy, ASecondSessionSendsOnlyWhatDiffers) {
  domain.change(random, 6000);
  synchronize(1);
  const std::size_t first = wire_bytes;
  pipeline->abandon();
  until([&] { return detached == 1; });
  domain.change(random, 5);
  wire_bytes = 0;
  synchronize(2);
  EXPECT_TRUE(offered);
  EXPECT_EQ(image(), domain.memory());
  EXPECT_EQ(view.prepared, 1) << "the standby is kept";
  EXPECT_LT(wire_bytes, first / 20);
}

TEST_F(Copy, NoEpochIsWholeBeforeTheFirst) {
  domain.change(random, 300);
  postpone_outbound = true;
  replica.begin(1);
  pipeline->synchronize(1);
  until([&] { return ready == 1 && last.kind == Outbound::Kind::epoch; });
  pipeline->capture(1, 1);
  until([&] { return last.epoch == 1; });
  // Both arrive while the apply thread has still to put the synchronization's pages into the image.
  std::promise<void> gate;
  view.answer_after = gate.get_future().share();
  replica.check_health();
  postpone_outbound = false;
  for (const auto& item : postponed) deliver(item);
  io.restart();
  io.run_for(std::chrono::milliseconds{50});
  EXPECT_THAT(wholes, ::testing::IsEmpty());
  gate.set_value();
  until([&] { return applied == Epoch{1}; });
  EXPECT_THAT(wholes, ::testing::ElementsAre(0, 1));
  EXPECT_THAT(errors, ::testing::IsEmpty());
}

TEST_F(Copy, AnEpochThatDoesNotAddUpIsNotWhole) {
  synchronize(1);
  drop_outbound = true;
  domain.change(random, 300);
  pipeline->capture(1, 1);
  until([&] { return captured == Epoch{1} && last.kind == Outbound::Kind::epoch && last.epoch == 1; });
  const auto before = image();
  deliver_epoch(last, [](link::EpochEnd& end) { end.batches += 1; });
  until([&] { return !errors.empty(); });
  EXPECT_EQ(errors.front().kind, Errc::corrupt);
  EXPECT_EQ(whole, Epoch{0});
  EXPECT_EQ(image(), before);
}

TEST_F(Copy, AnEpochWhoseImageHashDiffersIsAnError) {
  synchronize(1);
  drop_outbound = true;
  domain.change(random, 300);
  pipeline->capture(1, 1);
  until([&] { return last.epoch == 1; });
  deliver_epoch(last, [](link::EpochEnd& end) { end.image_hash[3] ^= std::byte{1}; });
  until([&] { return !errors.empty(); });
  EXPECT_THAT(errors.front().what, ::testing::HasSubstr("not the primary's"));
}

TEST_F(Copy, ATornEpochLeavesNoTrace) {
  synchronize(1);
  drop_outbound = true;
  domain.change(random, 300);
  pipeline->capture(1, 1);
  until([&] { return last.epoch == 1; });
  const auto before = image();
  replica.receive(link::EpochBegin{1, 1, 0, 0}, 1);
  replica.receive(link::EpochPages{1, 0, {last.data, last.data->batch(0)}}, 1);
  replica.discard_torn();
  io.restart();
  io.run_for(std::chrono::milliseconds{20});
  EXPECT_EQ(image(), before);
  EXPECT_EQ(replica.held_bytes(), 0U);
  deliver_epoch(last, {});  // the same bytes again, after a reconnect
  until([&] { return applied == Epoch{1}; });
  EXPECT_EQ(image(), domain.memory());
}

TEST_F(Copy, VerificationComparesEveryPageAtItsEpoch) {
  domain.change(random, 2000);
  synchronize(1);
  domain.change(random, 100);
  pipeline->verifier().begin(5, false, enough);
  pipeline->capture(1, 1);
  until([&] { return verified.has_value(); });
  EXPECT_EQ(verified->epoch, 1U);
  EXPECT_EQ(verified->compared_pages, small_layout().pages());
  EXPECT_EQ(verified->differing_pages, 0U);
  EXPECT_EQ(verified->failure, "");

  view.memory[0][77 * checkpoint::page_bytes + 5] ^= std::byte{1};  // a bit flips behind our back
  verified.reset();
  pipeline->verifier().begin(6, false, enough);
  pipeline->capture(1, 2);
  until([&] { return verified.has_value(); });
  EXPECT_EQ(verified->differing_pages, 1U);
  EXPECT_THAT(verified->differing, ::testing::ElementsAre(77U));
}

TEST_F(Copy, VerificationComparesWhatWasCapturedInTheEnd) {
  synchronize(1);
  domain.rewritten = 77;
  pipeline->verifier().begin(7, false, enough);
  pipeline->capture(1, 1);
  until([&] { return verified.has_value(); });
  EXPECT_EQ(verified->failure, "");
  EXPECT_EQ(verified->compared_pages, small_layout().pages());
  EXPECT_EQ(verified->differing_pages, 0U);
}

TEST_F(Copy, VerificationLeavesOutWhatCannotBeRead) {
  domain.change(random, 2000);
  synchronize(1);
  domain.unreadable = 50;
  domain.rewritten = 77;
  pipeline->verifier().begin(8, false, enough);
  pipeline->capture(1, 1);
  until([&] { return verified.has_value(); });
  EXPECT_EQ(verified->failure, "");
  EXPECT_EQ(verified->compared_pages, small_layout().pages() - 1);
  EXPECT_EQ(verified->differing_pages, 0U);
}

TEST_F(Copy, VerificationNeedNotStopTheGuestForAllItsMemory) {
  domain.change(random, 2000);
  synchronize(1);
  auto& verifier = pipeline->verifier();
  verifier.begin(9, false, {});
  const auto pages = small_layout().pages();
  const auto slices = (pages + domain.visited_at_once - 1) / domain.visited_at_once;
  const auto flipped = static_cast<checkpoint::PageIndex>((slices - 1) * domain.visited_at_once);
  std::uint64_t compared = 0;
  std::vector<std::uint32_t> differing;
  for (Epoch epoch = 1; epoch <= slices; ++epoch) {
    EXPECT_EQ(verifier.reached(), (epoch - 1) * domain.visited_at_once);
    EXPECT_FALSE(verifier.whole(9));
    if (verifier.reached() == flipped) {  // a bit flips behind our back
      const auto rom = small_layout().blocks[1].first_page;
      view.memory[1][(flipped - rom) * checkpoint::page_bytes + 5] ^= std::byte{1};
      domain.rewritten.reset();
    } else {
      domain.change(random, 50);  // what has been compared, and what has not
      domain.rewritten = static_cast<checkpoint::PageIndex>(random() % pages);
    }
    verified.reset();
    checkpoint(1, epoch);
    until([&] { return verified.has_value(); });
    ASSERT_TRUE(verified) << "epoch " << epoch;
    EXPECT_EQ(verified->id, 9U);
    EXPECT_EQ(verified->epoch, epoch);
    EXPECT_EQ(verified->failure, "");
    compared += verified->compared_pages;
    differing.insert(differing.end(), verified->differing.begin(), verified->differing.end());
    EXPECT_FALSE(verifier.next(1)) << "nothing more before the answer is here";
    verifier.go_on(9);
  }
  EXPECT_TRUE(verifier.whole(9));
  EXPECT_EQ(compared, pages);
  EXPECT_THAT(differing, ::testing::ElementsAre(flipped));
  EXPECT_FALSE(verifier.next(1)) << "all has been read";
}

TEST_F(Copy, EpochsBehindAVerificationWaitForIt) {
  synchronize(1);
  domain.change(random, 100);
  pipeline->verifier().begin(1, false, enough);
  pipeline->capture(1, 1);
  pipeline->capture(1, 2);
  pipeline->capture(1, 3);
  until([&] { return verified.has_value() && applied == Epoch{3}; });
  EXPECT_EQ(verified->epoch, 1U);
  EXPECT_EQ(verified->differing_pages, 0U);
  EXPECT_EQ(image(), domain.memory());
}

TEST_F(Copy, AnEpochWhoseOutputCouldNotBeMarkedIsNone) {
  synchronize(1);
  checkpoint(1, 1);
  domain.change(random, 10);
  output.unmarkable = true;
  pipeline->capture(1, 2);
  until([&] { return !errors.empty(); });
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0].kind, Errc::timeout);
  EXPECT_EQ(applied, Epoch{1});
  errors.clear();
  output.unmarkable = false;
  pipeline->abandon();
  until([&] { return detached == 1; });
  synchronize(2);
  EXPECT_EQ(image(), domain.memory());
}

TEST_F(Copy, EveryReceivedByteIsCredited) {
  domain.change(random, 3000);
  synchronize(1);
  for (Epoch epoch = 1; epoch <= 5; ++epoch) {
    domain.change(random, 400);
    checkpoint(1, epoch);
  }
  EXPECT_GT(consumed, 0U);
  EXPECT_EQ(replica.held_bytes(), 0U);
}

TEST_F(Copy, ADeadStandbyIsNoticed) {
  synchronize(1);
  view.healthy = false;
  replica.check_health();
  until([&] { return !errors.empty(); });
  EXPECT_EQ(errors.front().kind, Errc::closed);
}

TEST_F(Copy, AFailedCaptureIsToldAndNothingIsSent) {
  synchronize(1);
  domain.fail_next();
  pipeline->capture(1, 1);
  until([&] { return !errors.empty(); });
  EXPECT_EQ(errors.front().what, "as the test asked");
  EXPECT_EQ(whole, Epoch{0});
}

TEST_F(Copy, AGuestWithTooManyBlocksIsToldSoBeforeAnythingIsSent) {
  checkpoint::Layout many;
  for (std::size_t i = 0; i <= checkpoint::layout_blocks_max; ++i)
    many.add("b" + std::to_string(i), checkpoint::page_bytes);
  domain.remap(many);
  pipeline->synchronize(1);
  until([&] { return !errors.empty(); });
  EXPECT_EQ(errors.front().kind, Errc::unsupported);
  EXPECT_THAT(errors.front().what, ::testing::HasSubstr("at most 1024"));
  EXPECT_EQ(view.prepared, 0);
  errors.clear();

  domain.remap(small_layout());
  synchronize(2);  // and what fits is protected again
  EXPECT_EQ(image(), domain.memory());
}

TEST_F(Copy, ALimitOfTheLinkThatIsLiftedIsForgotten) {
  const auto usual = checkpoint::EncoderSettings{}.link_bytes_per_s;
  EXPECT_EQ(pipeline->link_rate(), usual);
  pipeline->set_link_rate(5U << 20);
  until([&] { return pipeline->link_rate() == 5U << 20; });
  pipeline->set_link_rate(0);  // "unlimited"
  until([&] { return pipeline->link_rate() == usual; });
  EXPECT_EQ(pipeline->link_rate(), usual);
}

TEST_F(Copy, DiscardThrowsTheStandbyAway) {
  synchronize(1);
  replica.discard();
  until([&] { return discarded == 1; });
  EXPECT_EQ(view.discarded, 1);
}

}  // namespace
}  // namespace remus::guard::testing
