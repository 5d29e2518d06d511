#include "guard/pipeline.hpp"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "base/fault.hpp"
#include "checkpoint/hash_range.hpp"
#include "checkpoint/layout_check.hpp"

namespace remus::guard {

using checkpoint::EpochBuffer;
using checkpoint::Layout;
using engine::Epoch;
using engine::Session;

namespace {

constexpr std::size_t buffers_max = 3;  ///< one being captured, one being encoded, one to spare
constexpr std::chrono::seconds backup_timeout{60};

using Clock = std::chrono::steady_clock;

std::uint64_t us(Clock::duration time) noexcept {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

}  // namespace

checkpoint::EncoderSettings encoder_settings(const GuestOptions& options) {
  checkpoint::EncoderSettings settings;
  switch (options.compression) {
    case Compression::automatic: settings.compression = checkpoint::Compression::automatic; break;
    case Compression::none: settings.compression = checkpoint::Compression::none; break;
    case Compression::lz4: settings.compression = checkpoint::Compression::lz4; break;
    case Compression::zstd: settings.compression = checkpoint::Compression::zstd; break;
  }
  if (options.bandwidth_bytes_per_s != 0) settings.link_bytes_per_s = options.bandwidth_bytes_per_s;
  return settings;
}

/// What the backup is known to hold, and the tools that depend on it. Encode thread only.
struct Pipeline::State {
  Layout layout{};
  checkpoint::PageHashTable table;
  checkpoint::PageCache cache;
  checkpoint::BatchEncoder encoder;
  checkpoint::DeviceEncoder device{};
  std::shared_ptr<EncodedPool> pool;
  mutable std::mutex stats_mutex{};
  checkpoint::EncoderStats stats{};

  State(const Layout& of, checkpoint::PageHashTable hashes, checkpoint::PageCache pages,
        const GuestOptions& options)
      : layout{of},
        table{std::move(hashes)},
        cache{std::move(pages)},
        encoder{of, table, cache, encoder_settings(options)},
        pool{std::make_shared<EncodedPool>(of)} {}
};

Pipeline::Pipeline(boost::asio::io_context& io, hypervisor::Domain& domain, output::OutputBuffer& output,
                   std::unique_ptr<PrimaryDisks> disks, const GuestOptions& options, Events events)
    : io_{io},
      domain_{domain},
      output_{output},
      disks_{std::move(disks)},
      options_{options},
      events_{std::move(events)},
      link_rate_{encoder_settings(options).link_bytes_per_s},
      encode_{std::make_unique<Worker>("remus-encode")},
      capture_{std::make_unique<Worker>("remus-capture")} {
  if (disks_) disk_watch_ = std::jthread{[this](const std::stop_token& stop) { watch_disks(stop); }};
}

Pipeline::~Pipeline() {
  disk_watch_ = {};
  session_ = 0;
  if (disks_) disks_->stop();
  {
    const std::lock_guard lock{mutex_};
    if (sync_sink_) sync_sink_->give_up();
  }
  changed_.notify_all();
  domain_.interrupt();
  capture_->clear();
  capture_->post([this] {
    static_cast<void>(domain_.detach());
    if (disks_) disks_->leave();
  });
  capture_.reset();
  encode_.reset();
}

void Pipeline::post(std::function<void()> event) {
  boost::asio::post(io_, std::move(event));
}

// --- main loop ---

void Pipeline::synchronize(Session session) {
  session_ = session;
  capture_->post([this, session] { run_synchronize(session); });
}

void Pipeline::offer(Session session, checkpoint::PageIndex first, link::Payload hashes) {
  encode_->post([this, session, first, hashes = std::move(hashes)] {
    if (!current(session) || !state_) return;
    std::vector<std::byte> range;
    range.reserve(checkpoint::hash_range_header_bytes + hashes.size());
    const auto put32 = [&](std::uint32_t value) {
      for (unsigned i = 0; i < 4; ++i) range.push_back(static_cast<std::byte>(value >> (8 * i)));
    };
    put32(first);
    put32(static_cast<std::uint32_t>(hashes.size() / sizeof(checkpoint::Hash128)));
    range.insert(range.end(), hashes.bytes().begin(), hashes.bytes().end());
    // An offer we cannot read costs only that its pages are sent again.
    static_cast<void>(checkpoint::load_hash_range(range, state_->table));
  });
}

void Pipeline::backup_ready(Session session) {
  // Through the encode thread, so that all offers are in the table before the first page is encoded.
  encode_->post([this, session] {
    {
      const std::lock_guard lock{mutex_};
      backup_ready_for_ = session;
    }
    changed_.notify_all();
  });
}

void Pipeline::capture(Session session, Epoch epoch) {
  capture_->post([this, session, epoch] { run_capture(session, epoch); });
}

void Pipeline::abandon(bool for_good) {
  session_ = 0;
  draining_ = 0;
  if (disks_) disks_->stop();
  {
    const std::lock_guard lock{mutex_};
    if (sync_sink_) sync_sink_->give_up();
  }
  changed_.notify_all();
  domain_.interrupt();
  encode_->post([this] { verifier_.reset(); });
  capture_->post([this, for_good] {
    const Status left = domain_.detach();
    if (for_good && disks_) disks_->leave();
    post([this, left] {
      if (!left && domain_.alive()) events_.capture_failed(0, left.error());
      events_.detached();
    });
  });
}

void Pipeline::set_link_rate(std::uint64_t bytes_per_s) {
  encode_->post([this, bytes_per_s] {
    options_.bandwidth_bytes_per_s = bytes_per_s;  // also for the encoder of another layout, later
    link_rate_ = encoder_settings(options_).link_bytes_per_s;
    if (state_) state_->encoder.link_rate(link_rate_);
    if (disks_) disks_->link_rate(link_rate_);
  });
}

void Pipeline::set_copy_rate(std::uint64_t bytes_per_s) noexcept {
  if (disks_) disks_->copy_rate(bytes_per_s);
}

checkpoint::EncoderStats Pipeline::encoder_stats() const {
  if (!state_) return {};
  const std::lock_guard lock{state_->stats_mutex};
  return state_->stats;
}

std::optional<Layout> Pipeline::known_layout() const {
  const std::lock_guard lock{mutex_};
  return layout_;
}

// --- capture thread ---

bool Pipeline::wait_for_backup(Session session, const Layout& layout) {
  // Here, where the administrator is told why, and not at the peer, which could only say that it is nonsense.
  if (const Status fits = checkpoint::check(layout); !fits) {
    refused_ = fits.error();
    return false;
  }
  {
    std::unique_lock lock{mutex_};
    layout_ = layout;
  }
  bool prepared = false;
  bool asked = false;
  encode_->post([&, session] {
    const Status status = prepare_state(session, layout);
    const std::lock_guard lock{mutex_};
    prepared = status.has_value();
    asked = true;
    changed_.notify_all();
  });
  {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return asked; });
    if (!prepared) return false;
  }
  post([this, session, layout] {
    if (current(session)) events_.layout_known(session, layout);
  });
  std::unique_lock lock{mutex_};
  return changed_.wait_for(lock, backup_timeout, [&] {
    return backup_ready_for_ == session || !current(session);
  }) && current(session);
}

