#include "output/plug_netlink.hpp"

#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/matchall.h>
#include <netlink/route/qdisc.h>

namespace remus::output::netlink {
namespace {

using Filter = std::unique_ptr<rtnl_cls, decltype(&rtnl_cls_put)>;
using Qdisc = std::unique_ptr<rtnl_qdisc, decltype(&rtnl_qdisc_put)>;

constexpr std::uint16_t our_priority = 1;  ///< the first of all
constexpr std::uint32_t our_handle = 0x524d5553;
// Right for an ingress qdisc and for a clsact one.
constexpr std::uint32_t ingress_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);

Status done(int code, std::string_view what, std::string fix = "run as root") {
  if (code >= 0) return {};
  return fail(code == -NLE_EXIST ? Errc::exists : Errc::io,
              fmt::format("cannot {}: {}", what, nl_geterror(code)), std::move(fix));
}

Filter our_filter(int interface_index) {
  Filter filter{rtnl_cls_alloc(), &rtnl_cls_put};
  rtnl_tc_set_ifindex(TC_CAST(filter.get()), interface_index);
  rtnl_tc_set_parent(TC_CAST(filter.get()), ingress_parent);
  rtnl_tc_set_handle(TC_CAST(filter.get()), our_handle);
  rtnl_cls_set_prio(filter.get(), our_priority);
  rtnl_cls_set_protocol(filter.get(), ETH_P_ALL);
  rtnl_tc_set_kind(TC_CAST(filter.get()), "matchall");
  return filter;
}

Qdisc ingress_qdisc(int interface_index) {
  Qdisc qdisc{rtnl_qdisc_alloc(), &rtnl_qdisc_put};
  rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), interface_index);
  rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_INGRESS);
  rtnl_tc_set_handle(TC_CAST(qdisc.get()), TC_H_MAKE(TC_H_INGRESS, 0));
  rtnl_tc_set_kind(TC_CAST(qdisc.get()), "ingress");
  return qdisc;
}

}  // namespace

Status add_ifb(nl_sock* socket, const std::string& name) {
  const Link link{rtnl_link_alloc(), &rtnl_link_put};
  if (rtnl_link_set_type(link.get(), "ifb") < 0) return fail(Errc::internal, "libnl knows no ifb");
  rtnl_link_set_name(link.get(), name.c_str());
  rtnl_link_set_num_tx_queues(link.get(), 1);
  const int code = rtnl_link_add(socket, link.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (code == -NLE_OPNOTSUPP)
    return fail(Errc::unsupported, "this kernel has no ifb interfaces",
                "load the kernel module: modprobe ifb numifbs=0");
  return done(code, fmt::format("make the interface '{}'", name));
}

Status set_link(nl_sock* socket, rtnl_link* link, const std::string& alias, bool up) {
  const Link wanted{rtnl_link_alloc(), &rtnl_link_put};
  if (!alias.empty()) rtnl_link_set_ifalias(wanted.get(), alias.c_str());
  if (up)
    rtnl_link_set_flags(wanted.get(), IFF_UP);
  else
    rtnl_link_unset_flags(wanted.get(), IFF_UP);
  return done(rtnl_link_change(socket, link, wanted.get(), 0),
              fmt::format("switch '{}' {}", rtnl_link_get_name(link), up ? "on" : "off"));
}

Status delete_link(nl_sock* socket, rtnl_link* link) {
  const int code = rtnl_link_delete(socket, link);
  if (code == -NLE_NODEV || code == -NLE_OBJ_NOTFOUND) return {};
  return done(code, fmt::format("remove the interface '{}'", rtnl_link_get_name(link)));
}

Result<bool> add_ingress(nl_sock* socket, int interface_index, const std::string& interface) {
  const int code = rtnl_qdisc_add(socket, ingress_qdisc(interface_index).get(), NLM_F_CREATE | NLM_F_EXCL);
  if (code == -NLE_EXIST) return false;
  if (const auto added = done(code, fmt::format("take in hand what '{}' takes in", interface),
                              "load the kernel module: modprobe sch_ingress");
      !added)
    return std::unexpected(added.error());
  return true;
}

Status delete_ingress(nl_sock* socket, int interface_index) {
  return done(rtnl_qdisc_delete(socket, ingress_qdisc(interface_index).get()),
              "remove an ingress queueing discipline");
}

Result<Filters> ingress_filters(nl_sock* socket, int interface_index) {
  nl_cache* all = nullptr;
  if (const int code = rtnl_cls_alloc_cache(socket, interface_index, ingress_parent, &all); code < 0)
    return fail(Errc::io, fmt::format("cannot read an interface's filters: {}", nl_geterror(code)));
  const std::unique_ptr<nl_cache, decltype(&nl_cache_free)> cache{all, &nl_cache_free};
  auto found = Filters::none;
  for (nl_object* at = nl_cache_get_first(all); at != nullptr; at = nl_cache_get_next(at)) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): libnl's objects begin with an nl_object
    auto* filter = reinterpret_cast<rtnl_cls*>(at);
    if (rtnl_cls_get_prio(filter) <= our_priority) return Filters::first_is_taken;
    found = Filters::later_than_ours;
  }
  return found;
}

Status add_redirect(nl_sock* socket, int interface_index, int to_index) {
  const Filter filter = our_filter(interface_index);
  const std::unique_ptr<rtnl_act, decltype(&rtnl_act_put)> action{rtnl_act_alloc(), &rtnl_act_put};
  if (!filter || !action) return fail(Errc::exhausted, "no memory for a filter");
  rtnl_tc_set_kind(TC_CAST(action.get()), "mirred");
  rtnl_mirred_set_action(action.get(), TCA_EGRESS_REDIR);
  rtnl_mirred_set_policy(action.get(), TC_ACT_STOLEN);
  rtnl_mirred_set_ifindex(action.get(), static_cast<std::uint32_t>(to_index));
  if (rtnl_mall_append_action(filter.get(), action.get()) < 0)
    return fail(Errc::internal, "libnl takes no action for a filter");
  return done(rtnl_cls_add(socket, filter.get(), NLM_F_CREATE | NLM_F_EXCL),
              "lead a guest's packets to the output buffer",
              "load the kernel modules: modprobe -a cls_matchall act_mirred");
}

Status delete_redirect(nl_sock* socket, int interface_index) {
  const int code = rtnl_cls_delete(socket, our_filter(interface_index).get(), 0);
  if (code == -NLE_OBJ_NOTFOUND || code == -NLE_NODEV) return {};
  return done(code, "lead a guest's packets past the output buffer");
}

}  // namespace remus::output::netlink
