#include "output/plug_port.hpp"

#include <fmt/format.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <netlink/route/qdisc/plug.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>
#include <tuple>

#include "output/plug_netlink.hpp"

namespace remus::output {
namespace {

using Message = std::unique_ptr<nl_msg, decltype(&nlmsg_free)>;

constexpr std::uint32_t plug_handle = TC_H_MAKE(0x524d0000U, 0U);
constexpr auto leftover_drain_max = std::chrono::milliseconds{200};
constexpr auto leftover_step = std::chrono::milliseconds{2};

/// A message about the plug of an interface, whole but for its number.
Message qdisc_message(int type, int flags, int index, const tc_plug_qopt* option) {
  Message message{nlmsg_alloc_simple(type, NLM_F_REQUEST | flags), &nlmsg_free};
  if (!message) return message;
  tcmsg head{};
  head.tcm_family = AF_UNSPEC;
  head.tcm_ifindex = index;
  head.tcm_handle = plug_handle;
  head.tcm_parent = TC_H_ROOT;
  bool whole = nlmsg_append(message.get(), &head, sizeof head, NLMSG_ALIGNTO) >= 0;
  if (option != nullptr)
    whole = whole && nla_put_string(message.get(), TCA_KIND, "plug") >= 0 &&
            nla_put(message.get(), TCA_OPTIONS, sizeof *option, option) >= 0;
  if (!whole) message.reset();
  return message;
}

/// Sends a message, again if need be, and waits for the kernel's answer, which is there when sending returns.
int ask(nl_sock* socket, nl_msg* message) {
  nlmsg_hdr(message)->nlmsg_seq = NL_AUTO_SEQ;
  if (const int code = nl_send_auto(socket, message); code < 0) return code;
  return nl_wait_for_ack(socket);
}

template <typename T>
T value_of(nlattr* attribute) {
  T value{};
  std::memcpy(&value, nla_data(attribute),
              std::min(sizeof value, static_cast<std::size_t>(nla_len(attribute))));
  return value;
}

struct Answer {
  PlugCounts counts{};
  bool heard{false};
};

int read_counts(nl_msg* message, void* into) {
  auto& [counts, heard] = *static_cast<Answer*>(into);
  heard = true;
  nlattr* stats = nlmsg_find_attr(nlmsg_hdr(message), sizeof(tcmsg), TCA_STATS2);
  if (stats == nullptr) return NL_OK;
  if (nlattr* basic = nla_find(static_cast<nlattr*>(nla_data(stats)), nla_len(stats), TCA_STATS_BASIC)) {
    const auto passed = value_of<gnet_stats_basic>(basic);
    counts.passed_packets = passed.packets;
    counts.passed_bytes = passed.bytes;
  }
  if (nlattr* queue = nla_find(static_cast<nlattr*>(nla_data(stats)), nla_len(stats), TCA_STATS_QUEUE)) {
    const auto held = value_of<gnet_stats_queue>(queue);
    counts.held_packets = held.qlen;
    counts.held_bytes = held.backlog;
    counts.dropped_packets = held.drops;
  }
  return NL_OK;
}

Result<PlugCounts> counts_of(nl_sock* socket, int index) {
  Answer answer;
  // The kernel answers such a question only as an echo.
  const Message question = qdisc_message(RTM_GETQDISC, NLM_F_ECHO, index, nullptr);
  if (!question) return fail(Errc::exhausted, "no memory for a netlink message");
  nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, read_counts, &answer);
  int code = ask(socket, question.get());
  if (code >= 0 && answer.heard)
    code = nl_wait_for_ack(socket);  // that was the answer, this is the acknowledgement
  nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
  if (code < 0) return fail(Errc::io, fmt::format("cannot read what is held: {}", nl_geterror(code)));
  return answer.counts;
}

Message command_message(PlugCommand command, int index) {
  const tc_plug_qopt option{static_cast<int>(command), 0};
  return qdisc_message(RTM_NEWQDISC, 0, index, &option);
}

Status remove_leftover(nl_sock* socket, rtnl_link* link, const std::optional<PlugAlias>& alias) {
  const int index = rtnl_link_get_ifindex(link);
  if (const Message let_go = command_message(PlugCommand::release_all, index);
      let_go && ask(socket, let_go.get()) >= 0) {
    const auto until = std::chrono::steady_clock::now() + leftover_drain_max;
    for (auto now = counts_of(socket, index); now && now->held_packets != 0; now = counts_of(socket, index)) {
      if (std::chrono::steady_clock::now() > until) break;
      std::this_thread::sleep_for(leftover_step);
    }
  }
  if (alias) {
    if (const auto theirs = netlink::link_named(socket, alias->interface)) {
      const int interface_index = rtnl_link_get_ifindex(theirs->get());
      std::ignore = netlink::delete_redirect(socket, interface_index);
      const auto others = netlink::ingress_filters(socket, interface_index);
      if (alias->own_ingress && others && *others == netlink::Filters::none)
        std::ignore = netlink::delete_ingress(socket, interface_index);
    }
  }
  return netlink::delete_link(socket, link);
}

}  // namespace

