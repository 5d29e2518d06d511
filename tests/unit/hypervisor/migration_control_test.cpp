#include "hypervisor/qemu/migration_control.hpp"

#include "fake_qmp.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::qemu;
using nlohmann::json;

class MigrationTest : public test::QmpTest {
 protected:
  /// Answers `commands` commands as a QEMU whose ended migration is put away only after `busy` questions; notes what was asked.
  void play(int commands, int busy) {
    serve([this, commands, busy](int client) mutable {
      say(client, test::greeting);
      answer(client, hear(client), json::object());
      for (int i = 0; i < commands; ++i) {
        const json command = hear(client);
        const auto name = command.value("execute", "");
        asked_.push_back(name);
        json reply = json::object();
        if (name == "query-migrate") reply = {{"status", "completed"}};
        if (name == "cont") stands_ = false;
        if (name == "query-status") reply = {{"status", stands_ ? "colo" : "running"}};
        if (name == "query-yank") {
          reply = json::array({{{"type", "chardev"}, {"id", "compat_monitor0"}}});
          if (busy-- > 0) reply.push_back({{"type", "migration"}});
        }
        answer(client, command, reply);
      }
      hang_until_closed(client);
    });
    auto connected = Qmp::connect(path_);
    ASSERT_TRUE(connected) << connected.error().text();
    qmp_ = *connected;
  }
  void end() {
    qmp_->close();
    server_.join();
  }

  std::shared_ptr<Qmp> qmp_{};
  std::vector<std::string> asked_{};
  bool stands_{false};  ///< the guest, and nobody but us resumes it
};

TEST_F(MigrationTest, BeginsOnlyWhenTheOneBeforeIsPutAway) {
  play(5, 2);
  const Status begun = MigrationControl{*qmp_}.start(0);
  end();
  ASSERT_TRUE(begun) << begun.error().text();
  EXPECT_EQ(asked_, (std::vector<std::string>{"query-yank", "query-yank", "query-yank", "getfd", "migrate"}));
}

TEST_F(MigrationTest, IsLeftOnlyWhenItIsPutAway) {
  play(4, 1);
  const Status left = leave_migration(*qmp_);
  end();
  ASSERT_TRUE(left) << left.error().text();
  EXPECT_EQ(asked_, (std::vector<std::string>{"query-migrate", "query-status", "query-yank", "query-yank"}));
}

TEST_F(MigrationTest, TheGuestIsResumedByUsOnlyWhenNobodyElseWill) {
  stands_ = true;
  play(10, 2);
  const Status left = leave_migration(*qmp_);
  end();
  ASSERT_TRUE(left) << left.error().text();
  EXPECT_EQ(asked_, (std::vector<std::string>{"query-migrate", "query-status", "query-yank", "query-status",
                                              "query-yank", "query-status", "query-yank", "cont",
                                              "query-status", "query-yank"}))
      << "not while the migration is there: its thread may still wait for the guest to stand";
}

TEST_F(MigrationTest, AQemuWithoutYankIsTakenAsItIs) {
  serve([this](int client) {
    say(client, test::greeting);
    answer(client, hear(client), json::object());
    const json command = hear(client);
    say(client,
        json{{"id", command["id"]}, {"error", {{"class", "CommandNotFound"}, {"desc", "?"}}}}.dump() + "\n");
    for (int i = 0; i < 2; ++i) answer(client, hear(client), json::object());
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp) << qmp.error().text();
  EXPECT_TRUE(MigrationControl{**qmp}.start(0));
  (*qmp)->close();
}

}  // namespace
