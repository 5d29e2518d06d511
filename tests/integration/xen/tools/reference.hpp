// The same guest at the same moment as Xen's own xc_domain_save writes it, compared with what was captured.
#pragma once

#include "hypervisor/xen/handles.hpp"
#include "image_sink.hpp"

namespace remus::test {

/// Prints every difference (the first few), and returns how many there are. The domain must stand still.
Result<std::uint64_t> compare_with_stock(std::uint32_t domid, const ImageSink& image);

}  // namespace remus::test
