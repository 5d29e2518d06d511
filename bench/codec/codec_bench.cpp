// What encoding and decoding an epoch costs and saves, for four kinds of pages and a mix of them, next to
// what lz4 and zstd alone make of each page. All in one process, so on the same machine under the same load:
//
//   remus    the product's settings: left out / zero / delta / raw, packed as measurement says
//   lz4      every dirty page by itself, LZ4_compress_default
//   zstd     every dirty page by itself, level 1
//
// GB/s are of raw dirty bytes; ratio is bytes sent / raw dirty bytes.  bench_codec --benchmark_repetitions=5
#include <benchmark/benchmark.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/batch_decoder.hpp"
#include "checkpoint/batch_encoder.hpp"
#include "checkpoint/delta.hpp"
#include "mixes.hpp"

namespace {

using namespace remus;
using namespace remus::checkpoint;
using bench::Mix;
using bench::Pages;

constexpr PageIndex epoch_pages = 4000;  // 16 MiB: beyond the caches of a core, as an epoch is
constexpr std::uint64_t raw_bytes = std::uint64_t{epoch_pages} * page_bytes;

const Pages& pages_of(Mix mix) {
  static std::map<Mix, Pages> made;
  auto& pages = made[mix];
  if (pages.before.empty()) pages = bench::make_pages(mix, epoch_pages, 1);
  return pages;
}

Layout layout_of_one_epoch() {
  Layout layout;
  layout.add("ram", raw_bytes);
  return layout;
}

std::unique_ptr<EpochBuffer> capture(const Layout& layout, const std::vector<std::byte>& pages) {
  auto buffer = EpochBuffer::create(layout).value();
  static constexpr std::array<std::byte, page_bytes> zeros{};
  for (PageIndex i = 0; i < epoch_pages; ++i) {
    const std::byte* page = pages.data() + std::size_t{i} * page_bytes;
    if (std::memcmp(page, zeros.data(), page_bytes) == 0) {
      buffer->zero_page(i);  // a hypervisor tells zero pages apart
      continue;
    }
    auto space = buffer->space(page_bytes);
    std::memcpy(space.data(), page, page_bytes);
    buffer->advance(page_bytes);
    buffer->page(i, space.data());
  }
  return buffer;
}

/// Primary and backup that both hold the `before` pages; encode() goes back and forth between before and
/// after.
struct Fixture {
  explicit Fixture(Mix mix, EncoderSettings settings = {})
      : before{capture(layout, pages_of(mix).before)},
        after{capture(layout, pages_of(mix).after)},
        encoder{layout, table, cache, settings} {
    table.assume_zero();
    image.assume_zero();
    go_back();
  }
  /// Both sides at the `before` pages again.
  void go_back() {
    if (!applied) apply();
    encode(*before);
    apply();
  }
  void encode(const EpochBuffer& epoch) {
    out->recycle();
    encoder.encode(epoch, *out);
    applied = false;
  }
  void apply() {
    for (std::size_t i = 0; i < out->batches(); ++i) {
      if (!decoder.apply(out->batch(i), image)) std::abort();
    }
    applied = true;
    if (image.hash() != table.image_hash()) std::abort();
  }

  Layout layout = layout_of_one_epoch();
  std::vector<std::byte> memory = std::vector<std::byte>(raw_bytes);
  PageHashTable table = PageHashTable::create(epoch_pages, 7).value();
  PageCache cache = PageCache::create(epoch_pages).value();
  Image image = Image::create(layout, {memory}, 7).value();
  std::unique_ptr<EpochBuffer> before;
  std::unique_ptr<EpochBuffer> after;
  BatchEncoder encoder;
  BatchDecoder decoder{layout};
  std::unique_ptr<EncodedEpoch> out = EncodedEpoch::create(layout, 64UL << 20).value();
  bool applied = true;
};

void report(benchmark::State& state, double sent_bytes) {
  const auto raw = static_cast<double>(raw_bytes) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(raw / 1e9, benchmark::Counter::kIsRate);
  state.counters["ratio"] = sent_bytes / raw;
}

void remus_encode(benchmark::State& state, Mix mix, EncoderSettings settings) {
  Fixture fixture{mix, settings};
  double sent = 0;
  for (auto _ : state) {
    state.PauseTiming();
    fixture.go_back();
    state.ResumeTiming();
    fixture.encode(*fixture.after);
    sent += static_cast<double>(fixture.out->batch_bytes());
  }
  report(state, sent);
}

void remus_apply(benchmark::State& state, Mix mix, EncoderSettings settings) {
  Fixture fixture{mix, settings};
  double sent = 0;
  for (auto _ : state) {
    state.PauseTiming();
    fixture.go_back();
    fixture.encode(*fixture.after);
    state.ResumeTiming();
    fixture.apply();
    sent += static_cast<double>(fixture.out->batch_bytes());
  }
  report(state, sent);
}

void remus_validate(benchmark::State& state, Mix mix, EncoderSettings settings) {
  Fixture fixture{mix, settings};
  fixture.encode(*fixture.after);
  double sent = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < fixture.out->batches(); ++i) {
      if (!fixture.decoder.validate(fixture.out->batch(i))) std::abort();
    }
    sent += static_cast<double>(fixture.out->batch_bytes());
  }
  report(state, sent);
}

