#include "hypervisor/qemu/qmp.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/json.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* other_client_fix =
    "QEMU serves one client at a time on this socket: give the guest a QMP socket that nothing else uses";

int remaining_ms(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left <= 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left + 1, 60'000));
}

std::optional<json> parse_line(std::string_view line) {
  json value = parse_json(line);
  if (!value.is_object()) return std::nullopt;
  return value;
}

Result<Fd> connect_unix(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    return fail(Errc::invalid, fmt::format("QMP socket path '{}' is empty or longer than {} bytes", text,
                                           sizeof address.sun_path - 1));
  struct stat info {};
  if (::stat(text.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return fail(Errc::not_found, fmt::format("there is no QMP socket {}", text),
                  "start the guest with -qmp unix:PATH,server=on,wait=off and give that PATH");
    return fail_errno(errno, fmt::format("cannot look at QMP socket {}", text));
  }
  if (!S_ISSOCK(info.st_mode)) return fail(Errc::refused, fmt::format("{} is not a socket", text));
  std::memcpy(address.sun_path, text.data(), text.size());
  Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket) return fail_errno(errno, "cannot create a unix socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int code = errno;
    if (code == ECONNREFUSED)
      return fail(Errc::unreachable, fmt::format("nobody listens on QMP socket {}", text),
                  "the guest may have ended; or this is the socket of a guest that is gone");
    if (code == EAGAIN)
      return fail(Errc::unreachable, fmt::format("QMP socket {} takes no further client", text),
                  other_client_fix);
    if (code == EPROTOTYPE)
      return fail(Errc::refused, fmt::format("{} is not a stream socket, so it is not QMP", text));
    return fail_errno(code, fmt::format("cannot connect to QMP socket {}", text));
  }
  return socket;
}

}  // namespace

std::string Version::text() const {
  return fmt::format("{}.{}.{}", major, minor, micro);
}

class Qmp::Impl final {
 public:
  Impl(Fd socket, std::filesystem::path path) : socket_{std::move(socket)}, path_{std::move(path)} {}

  ~Impl() {
    close();
    if (reader_.joinable()) reader_.join();
  }

