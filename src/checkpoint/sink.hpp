// Where captured pages go.
//
// A hypervisor's capture fills a sink while the guest is paused, so nothing here allocates per page, blocks
// or does I/O. Pages are never copied twice: the capture asks for space, puts bytes there (recv from QEMU,
// memcpy from a mapped Xen guest) and then names the pages within.
//
//   paused()  once, as soon as the guest stands still: the output and disk marks are taken here
//   space()   raw memory, stable until the sink is recycled; advance(n) takes n bytes of it into use
//   page()    a page whose 4096 bytes lie in memory got from space()
#pragma once

#include <cstddef>
#include <span>

#include "checkpoint/layout.hpp"

namespace remus::checkpoint {

class CheckpointSink {
 public:
  CheckpointSink() = default;
  CheckpointSink(const CheckpointSink&) = delete;
  CheckpointSink& operator=(const CheckpointSink&) = delete;
  virtual ~CheckpointSink() = default;

  /// The guest's memory layout, told once before the first page of a synchronization.
  virtual void layout(const Layout& layout) = 0;
  /// The guest has just been stopped.
  virtual void paused() = 0;
  /// At least `at_least` writable bytes that stay where they are; what lies before them is untouched.
  /// During a synchronization (guest running) this may wait for the link; never while the guest is paused.
  /// Less than `at_least` when the sink has reached its bound: the capture then fails with Errc::exhausted.
  [[nodiscard]] virtual std::span<std::byte> space(std::size_t at_least) = 0;
  virtual void advance(std::size_t bytes) = 0;
  virtual void page(PageIndex index, const std::byte* data) = 0;
  virtual void zero_page(PageIndex index) = 0;
  /// The hypervisor's device and vCPU state, whole, opaque. Points into memory got from space().
  virtual void device_state(std::span<const std::byte> state) = 0;
};

}  // namespace remus::checkpoint