PlugPort::PlugPort(Socket socket, PlugAlias alias)
    : socket_{std::move(socket)},
      commands_{Message{nullptr, &nlmsg_free}, Message{nullptr, &nlmsg_free}, Message{nullptr, &nlmsg_free}},
      alias_{std::move(alias)},
      name_{plug_name_for(alias_.interface)} {}

PlugPort::~PlugPort() = default;

Result<std::unique_ptr<PlugPort>> PlugPort::create(const std::string& guest, const std::string& interface,
                                                   std::size_t hold_bytes_max) {
  auto socket = netlink::route_socket();
  if (!socket) return std::unexpected(socket.error());
  std::unique_ptr<PlugPort> port{new PlugPort{std::move(*socket), PlugAlias{guest, interface, false}}};
  if (const Status built = port->build(hold_bytes_max); !built) {
    std::ignore = port->remove();
    return std::unexpected(built.error().in(fmt::format("output buffer of '{}'", interface)));
  }
  return port;
}

Status PlugPort::build(std::size_t hold_bytes_max) {
  nl_sock* const socket = socket_.get();
  const auto theirs = netlink::link_named(socket, alias_.interface);
  if (!theirs) return std::unexpected(theirs.error());
  interface_index_ = rtnl_link_get_ifindex(theirs->get());

  if (const auto left = netlink::link_named(socket, name_)) {
    const char* const kind = rtnl_link_get_type(left->get());
    const char* const said = rtnl_link_get_ifalias(left->get());
    if (kind == nullptr || std::string_view{kind} != "ifb")
      return fail(Errc::exists, fmt::format("an interface named '{}' is there and is not ours", name_),
                  "rename it");
    if (const Status gone =
            remove_leftover(socket, left->get(), parse_plug_alias(said == nullptr ? "" : said));
        !gone)
      return gone;
  }
  if (const Status added = netlink::add_ifb(socket, name_); !added) return added;
  const auto ours = netlink::link_named(socket, name_);
  if (!ours) return std::unexpected(ours.error());
  index_ = rtnl_link_get_ifindex(ours->get());

  // With an option, plug takes the limit from it, whatever its action is.
  const tc_plug_qopt limit{TCQ_PLUG_LIMIT, static_cast<std::uint32_t>(std::min<std::size_t>(
                                               hold_bytes_max, std::numeric_limits<std::uint32_t>::max()))};
  const Message plug = qdisc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index_, &limit);
  if (!plug) return fail(Errc::exhausted, "no memory for a netlink message");
  if (const int code = ask(socket, plug.get()); code < 0)
    return fail(Errc::unsupported,
                fmt::format("the kernel's plug cannot be put on '{}': {}", name_, nl_geterror(code)),
                "load the kernel module: modprobe sch_plug");
  for (std::size_t i = 0; i < commands_.size(); ++i) {
    commands_[i] = command_message(static_cast<PlugCommand>(i), index_);
    if (!commands_[i]) return fail(Errc::exhausted, "no memory for a netlink message");
  }
  const auto own = netlink::add_ingress(socket, interface_index_, alias_.interface);
  if (!own) return std::unexpected(own.error());
  alias_.own_ingress = *own;
  if (const Status on = netlink::set_link(socket, ours->get(), to_text(alias_), true); !on) return on;

  const auto others = netlink::ingress_filters(socket, interface_index_);
  if (!others) return std::unexpected(others.error());
  if (*others == netlink::Filters::first_is_taken)
    return fail(Errc::refused,
                fmt::format("'{}' has an ingress filter of priority 1, which would see packets before us",
                            alias_.interface),
                "give that filter a later priority");
  // What can be missing is found now, not in the pause. Nothing is held meanwhile.
  if (const Status let = tell(PlugCommand::release_all); !let) return let;
  if (const Status tried = divert(); !tried) return tried;
  return undivert();
}

