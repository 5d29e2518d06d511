#include "image_sink.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace remus::test {

ImageSink::~ImageSink() {
  if (image_ != nullptr) ::munmap(image_, std::size_t{layout_.pages()} * checkpoint::page_bytes);
}

void ImageSink::layout(const checkpoint::Layout& layout) {
  if (image_ != nullptr) ::munmap(image_, std::size_t{layout_.pages()} * checkpoint::page_bytes);
  layout_ = layout;
  void* memory = ::mmap(nullptr, std::size_t{layout.pages()} * checkpoint::page_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  image_ = static_cast<std::byte*>(memory);
}

void ImageSink::page(checkpoint::PageIndex index, const std::byte* data) {
  std::memcpy(image_ + std::size_t{index} * checkpoint::page_bytes, data, checkpoint::page_bytes);
}

void ImageSink::zero_page(checkpoint::PageIndex index) {
  std::memset(image_ + std::size_t{index} * checkpoint::page_bytes, 0, checkpoint::page_bytes);
}

void ImageSink::device_state(std::span<const std::byte> state) {
  state_.assign(state.begin(), state.end());
  if (on_complete) on_complete();
}

}  // namespace remus::test
