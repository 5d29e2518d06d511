// Where a stream's bytes come from: a socket in the product, memory in tests.
#pragma once

#include <cstddef>
#include <span>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

class ByteSource {
 public:
  ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  virtual ~ByteSource() = default;

  /// Waits for bytes and puts at least one into `into` (which is not empty). Errors: closed, timeout, io.
  virtual Result<std::size_t> read(std::span<std::byte> into) = 0;
};

}  // namespace remus::hypervisor::qemu
