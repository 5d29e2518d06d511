// Holds the output of a Xen guest in the kernel, without any change to its network.
//
// What the guest sends enters the dom0 by its backend interfaces (vif3.0, vif3.0-emu). Only their ingress is touched:
// a filter leads it to an interface of ours, whose queueing discipline, plug, holds it. What plug lets go continues
// where it was taken away, so that any bridge or Open vSwitch goes on as before.
//
//   guest ─▶ vif3.0 ─ingress─▶ filter ┄▶ rms3.0: [ held by plug ] ┄▶ vif3.0, behind the filter ─▶ bridge
//               └▶ tap: tells that something waits (plug_tap.hpp)
//
// Until hold(), and again some milliseconds after pass(), packets do not come to us at all. Held bytes are bounded
// per interface: at the limit plug drops the newest packets and counts them, as a full NIC queue would.
//
// Whoever takes the filter away while output is held (Open vSwitch does when it starts) is noticed: it is put back at
// once, the log says so, and a checkpoint is asked for (plug_watch.hpp).
//
// The kernel cannot let packets pass by itself when we die: the keeper and the daemon do, by clear_plugs().
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "output/output_buffer.hpp"

namespace remus::output {

struct PlugOptions {
  std::string guest{};                    ///< stands in our interfaces' aliases: how clear_plugs() finds them
  std::vector<std::string> interfaces{};  ///< all the guest's backend interfaces; may be empty
  std::size_t hold_bytes_max{64UL << 20};  ///< of each interface
};

std::unique_ptr<OutputBuffer> make_plug(PlugOptions options);

/// Lets go and removes what a dead guard of this guest left: its packets pass. Nothing there is no error.
Status clear_plugs(const std::string& guest);

}  // namespace remus::output