void Pipeline::run_synchronize(Session session) {
  if (!current(session)) return;
  if (disks_)
    if (const Status followed = disks_->begin(session); !followed) {
      post([this, session, error = followed.error()] { events_.sync_failed(session, error); });
      return;
    }
  // The hooks run on this thread, within synchronize(); they outlive nothing.
  std::weak_ptr<SyncSink> self;
  SyncSink::Hooks hooks;
  // Disks are copied once the backup is ready, while the guest's memory waits to be sent: it would only age.
  hooks.layout = [this, session](const Layout& layout) {
    return wait_for_backup(session, layout) && copy_disks(session);
  };
  Status held{};
  PrimaryDisks::Marks marks;
  hooks.paused = [this, &held, &marks] {
    held = output_.hold();
    draining_ = 0;
    if (disks_) marks = disks_->mark(0);
  };
  hooks.segment = [this, session, &self](SyncSink::Segment segment) {
    encode_->post([this, session, sink = self.lock(), segment = std::move(segment)] {
      encode_segment(session, sink, segment);
    });
  };
  const auto made = SyncSink::create(domain_.description().memory_bytes, std::move(hooks));
  if (!made) {
    post([this, session, error = made.error()] { events_.sync_failed(session, error); });
    return;
  }
  const auto& sink = *made;
  self = sink;
  {
    const std::lock_guard lock{mutex_};
    sync_sink_ = sink;
  }
  REMUS_FAULT_POINT("sync.begin");
  refused_.reset();
  compared_bytes_ = 0;
  auto report = domain_.synchronize(*sink, [this, session](hypervisor::SyncProgress progress) {
    progress.done_bytes += compared_bytes_;
    progress.total_bytes += compared_bytes_;
    post([this, session, progress] {
      if (current(session)) events_.progress(session, progress);
    });
  });
  draining_ = 0;
  sink->finish();
  {
    const std::lock_guard lock{mutex_};
    sync_sink_.reset();
  }
  // What is not held must not count as protected.
  if (report && !held) report = std::unexpected(held.error());
  if (report && disks_)
    if (const Status whole = disks_->intact(); !whole) report = std::unexpected(whole.error());
  if (!report) {
    const Error error =
        sink->too_slow()
            ? Error{Errc::exhausted,
                    "the guest changes its memory faster than it can be sent: the synchronization did "
                    "not converge",
                    "give it more bandwidth, or protect it at a quieter time"}
            : refused_.value_or(report.error());
    post([this, session, error] { events_.sync_failed(session, error); });
    return;
  }
  REMUS_FAULT_POINT("sync.done");
  post([this, session, r = *report] { events_.synchronized(session, r); });
  encode_->post([this, session, sink, marks = std::move(marks)] { encode_first(session, sink, marks); });
  announce_ready(session);
  if (disks_) disks_->keep_record(0);
}

