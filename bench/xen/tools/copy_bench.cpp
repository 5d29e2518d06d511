// The copy in a pause, by one thread and by several: pages that a guest has written, looked at for zeros and put side by side, as
// GuestCopier does it. In memory of its own; a guest's, mapped, is no other to a copy.
//
//   bench_xen_copy [--benchmark_filter=helpers:3]
//
// `pages`: how many; `helpers`: threads beside the caller. bytes_per_second is of the guest's memory.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "hypervisor/xen/copy_crew.hpp"
#include "hypervisor/xen/page_writer.hpp"

namespace {

using remus::checkpoint::page_bytes;
using remus::hypervisor::xen::CopyCrew;
using remus::hypervisor::xen::is_zero_page;

constexpr std::size_t guest_pages = 64UL << 10;  // 256 MiB

void copy_in_a_pause(benchmark::State& state) {
  const auto pages = static_cast<std::size_t>(state.range(0));
  CopyCrew crew{static_cast<unsigned>(state.range(1))};
  std::vector<std::byte> guest(guest_pages * page_bytes, std::byte{1});
  std::vector<std::byte> buffer(pages * page_bytes, std::byte{2});
  // Written here and there, as pages of a guest are.
  std::vector<const std::byte*> dirty(pages);
  std::minstd_rand random{1};
  for (auto& page : dirty) page = guest.data() + random() % guest_pages * page_bytes;
  std::vector<std::uint8_t> zero(pages);
  for (auto _ : state) {
    crew.share(pages, [&](std::size_t first, std::size_t end) {
      for (std::size_t i = first; i < end; ++i) {
        zero[i] = is_zero_page(dirty[i]) ? 1 : 0;
        if (zero[i] == 0) std::memcpy(buffer.data() + i * page_bytes, dirty[i], page_bytes);
      }
    });
    benchmark::DoNotOptimize(buffer.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(pages * page_bytes));
}

BENCHMARK(copy_in_a_pause)
    ->ArgNames({"pages", "helpers"})
    ->ArgsProduct({{100, 500, 1000, 5000, 20000}, {0, 1, 2, 3}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
