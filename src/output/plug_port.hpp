// One interface of the guest, our interface beside it, the plug on that and the filter between them: all by netlink.
//
// create() makes everything but the filter, so that nothing of the guest's traffic is touched yet. What must be quick
// (tell, divert) is one message, made ahead, and one answer.
#pragma once

#include <netlink/msg.h>
#include <netlink/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "output/plug_names.hpp"

namespace remus::output {

struct PlugCounts {
  std::uint64_t held_packets{};
  std::uint64_t held_bytes{};
  std::uint64_t passed_packets{};
  std::uint64_t passed_bytes{};
  std::uint64_t dropped_packets{};
};

/// What plug can be told (linux/pkt_sched.h): the values are the kernel's.
enum class PlugCommand : int { buffer = 0, release_one = 1, release_all = 2 };

class PlugPort final {
 public:
  static Result<std::unique_ptr<PlugPort>> create(const std::string& guest, const std::string& interface,
                                                  std::size_t hold_bytes_max);
  PlugPort(const PlugPort&) = delete;
  PlugPort& operator=(const PlugPort&) = delete;
  ~PlugPort();  ///< leaves all as it is; see remove()

  [[nodiscard]] const std::string& interface() const noexcept { return alias_.interface; }
  [[nodiscard]] int interface_index() const noexcept { return interface_index_; }
  [[nodiscard]] bool diverted() const noexcept { return diverted_; }

  [[nodiscard]] Status tell(PlugCommand command);
  /// From now on what the guest sends comes to the plug; and past it again.
  [[nodiscard]] Status divert();
  [[nodiscard]] Status undivert();
  /// After somebody may have taken our filter away, or what it is attached to, which are put back: true if the
  /// guest's packets went past us meanwhile.
  [[nodiscard]] Result<bool> divert_again();
  [[nodiscard]] Result<PlugCounts> counts();
  /// Throws away all that is held, and all that comes.
  [[nodiscard]] Status choke();
  /// Takes away everything create() made. What is held is lost: let it go first.
  [[nodiscard]] Status remove();

 private:
  using Socket = std::unique_ptr<nl_sock, decltype(&nl_socket_free)>;
  using Message = std::unique_ptr<nl_msg, decltype(&nlmsg_free)>;

  PlugPort(Socket socket, PlugAlias alias);
  [[nodiscard]] Status build(std::size_t hold_bytes_max);

  Socket socket_;
  std::array<Message, 3> commands_;
  PlugAlias alias_;
  std::string name_;
  int interface_index_{};
  int index_{};  ///< of our interface
  bool diverted_{false};
  bool choked_{false};
};

/// What a dead guard left for this guest: its packets are let go, then everything is removed.
[[nodiscard]] Status remove_plugs_of(const std::string& guest);

}  // namespace remus::output