Status PlugPort::tell(PlugCommand command) {
  const auto& message = commands_.at(static_cast<std::size_t>(command));
  if (const int code = message ? ask(socket_.get(), message.get()) : -NLE_NOMEM; code < 0)
    return fail(Errc::io, fmt::format("the output buffer '{}' cannot be told what to do: {}", name_,
                                      nl_geterror(code)));
  return {};
}

Status PlugPort::divert() {
  if (diverted_) return {};
  const Status done = netlink::add_redirect(socket_.get(), interface_index_, index_);
  diverted_ = done.has_value();
  return done;
}

Status PlugPort::undivert() {
  if (!diverted_) return {};
  const Status done = netlink::delete_redirect(socket_.get(), interface_index_);
  if (done) diverted_ = false;
  return done;
}

Result<bool> PlugPort::divert_again() {
  nl_sock* const socket = socket_.get();
  // With the domain its interface goes, and what was there.
  if (!netlink::link_named(socket, alias_.interface)) return false;
  const auto own = netlink::add_ingress(socket, interface_index_, alias_.interface);
  if (!own) return std::unexpected(own.error());
  bool again = false;
  if (diverted_) {
    const Status added = netlink::add_redirect(socket, interface_index_, index_);
    if (!added && added.error().kind != Errc::exists) return std::unexpected(added.error());
    again = added.has_value();
  }
  if (*own && !alias_.own_ingress) {
    alias_.own_ingress = true;  // the one that was somebody else's has gone
    const auto ours = netlink::link_named(socket, name_);
    if (!ours) return std::unexpected(ours.error());
    if (const Status told = netlink::set_link(socket, ours->get(), to_text(alias_), !choked_); !told)
      return std::unexpected(told.error());
  }
  return again;
}

Result<PlugCounts> PlugPort::counts() {
  return counts_of(socket_.get(), index_);
}

Status PlugPort::choke() {
  const auto ours = netlink::link_named(socket_.get(), name_);
  if (!ours) return std::unexpected(ours.error());
  choked_ = true;
  return netlink::set_link(socket_.get(), ours->get(), {}, false);
}

Status PlugPort::remove() {
  Status result{};
  const auto note = [&](Status status) {
    if (!status && result) result = std::move(status);
  };
  // With the domain its interface goes, and what we put there.
  const bool there =
      interface_index_ != 0 && netlink::link_named(socket_.get(), alias_.interface).has_value();
  if (there) {
    note(undivert());
    const auto others = netlink::ingress_filters(socket_.get(), interface_index_);
    if (alias_.own_ingress && others && *others == netlink::Filters::none)
      note(netlink::delete_ingress(socket_.get(), interface_index_));
  }
  diverted_ = false;
  alias_.own_ingress = false;
  if (index_ != 0)
    if (const auto ours = netlink::link_named(socket_.get(), name_))
      note(netlink::delete_link(socket_.get(), ours->get()));
  index_ = 0;
  return result;
}

Status remove_plugs_of(const std::string& guest) {
  const auto socket = netlink::route_socket();
  if (!socket) return std::unexpected(socket.error());
  nl_cache* links = nullptr;
  if (const int code = rtnl_link_alloc_cache(socket->get(), AF_UNSPEC, &links); code < 0)
    return fail(Errc::io, fmt::format("cannot list network interfaces: {}", nl_geterror(code)));
  const std::unique_ptr<nl_cache, decltype(&nl_cache_free)> cache{links, &nl_cache_free};
  Status result{};
  for (nl_object* at = nl_cache_get_first(links); at != nullptr; at = nl_cache_get_next(at)) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): libnl's objects begin with an nl_object
    auto* link = reinterpret_cast<rtnl_link*>(at);
    const char* const said = rtnl_link_get_ifalias(link);
    const auto alias = parse_plug_alias(said == nullptr ? "" : said);
    if (!alias || alias->guest != guest) continue;
    if (Status gone = remove_leftover(socket->get(), link, alias); !gone && result) result = std::move(gone);
  }
  return result;
}

}  // namespace remus::output