template <typename Compress>
void peer_encode(benchmark::State& state, Mix mix, Compress&& compress) {
  const Pages& pages = pages_of(mix);
  double sent = 0;
  for (auto _ : state) {
    for (std::size_t at = 0; at < raw_bytes; at += page_bytes) {
      sent += static_cast<double>(std::min<std::size_t>(compress(pages.after.data() + at), page_bytes));
    }
  }
  report(state, sent);
}

void lz4_encode(benchmark::State& state, Mix mix) {
  std::vector<char> out(LZ4_COMPRESSBOUND(page_bytes));
  peer_encode(state, mix, [&](const std::byte* page) {
    return static_cast<std::size_t>(LZ4_compress_default(reinterpret_cast<const char*>(page), out.data(),
                                                         static_cast<int>(page_bytes),
                                                         static_cast<int>(out.size())));
  });
}

void zstd_encode(benchmark::State& state, Mix mix) {
  std::vector<std::byte> out(ZSTD_COMPRESSBOUND(page_bytes));
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context{ZSTD_createCCtx(), &ZSTD_freeCCtx};
  peer_encode(state, mix, [&](const std::byte* page) {
    return ZSTD_compressCCtx(context.get(), out.data(), out.size(), page, page_bytes, 1);
  });
}

/// The hot paths by themselves, over all pages of a mix.
void hash_pages(benchmark::State& state, Mix mix) {
  const Pages& pages = pages_of(mix);
  const PageHasher hasher{7};
  for (auto _ : state) {
    for (std::size_t at = 0; at < raw_bytes; at += page_bytes) {
      benchmark::DoNotOptimize(hasher(pages.after.data() + at));
    }
  }
  report(state, 0);
}

void delta_pages(benchmark::State& state, Mix mix) {
  const Pages& pages = pages_of(mix);
  std::vector<std::byte> out(page_bytes + delta_overrun_bytes);
  double sent = 0;
  for (auto _ : state) {
    for (std::size_t at = 0; at < raw_bytes; at += page_bytes) {
      const std::size_t bytes =
          encode_delta(pages.before.data() + at, pages.after.data() + at, out, page_bytes);
      sent += static_cast<double>(bytes != 0 ? bytes : page_bytes);
    }
  }
  report(state, sent);
}

void add(const std::string& what, Mix mix, auto&& function) {
  benchmark::RegisterBenchmark((what + "/" + std::string{bench::name(mix)}).c_str(), function)
      ->Unit(benchmark::kMillisecond)
      ->Iterations(20);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Mix mix : {Mix::text, Mix::sparse, Mix::random, Mix::zero, Mix::mixed}) {
    const EncoderSettings as_shipped{};
    const EncoderSettings lz4{.compression = Compression::lz4};
    const EncoderSettings zstd{.compression = Compression::zstd};
    add("encode/remus", mix, [=](benchmark::State& s) { remus_encode(s, mix, as_shipped); });
    add("encode/remus-lz4", mix, [=](benchmark::State& s) { remus_encode(s, mix, lz4); });
    add("encode/remus-zstd", mix, [=](benchmark::State& s) { remus_encode(s, mix, zstd); });
    add("encode/lz4", mix, [=](benchmark::State& s) { lz4_encode(s, mix); });
    add("encode/zstd", mix, [=](benchmark::State& s) { zstd_encode(s, mix); });
    add("validate/remus", mix, [=](benchmark::State& s) { remus_validate(s, mix, as_shipped); });
    add("apply/remus", mix, [=](benchmark::State& s) { remus_apply(s, mix, as_shipped); });
  }
  add("part/hash", Mix::sparse, [](benchmark::State& s) { hash_pages(s, Mix::sparse); });
  add("part/delta", Mix::sparse, [](benchmark::State& s) { delta_pages(s, Mix::sparse); });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