void Pipeline::run_capture(Session session, Epoch epoch) {
  if (!current(session)) return;
  const auto buffer = take_buffer(*layout_);
  if (!buffer) {
    post([this, session] {
      events_.capture_failed(
          session, Error{Errc::exhausted, "no memory for an epoch's buffer", "free memory on this host"});
    });
    return;
  }
  buffer->recycle(epoch);
  auto slice = memory_verifier_.next(session);
  PrimaryDisks::Marks marks;
  Status output{};
  Clock::time_point still{};
  Clock::time_point marked{};
  Clock::time_point read{};
  buffer->on_paused([&] {
    still = Clock::now();
    output = output_.mark(epoch);
    if (disks_) marks = disks_->mark(epoch);
    marked = Clock::now();
    if (slice) memory_verifier_.read(domain_, *slice);
    read = Clock::now();
  });
  REMUS_FAULT_POINT("capture.begin");
  auto report = domain_.capture(epoch, *buffer);
  buffer->on_paused({});
  // What the guest sent cannot be told apart by epochs then.
  if (report && !output) report = std::unexpected(output.error());
  if (report && disks_)
    if (const Status whole = disks_->intact(); !whole) report = std::unexpected(whole.error());
  REMUS_FAULT_POINT("capture.done");
  if (!report) {
    post([this, session, error = report.error()] { events_.capture_failed(session, error); });
    return;
  }
  report->mark_us = us(marked - still);
  report->verify_us = us(read - marked);
  std::vector<DiskVerifier::Source> to_verify;
  if (slice && slice->last && slice->disks && disks_) {
    if (auto sources = disks_->open_for_reading()) {
      to_verify = std::move(*sources);
    } else {
      post([this, id = slice->id, error = sources.error()] {
        events_.verify_failed(id, error.in("the disks cannot be read"));
      });
      slice.reset();
    }
  }
  post([this, session, epoch, r = *report, bytes = marks.bytes] {
    events_.captured(session, epoch, r, bytes);
  });
  encode_->post([this, session, epoch, buffer = buffer, slice = std::move(slice), marks = std::move(marks),
                 to_verify = std::move(to_verify)]() mutable {
    encode_epoch(session, epoch, std::move(buffer), marks);
    send_disk_hashes(session, epoch, marks);
    if (slice) send_hashes(session, epoch, *slice, std::move(to_verify));
  });
  announce_ready(session);
  if (disks_) disks_->keep_record(epoch);
}

void Pipeline::announce_ready(Session session) {
  const Status ready = domain_.ready();
  post([this, session, ready] {
    if (!current(session)) return;
    if (ready)
      events_.ready(session);
    else
      events_.capture_failed(session, ready.error());
  });
}

std::shared_ptr<EpochBuffer> Pipeline::take_buffer(const Layout& layout) {
  std::unique_ptr<EpochBuffer> buffer;
  {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return !free_buffers_.empty() || buffers_ < buffers_max; });
    if (!free_buffers_.empty()) {
      buffer = std::move(free_buffers_.back());
      free_buffers_.pop_back();
    }
  }
  if (buffer && buffer->layout() != layout) {
    buffer.reset();  // gone, whether or not there is memory for another
    const std::lock_guard lock{mutex_};
    --buffers_;
  }
  if (!buffer) {
    auto made = EpochBuffer::create(layout, {.keep_bytes = 16UL << 20});
    if (!made) return nullptr;
    buffer = std::move(*made);
    buffer->prefault(4UL << 20);
    const std::lock_guard lock{mutex_};
    ++buffers_;
  }
  return {buffer.release(), [this](EpochBuffer* used) {
            {
              const std::lock_guard lock{mutex_};
              free_buffers_.emplace_back(used);
            }
            changed_.notify_all();
          }};
}

// --- encode thread ---

Status Pipeline::prepare_state(Session session, const Layout& layout) {
  if (state_ && state_->layout == layout) {
    state_->table.reseed(session);
    state_->encoder.new_session();
    state_->device.reset();
    return {};
  }
  auto table = checkpoint::PageHashTable::create(layout.pages(), session);
  if (!table) return std::unexpected(table.error());
  auto cache = checkpoint::PageCache::create(static_cast<std::size_t>(
      std::min<std::uint64_t>(options_.delta_cache_bytes / checkpoint::page_bytes, layout.pages())));
  if (!cache) return std::unexpected(cache.error());
  auto state = std::make_unique<State>(layout, std::move(*table), std::move(*cache), options_);
  const std::lock_guard lock{mutex_};
  state_ = std::move(state);
  return {};
}

