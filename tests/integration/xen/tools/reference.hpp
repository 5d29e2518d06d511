// The same guest at the same moment as Xen's own xc_domain_save writes it, compared with what was captured.
#pragma once

#include "hypervisor/xen/handles.hpp"
#include "image_sink.hpp"

namespace remus::test {

/// Prints every difference (the first few), and returns how many there are. The domain must stand still. `verified`: the image
/// was just found equal to the guest's memory; of an HVM or PVH guest, words of events that Xen has written since are then no
/// difference.
Result<std::uint64_t> compare_with_stock(std::uint32_t domid, const ImageSink& image, bool verified);

}  // namespace remus::test
