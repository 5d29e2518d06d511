// A guest's disk, opened as its hypervisor lets it be read.
#pragma once

#include <memory>

#include "disk/image_reader.hpp"
#include "disk/nbd_reader.hpp"
#include "hypervisor/guest_disks.hpp"

namespace remus::guard {

/// `bytes`: of the disk. Errors: those of the readers' own.
inline Result<std::unique_ptr<disk::DiskReader>> open_reader(const hypervisor::GuestDisks::Reading& reading,
                                                             std::uint64_t bytes) {
  if (!reading.image.empty()) return disk::ImageReader::open(reading.image, bytes);
  return disk::NbdReader::connect(reading.socket, reading.name);
}

}  // namespace remus::guard
