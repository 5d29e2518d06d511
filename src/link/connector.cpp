#include "link/connector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <optional>
#include <random>
#include <utility>

#include "base/assert.hpp"
#include "link/connection_impl.hpp"
#include "link/dial.hpp"

namespace remus::link {

namespace asio = boost::asio;
using boost::system::error_code;

std::string Address::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

Result<Address> parse_address(const std::string& text, std::uint16_t default_port) {
  std::string host = text;
  std::optional<std::string> port;
  if (text.starts_with('[')) {
    const auto bracket = text.find(']');
    if (bracket == std::string::npos)
      return fail(Errc::invalid, fmt::format("'{}' is not an address: ']' is missing", text));
    host = text.substr(1, bracket - 1);
    const std::string rest = text.substr(bracket + 1);
    if (!rest.empty() && rest.front() != ':')
      return fail(Errc::invalid, fmt::format("'{}' is not an address", text), "write [IPV6]:PORT");
    if (!rest.empty()) port = rest.substr(1);
  } else if (std::ranges::count(text, ':') == 1) {  // more than one: a bare IPv6 address
    host = text.substr(0, text.find(':'));
    port = text.substr(text.find(':') + 1);
  }
  if (host.empty() || host.size() > name_bytes_max)
    return fail(Errc::invalid, fmt::format("'{}' is not an address", text), "write HOST or HOST:PORT");
  Address address{std::move(host), default_port};
  if (port) {
    const char* end = port->data() + port->size();
    const auto [stop, error] = std::from_chars(port->data(), end, address.port);
    if (error != std::errc{} || stop != end || address.port == 0)
      return fail(Errc::invalid, fmt::format("'{}' is not a port", *port),
                  "a port is a number from 1 to 65535");
  }
  return address;
}

namespace {

/// Which of several addresses' errors tells most: an answer, even a no, tells more than none.
int telling(Errc kind) {
  switch (kind) {
    case Errc::unreachable: return 0;
    case Errc::timeout: return 1;
    case Errc::closed: return 2;
    case Errc::corrupt: return 3;
    default: return 4;
  }
}

}  // namespace

struct Connector::Impl final : std::enable_shared_from_this<Connector::Impl> {
  Impl(asio::io_context& context, std::shared_ptr<Pki> own_pki, ConnectorOptions own_options,
       Handlers own_handlers)
      : io{context},
        pki{std::move(own_pki)},
        options{std::move(own_options)},
        handlers{std::make_shared<const Handlers>(std::move(own_handlers))},
        timer{io},
        random{std::random_device{}()} {
    REMUS_ASSERT("pre", !options.addresses.empty(), "a connector has an address to connect to");
  }

  asio::io_context& io;
  std::shared_ptr<Pki> pki;
  ConnectorOptions options;
  std::shared_ptr<const Handlers> handlers;  ///< shared: a handler may destroy the connector
  asio::steady_timer timer;                  ///< Welcome's time limit, or the wait for the next round
  std::mt19937 random;
  std::uint64_t wait_number{0};

  bool running{false};
  std::size_t next_address{0};
  std::chrono::milliseconds backoff{0};
  std::optional<std::chrono::steady_clock::time_point> connected_at{};
  std::uint32_t connected_in_a_row{
      0};  ///< connections that lasted less than backoff_max, the first not counted
  std::optional<Error> round_error{};
  std::shared_ptr<Dial> dial{};
  std::shared_ptr<Connection::Impl> connection{};

  void start() {
    stop();
    running = true;
    // A peer that takes us in only to turn us away is not asked in a loop.
    const bool brief = connected_at && std::chrono::steady_clock::now() - *connected_at < options.backoff_max;
    if (brief && connected_in_a_row++ > 0) {
      wait();
      return;
    }
    if (!brief) connected_in_a_row = 0;
    backoff = options.backoff_min;
    begin_round();
  }

  void stop() {
    running = false;
    disarm();
    if (dial) std::exchange(dial, nullptr)->cancel();
    if (connection) std::exchange(connection, nullptr)->abandon();
  }

  /// The number tells a wait that was ended just too late to be cancelled from the one that is meant.
  template <typename Then>
  void arm(std::chrono::milliseconds timeout, const Then& then) {
    timer.expires_after(timeout);
    timer.async_wait([self = shared_from_this(), then, number = ++wait_number](error_code cancelled) {
      if (!cancelled && self->wait_number == number) then(*self);
    });
  }
  void disarm() {
    ++wait_number;
    timer.cancel();
  }