  Status start(Clock::time_point deadline) {
    ucred peer{};
    socklen_t bytes = sizeof peer;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0) peer_pid_ = peer.pid;
    wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) return fail_errno(errno, "cannot create an eventfd");
    if (auto greeted = read_greeting(deadline); !greeted) return greeted;
    reader_ = std::thread{[this] { read_loop(); }};
    const auto left = std::chrono::milliseconds{std::max(1, remaining_ms(deadline))};
    if (auto ready = execute("qmp_capabilities", json::object(), left, -1); !ready)
      return std::unexpected(ready.error().in(fmt::format("negotiating with {}", path_.native())));
    return {};
  }

  Result<json> execute(std::string_view command, json arguments, Milliseconds timeout, int pass_fd) {
    const auto deadline = Clock::now() + timeout;
    auto id = send_line(command, std::move(arguments), pass_fd, deadline);
    if (!id) return std::unexpected(id.error());
    return await(*id, command, deadline);
  }

  Status arm(std::string_view command, json arguments) {
    const auto deadline = Clock::now() + post_timeout;
    const std::unique_lock turn{line_mutex_, deadline};
    if (!turn) return std::unexpected(timeout_error(command));
    disarm();
    const auto id = new_id(command);
    if (!id) return std::unexpected(id.error());
    std::string text = line_of(*id, command, std::move(arguments));
    text.resize(text.size() - last_bytes.size());
    if (auto sent = send_all(text, -1, deadline, command); !sent) {
      forget(*id);
      return sent;
    }
    const std::lock_guard lock{mutex_};
    armed_ = Numbered{*id, std::string{command}};
    return {};
  }

  Status fire() {
    const auto deadline = Clock::now() + post_timeout;
    const std::unique_lock turn{line_mutex_, deadline};
    if (!turn) return std::unexpected(timeout_error("what is armed"));
    {
      const std::lock_guard lock{mutex_};
      if (!armed_) return fail(Errc::invalid, "no QMP command is armed");
      fired_ = std::exchange(armed_, std::nullopt);
    }
    auto sent = send_all(last_bytes, -1, deadline, fired_->command);
    if (!sent) forget(std::exchange(fired_, std::nullopt)->id);
    return sent;
  }

  bool fired_is_answered() const {
    const std::lock_guard lock{mutex_};
    return !fired_ || closed_ || !waiting_.at(fired_->id).is_null();
  }

  Result<json> await_fired(Milliseconds timeout) {
    std::optional<Numbered> fired;
    {
      const std::lock_guard lock{mutex_};
      fired = std::exchange(fired_, std::nullopt);
    }
    if (!fired) return fail(Errc::invalid, "no QMP command was fired");
    return await(fired->id, fired->command, Clock::now() + timeout);
  }

  Status post(std::string_view command, json arguments) {
    const auto deadline = Clock::now() + post_timeout;
    const std::unique_lock turn{line_mutex_, deadline};
    if (!turn) return std::unexpected(timeout_error(command));
    disarm();
    json message{
        {"execute", command}, {"id", 0}, {"arguments", std::move(arguments)}};  // nobody waits for id 0
    return send_all(line_of(message), -1, deadline, command);
  }

  std::shared_ptr<void> subscribe(std::function<void(const Event&)> callback) {
    auto entry = std::make_shared<Subscriber>(Subscriber{std::move(callback)});
    const std::lock_guard lock{subscribers_mutex_};
    subscribers_.push_back(entry);
    return entry;
  }

  void on_closed(std::function<void()> callback) {
    {
      const std::lock_guard lock{mutex_};
      if (!closed_) {
        closed_callbacks_.push_back(std::move(callback));
        return;
      }
    }
    callback();
  }

  bool closed() const {
    const std::lock_guard lock{mutex_};
    return closed_;
  }

  void close() {
    const std::uint64_t one = 1;
    stop_.store(true);
    if (wake_) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
    mark_closed("closed by us");
    ::shutdown(socket_.get(), SHUT_RDWR);
  }

  Version version_{};
  pid_t peer_pid_{};
  const std::filesystem::path& path() const { return path_; }

 private:
  static constexpr Milliseconds post_timeout{100};

  static constexpr std::string_view last_bytes = "}\n";

  /// A command that is answered by its number.
  struct Numbered {
    std::uint64_t id{};
    std::string command{};
  };

  static std::string line_of(const json& message) {
    return message.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  static std::string line_of(std::uint64_t id, std::string_view command, json arguments) {
    json message{{"execute", command}, {"id", id}};
    if (!arguments.empty()) message["arguments"] = std::move(arguments);
    return line_of(message);
  }

  /// Its id.
  Result<std::uint64_t> send_line(std::string_view command, json arguments, int pass_fd,
                                  Clock::time_point deadline) {
    const std::unique_lock turn{line_mutex_, deadline};
    if (!turn) return std::unexpected(timeout_error(command));
    disarm();
    const auto id = new_id(command);
    if (!id) return std::unexpected(id.error());
    if (auto sent = send_all(line_of(*id, command, std::move(arguments)), pass_fd, deadline, command);
        !sent) {
      forget(*id);
      return std::unexpected(sent.error());
    }
    return *id;
  }

  Result<std::uint64_t> new_id(std::string_view command) {
    const std::lock_guard lock{mutex_};
    if (closed_) return std::unexpected(closed_error(command));
    waiting_.try_emplace(++last_id_);
    return last_id_;
  }
  void forget(std::uint64_t id) {
    const std::lock_guard lock{mutex_};
    waiting_.erase(id);
  }

  /// What is armed becomes a command that QEMU refuses, and nobody waits for its answer.
  void disarm() {
    std::optional<Numbered> armed;
    {
      const std::lock_guard lock{mutex_};
      armed = std::exchange(armed_, std::nullopt);
    }
    if (!armed) return;
    forget(armed->id);
    static_cast<void>(send_all(",\"taken-back\":true}\n", -1, Clock::now() + post_timeout, armed->command));
  }

  struct Subscriber {
    std::function<void(const Event&)> callback;
  };

  /// Takes one line off the buffer, if there is a whole one.
  std::optional<std::string> take_line() {
    const auto end = buffer_.find('\n', scanned_);
    if (end == std::string::npos) {
      scanned_ = buffer_.size();
      return std::nullopt;
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    scanned_ = 0;
    return line;
  }

  /// Reads what is there. False at end of file or error.
  bool fill() {
    std::array<char, 65536> chunk;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
    for (;;) {
      const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
      if (got > 0) {
        buffer_.append(chunk.data(), static_cast<std::size_t>(got));
        return true;
      }
      if (got < 0 && errno == EINTR) continue;
      return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
  }

  Status read_greeting(Clock::time_point deadline) {
    for (;;) {
      if (auto line = take_line()) {
        const auto value = parse_line(*line);
        // QEMU takes a new client for its last one until it greets it: what happens in between is told first.
        if (value && value->contains("event")) continue;
        if (!value || !value->contains("QMP"))
          return fail(Errc::corrupt,
                      fmt::format("{} does not speak QMP: it said '{:.60}'", path_.native(), *line),
                      "give the path of the guest's -qmp unix: socket");
        return read_version(*value);
      }
      if (buffer_.size() > 65536)
        return fail(Errc::corrupt,
                    fmt::format("{} does not speak QMP: 64 KiB without a line", path_.native()));
      pollfd ready{socket_.get(), POLLIN, 0};
      const int count = ::poll(&ready, 1, remaining_ms(deadline));
      if (count < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for QMP");
      if (count == 0 && Clock::now() >= deadline)
        return fail(
            Errc::unreachable,
            fmt::format("{} accepted the connection but sent no QMP greeting: another client may hold it, or "
                        "it is not QEMU",
                        path_.native()),
            other_client_fix);
      if (count > 0 && !fill())
        return fail(Errc::unreachable,
                    fmt::format("{} closed the connection without a greeting", path_.native()),
                    "is this a QMP socket?");
    }
  }

  Status read_version(const json& greeting) {
    try {
      const json& version = greeting.at("QMP").at("version");
      const json& triple = version.at("qemu");
      version_ = {triple.at("major").get<int>(), triple.at("minor").get<int>(), triple.at("micro").get<int>(),
                  version.value("package", "")};
    } catch (const json::exception& error) {
      return fail(Errc::corrupt,
                  fmt::format("{}: QMP greeting without a version ({})", path_.native(), error.what()));
    }
    return {};
  }

  void read_loop() {
    std::string reason = "QEMU closed the connection";
    while (!stop_.load()) {
      while (auto line = take_line()) {
        if (line->empty() || *line == "\r") continue;
        const auto value = parse_line(*line);
        if (!value) {
          mark_closed(fmt::format("what came is not QMP: '{:.60}'", *line));
          return;
        }
        dispatch(*value);
      }
      if (buffer_.size() > line_bytes_max) {
        mark_closed(fmt::format("a QMP line is longer than {} MiB", line_bytes_max >> 20));
        return;
      }
      std::array<pollfd, 2> fds{pollfd{socket_.get(), POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
        reason = fmt::format("poll failed: {}", std::strerror(errno));
        break;
      }
      if (fds[0].revents != 0 && !fill()) break;
    }
    mark_closed(reason);
  }

  void dispatch(const json& value) {
    if (const auto event = value.find("event"); event != value.end() && event->is_string()) {
      deliver(value);
      return;
    }
    const auto id = value.find("id");
    if (id == value.end() || !id->is_number_unsigned())
      return;  // an error to a line we did not number: nobody waits
    const std::lock_guard lock{mutex_};
    const auto slot = waiting_.find(id->get<std::uint64_t>());
    if (slot == waiting_.end()) return;  // its caller has given up
    slot->second = value;
    changed_.notify_all();
  }

  void deliver(const json& value) {
    Event event{value.at("event").get<std::string>(), json::object(), 0};
    if (const auto data = value.find("data"); data != value.end() && data->is_object()) event.data = *data;
    if (const auto stamp = value.find("timestamp"); stamp != value.end() && stamp->is_object()) {
      const auto part = [&](const char* name) {
        const auto field = stamp->find(name);
        return field != stamp->end() && field->is_number_integer() ? field->get<std::int64_t>() : 0;
      };
      // Garbage must not overflow: QEMU's own stamps are far below these bounds.
      const auto seconds = std::clamp<std::int64_t>(part("seconds"), 0, 1LL << 40);
      event.time_us = seconds * 1'000'000 + std::clamp<std::int64_t>(part("microseconds"), 0, 999'999);
    }
    std::vector<std::shared_ptr<Subscriber>> current;
    {
      const std::lock_guard lock{subscribers_mutex_};
      std::erase_if(subscribers_, [](const auto& entry) { return entry.expired(); });
      for (const auto& entry : subscribers_)
        if (auto alive = entry.lock()) current.push_back(std::move(alive));
    }
    for (const auto& subscriber : current) subscriber->callback(event);
  }

  /// Under line_mutex_.
  Status send_all(std::string_view text, int pass_fd, Clock::time_point deadline, std::string_view command) {
    std::size_t done = 0;
    while (done < text.size()) {
      iovec part{const_cast<char*>(text.data()) + done, text.size() - done};
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
      if (pass_fd >= 0 && done == 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* message = CMSG_FIRSTHDR(&header);
        message->cmsg_level = SOL_SOCKET;
        message->cmsg_type = SCM_RIGHTS;
        message->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(message), &pass_fd, sizeof pass_fd);
      }
      const ssize_t sent = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
      if (sent > 0) {
        done += static_cast<std::size_t>(sent);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        const std::lock_guard lock{mutex_};
        return std::unexpected(closed_error(command));
      }
      pollfd ready{socket_.get(), POLLOUT, 0};
      if (::poll(&ready, 1, remaining_ms(deadline)) == 0 && Clock::now() >= deadline) {
        // Half a command may be on its way: nothing sensible can follow it.
        if (done > 0) mark_closed("QEMU stopped reading in the midst of a command");
        return std::unexpected(timeout_error(command));
      }
    }
    return {};
  }

  Result<json> await(std::uint64_t id, std::string_view command, Clock::time_point deadline) {
    std::unique_lock lock{mutex_};
    changed_.wait_until(lock, deadline, [&] { return closed_ || !waiting_.at(id).is_null(); });
    json reply = std::move(waiting_.at(id));
    waiting_.erase(id);
    if (reply.is_null()) {
      if (closed_) return std::unexpected(closed_error(command));
      return std::unexpected(timeout_error(command));
    }
    if (const auto value = reply.find("return"); value != reply.end()) return std::move(*value);
    std::string kind;
    std::string words = "no reason given";
    if (const auto error = reply.find("error"); error != reply.end() && error->is_object()) {
      if (const auto text = error->find("class"); text != error->end() && text->is_string()) kind = *text;
      if (const auto text = error->find("desc"); text != error->end() && text->is_string()) words = *text;
    }
    const bool missing = kind == "CommandNotFound" || kind == "DeviceNotFound";
    return fail(missing ? Errc::not_found : Errc::refused,
                fmt::format("QEMU refused {}: {}", command, words));
  }

  void mark_closed(std::string reason) {
    std::vector<std::function<void()>> callbacks;
    {
      const std::lock_guard lock{mutex_};
      if (closed_) return;
      closed_ = true;
      closed_reason_ = std::move(reason);
      callbacks.swap(closed_callbacks_);
      changed_.notify_all();
    }
    for (const auto& callback : callbacks) callback();
  }

  /// Call with mutex_ held.
  Error closed_error(std::string_view command) const {
    return {Errc::closed,
            fmt::format("{}: QMP connection to {} has ended ({})", command, path_.native(),
                        closed_reason_.empty() ? "broken pipe" : closed_reason_),
            ""};
  }
  Error timeout_error(std::string_view command) const {
    return {Errc::timeout, fmt::format("QEMU did not answer {} in time on {}", command, path_.native()),
            "QEMU's main loop may be blocked, for instance by slow storage"};
  }

  Fd socket_;
  Fd wake_{};
  std::filesystem::path path_;
  std::thread reader_{};
  std::atomic<bool> stop_{false};
  std::string buffer_{};   // reader only
  std::size_t scanned_{};  // reader only

  std::timed_mutex line_mutex_{};  // whoever writes a command, or but for its last byte, or takes that back
  mutable std::mutex mutex_{};
  std::condition_variable changed_{};
  std::unordered_map<std::uint64_t, json> waiting_{};  // id → null until the reply is there
  std::uint64_t last_id_{};
  std::optional<Numbered> armed_{};  // all but the last byte is sent
  std::optional<Numbered> fired_{};  // and now that, too
  bool closed_{false};
  std::string closed_reason_{};
  std::vector<std::function<void()>> closed_callbacks_{};

  std::mutex subscribers_mutex_{};
  std::list<std::weak_ptr<Subscriber>> subscribers_{};
};

Qmp::Qmp(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Qmp::~Qmp() = default;

Result<std::shared_ptr<Qmp>> Qmp::connect(const std::filesystem::path& socket, Milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  auto connected = connect_unix(socket);
  if (!connected) return std::unexpected(connected.error());
  auto impl = std::make_unique<Impl>(std::move(*connected), socket);
  if (auto started = impl->start(deadline); !started) return std::unexpected(started.error());
  return std::shared_ptr<Qmp>{new Qmp{std::move(impl)}};
}

Result<json> Qmp::execute(std::string_view command, json arguments, Milliseconds timeout) {
  return impl_->execute(command, std::move(arguments), timeout, -1);
}

Status Qmp::post(std::string_view command, json arguments) {
  return impl_->post(command, std::move(arguments));
}

Status Qmp::arm(std::string_view command, json arguments) {
  return impl_->arm(command, std::move(arguments));
}
Status Qmp::fire() {
  return impl_->fire();
}
bool Qmp::fired_is_answered() const {
  return impl_->fired_is_answered();
}
Result<json> Qmp::await_fired(Milliseconds timeout) {
  return impl_->await_fired(timeout);
}

Result<std::string> Qmp::human(std::string_view line, Milliseconds timeout) {
  auto answer = execute("human-monitor-command", {{"command-line", line}}, timeout);
  if (!answer) return std::unexpected(answer.error());
  if (!answer->is_string())
    return fail(Errc::corrupt, fmt::format("QEMU answered '{}' with something that is not text", line));
  return answer->get<std::string>();
}

Status Qmp::send_fd(std::string_view name, int fd, Milliseconds timeout) {
  auto answer = impl_->execute("getfd", {{"fdname", name}}, timeout, fd);
  if (!answer) return std::unexpected(answer.error());
  return {};
}

std::shared_ptr<void> Qmp::subscribe(std::function<void(const Event&)> callback) {
  return impl_->subscribe(std::move(callback));
}
void Qmp::on_closed(std::function<void()> callback) {
  impl_->on_closed(std::move(callback));
}
bool Qmp::closed() const {
  return impl_->closed();
}
void Qmp::close() {
  impl_->close();
}
const Version& Qmp::version() const noexcept {
  return impl_->version_;
}
pid_t Qmp::peer_pid() const noexcept {
  return impl_->peer_pid_;
}
const std::filesystem::path& Qmp::path() const noexcept {
  return impl_->path();
}

}  // namespace remus::hypervisor::qemu
