// A captured guest as a file that `xl restore` takes: if the guest runs on from it, the capture was whole.
#pragma once

#include <string>

#include "hypervisor/domain.hpp"
#include "image_sink.hpp"

namespace remus::test {

/// First gfn of a block, from its name "ram@<hex>".
std::uint64_t first_gfn(const checkpoint::Block& block);

Status write_save_file(const std::string& path, const hypervisor::GuestDescription& guest,
                       const ImageSink& image);

}  // namespace remus::test