  void begin_round() {
    next_address = 0;
    round_error.reset();
    try_next();
  }

  void try_next() {
    if (next_address == options.addresses.size()) {
      end_round();
      return;
    }
    DialOptions how{options.addresses[next_address++], options.expected_host, options.connect_timeout,
                    options.handshake_timeout, options.connection.tcp_user_timeout};
    dial = Dial::start(io, pki, std::move(how), [self = shared_from_this()](Result<Dialed> dialed) {
      self->dial = nullptr;
      if (dialed)
        self->say_hello(std::move(*dialed));
      else
        self->address_failed(std::move(dialed.error()));
    });
  }

  void address_failed(Error error) {
    disarm();
    if (connection) std::exchange(connection, nullptr)->abandon();
    if (!round_error) {
      round_error = std::move(error);
    } else {
      const bool more = telling(error.kind) > telling(round_error->kind);
      Error& told = more ? error : *round_error;
      round_error = Error{told.kind, fmt::format("{}; {}", round_error->what, error.what), told.fix};
    }
    try_next();
  }

  /// Begins the next round a while later; returns how long.
  std::chrono::milliseconds wait() {
    // ±25 %: guests that lost the same host do not come back in step.
    std::uniform_int_distribution<std::int64_t> spread{backoff.count() * 3 / 4, backoff.count() * 5 / 4};
    const std::chrono::milliseconds pause{spread(random)};
    backoff = std::min(backoff * 2, options.backoff_max);
    arm(pause, [](Impl& self) { self.begin_round(); });
    return pause;
  }

  void end_round() {
    const auto pause = wait();
    const auto kept = handlers;
    if (kept->on_failed)
      kept->on_failed(round_error.value_or(Error{Errc::invalid, "there is no address to connect to", ""}),
                      pause);
  }

  void say_hello(Dialed dialed) {
    connection = std::make_shared<Connection::Impl>(std::move(dialed.stream), std::move(dialed.peer),
                                                    std::move(dialed.remote), options.connection);
    Hello hello = handlers->hello ? handlers->hello() : Hello{};
    if (!running) return;
    hello.host = pki->host();
    hello.receive_window_bytes = connection->options().receive_window_bytes;
    const auto self = shared_from_this();
    connection->start({[self](Message message, std::size_t) { self->on_answer(std::move(message)); },
                       {},
                       [self](Error error) { self->address_failed(std::move(error)); }});
    arm(options.handshake_timeout, [](Impl& me) {
      me.address_failed({Errc::timeout,
                         fmt::format("{} did not answer Hello within {} ms", me.connection->remote(),
                                     me.options.handshake_timeout.count()),
                         ""});
    });
    static_cast<void>(connection->send(hello));  // a failure comes as on_closed
  }

  void on_answer(Message message) {
    auto* welcome = std::get_if<Welcome>(&message);
    if (welcome == nullptr || welcome->version < protocol_version_min ||
        welcome->version > protocol_version_max) {
      const std::string what = welcome == nullptr
                                   ? fmt::format("{} did not answer Hello with Welcome", connection->remote())
                                   : fmt::format("{} chose protocol version {}, which is not spoken here",
                                                 connection->remote(), welcome->version);
      address_failed({Errc::incompatible, what, "run the same Remus release on both hosts"});
      return;
    }
    disarm();
    running = false;
    connected_at = std::chrono::steady_clock::now();
    connection->pause_delivery();
    connection->set_peer_window(welcome->receive_window_bytes);
    auto established = std::make_unique<Connection>(std::exchange(connection, nullptr));
    const auto kept = handlers;
    if (kept->on_connected) kept->on_connected(std::move(established), std::move(*welcome));
  }
};

Connector::Connector(asio::io_context& io, std::shared_ptr<Pki> pki, ConnectorOptions options,
                     Handlers handlers)
    : impl_{std::make_shared<Impl>(io, std::move(pki), std::move(options), std::move(handlers))} {}
Connector::~Connector() {
  impl_->stop();
}
void Connector::start() {
  impl_->start();
}
void Connector::stop() {
  impl_->stop();
}
bool Connector::running() const noexcept {
  return impl_->running;
}

}  // namespace remus::link