void Pipeline::finish_encoding(Session session, Outbound item) {
  {
    const std::lock_guard lock{state_->stats_mutex};
    state_->stats = state_->encoder.stats();
  }
  post([this, session, item = std::move(item)]() mutable {
    if (current(session)) events_.encoded(std::move(item));
  });
}

void Pipeline::encode_segment(Session session, const std::shared_ptr<SyncSink>& sink,
                              const SyncSink::Segment& segment) {
  if (!sink) return;
  if (!current(session) || !state_) {
    sink->done();
    return;
  }
  // Counted as on its way until the link has taken it: that is what holds the capture back.
  auto data = state_->pool->take([sink] { sink->done(); });
  if (!data) {
    sink->done();
    post([this, session, error = data.error()] { events_.encode_failed(session, error); });
    return;
  }
  for (const auto& record : segment.records) {
    if (record.data == nullptr)
      state_->encoder.add_zero(record.index, **data);
    else
      state_->encoder.add(record.index, record.data, **data);
  }
  state_->encoder.flush(**data);
  sink->release(segment.end_offset);
  finish_encoding(session, {.kind = Outbound::Kind::sync, .session = session, .data = std::move(*data)});
}

void Pipeline::encode_first(Session session, const std::shared_ptr<SyncSink>& sink,
                            const PrimaryDisks::Marks& marks) {
  if (!current(session) || !state_) return;
  auto data = state_->pool->take();
  const Status device = !data ? Status{std::unexpected(data.error())}
                              : state_->device.encode(sink->device_state(), (*data)->device_state());
  if (!device) {
    post([this, session, error = device.error()] { events_.encode_failed(session, error); });
    return;
  }
  (*data)->digest().epoch = 0;
  (*data)->digest().image_hash = state_->table.image_hash();
  Outbound item{.kind = Outbound::Kind::epoch, .session = session, .epoch = 0, .data = std::move(*data)};
  if (encode_disks(session, marks, item)) finish_encoding(session, std::move(item));
}

void Pipeline::encode_epoch(Session session, Epoch epoch, std::shared_ptr<EpochBuffer> buffer,
                            const PrimaryDisks::Marks& marks) {
  if (!current(session) || !state_) return;
  REMUS_FAULT_POINT("encode.begin");
  auto data = state_->pool->take();
  Status device = !data ? Status{std::unexpected(data.error())}
                        : state_->device.encode(buffer->device_state(), (*data)->device_state());
  if (!device) {
    post([this, session, error = device.error()] { events_.encode_failed(session, error); });
    return;
  }
  state_->encoder.encode(*buffer, **data);
  Outbound item{.kind = Outbound::Kind::epoch,
                .session = session,
                .epoch = epoch,
                .captured_pages = buffer->pages(),
                .data = std::move(*data)};
  buffer.reset();
  if (!encode_disks(session, marks, item)) return;
  REMUS_FAULT_POINT("encode.done");
  finish_encoding(session, std::move(item));
}

void Pipeline::send_hashes(Session session, Epoch epoch, const MemoryVerifier::Slice& slice,
                           std::vector<DiskVerifier::Source> disks) {
  if (!current(session) || !state_) return;
  Outbound item{.kind = Outbound::Kind::messages, .session = session, .epoch = epoch};
  const std::uint64_t id = slice.id;
  item.messages.emplace_back(link::VerifyBegin{id, session, epoch, !disks.empty()});
  verified_disk_bytes_ = 0;
  if (!disks.empty()) verifier_ = std::make_unique<DiskVerifier>(id, session, std::move(disks));
  constexpr std::size_t per_frame = checkpoint::hash_range_pages_max;
  const auto& pieces = slice.hashes.pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto& part = pieces[i];
    for (std::size_t at = 0; at < part.hashes.size(); at += per_frame) {
      const std::size_t count = std::min(per_frame, part.hashes.size() - at);
      std::vector<std::byte> range;
      checkpoint::encode_hash_range(part.first + static_cast<checkpoint::PageIndex>(at),
                                    std::span{part.hashes}.subspan(at, count), range);
      const bool last = i + 1 == pieces.size() && at + count == part.hashes.size();
      item.messages.emplace_back(link::VerifyHashes{
          id, part.first + static_cast<checkpoint::PageIndex>(at), static_cast<std::uint32_t>(count), last,
          link::Payload::own(std::move(range)).from(checkpoint::hash_range_header_bytes)});
    }
  }
  if (pieces.empty()) item.messages.emplace_back(link::VerifyHashes{id, 0, 0, true, {}});
  finish_encoding(session, std::move(item));
}

}  // namespace remus::guard
