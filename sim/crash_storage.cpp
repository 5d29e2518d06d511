#include "crash_storage.hpp"

#include <algorithm>

namespace remus::sim {

void CrashStorage::Content::apply(const Change& change, std::vector<std::byte>& to) const {
  if (change.resize) {
    to.resize(static_cast<std::size_t>(change.bytes));
    return;
  }
  const auto end = static_cast<std::size_t>(change.offset + change.bytes);
  if (to.size() < end) to.resize(end);
  const auto at = to.begin() + static_cast<std::ptrdiff_t>(change.offset);
  if (change.zeros) {
    std::fill_n(at, change.bytes, std::byte{0});
  } else {
    std::copy_n(log.begin() + static_cast<std::ptrdiff_t>(change.data), change.bytes, at);
  }
}

void CrashStorage::Content::note(const Change& change) {
  changes.push_back(change);
  apply(change, now);
}

/// Of each sector the state after some of its changes survives, independently of the other sectors. So does the size.
void CrashStorage::Content::cut(Rng& rng) {
  const std::size_t count = changes.size();
  const auto some = [&]() -> std::size_t {
    switch (rng.range(0, 3)) {
      case 0: return 0;
      case 1: return count;
      default: return static_cast<std::size_t>(rng.range(0, static_cast<std::int64_t>(count)));
    }
  };
  if (count != 0) {
    std::size_t size = kept.size();
    const std::size_t sized = some();
    for (std::size_t i = 0; i < sized; ++i) {
      size = changes[i].resize
                 ? static_cast<std::size_t>(changes[i].bytes)
                 : std::max(size, static_cast<std::size_t>(changes[i].offset + changes[i].bytes));
    }
    const std::size_t most = std::max(now.size(), kept.size());
    std::vector<std::size_t> upto(most / sector_bytes + 1);
    for (auto& one : upto) one = some();
    kept.resize(most);
    for (std::size_t i = 0; i < count; ++i) {
      const Change& change = changes[i];
      if (change.resize) continue;
      for (std::uint64_t at = change.offset; at < change.offset + change.bytes;) {
        const std::uint64_t next =
            std::min((at / sector_bytes + 1) * sector_bytes, change.offset + change.bytes);
        if (i < upto[at / sector_bytes] && next <= most)
          apply({at, next - at, change.data + static_cast<std::size_t>(at - change.offset), change.zeros,
                 false},
                kept);
        at = next;
      }
    }
    kept.resize(size);
  }
  dead = true;
}

class CrashStorage::File final : public disk::StorageFile {
 public:
  File(CrashStorage& storage, std::shared_ptr<Content> content)
      : storage_{storage}, content_{std::move(content)} {}

  Status read(std::uint64_t offset, std::span<std::byte> to) override {
    if (content_->dead) return fail(Errc::io, "the power is off");
    if (offset + to.size() > content_->now.size()) return fail(Errc::io, "read beyond the end");
    std::copy_n(content_->now.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
    return {};
  }
  Status write(std::uint64_t offset, std::span<const std::byte> from) override {
    return change({offset, from.size(), 0, false, false}, from);
  }
  Status zero(std::uint64_t offset, std::uint64_t bytes, bool) override {
    return change({offset, bytes, 0, true, false}, {});
  }
  Status resize(std::uint64_t bytes) override { return change({0, bytes, 0, false, true}, {}); }
  Status synchronize() override {
    if (content_->dead) return fail(Errc::io, "the power is off");
    bool partly = false;
    if (auto status = storage_.step(partly); !status) return status;
    for (const Change& change : content_->changes) content_->apply(change, content_->kept);
    content_->changes.clear();
    content_->log.clear();
    return {};
  }
  Result<std::uint64_t> size() override {
    if (content_->dead) return fail(Errc::io, "the power is off");
    return content_->now.size();
  }

 private:
  Status change(Change change, std::span<const std::byte> data) {
    if (content_->dead) return fail(Errc::io, "the power is off");
    bool partly = false;
    auto status = storage_.step(partly);
    if (!status && !partly) return status;
    if (!status && change.resize) return status;
    if (!status) {
      change.bytes =
          static_cast<std::uint64_t>(storage_.rng_.range(0, static_cast<std::int64_t>(change.bytes)));
      data = data.first(std::min(data.size(), static_cast<std::size_t>(change.bytes)));
    }
    if (change.bytes == 0 && !change.resize) return status;
    change.data = content_->log.size();
    content_->log.insert(content_->log.end(), data.begin(), data.end());
    content_->note(change);
    return status;
  }

  CrashStorage& storage_;
  std::shared_ptr<Content> content_;
};

Status CrashStorage::step(bool& partly) {
  const std::uint64_t now = steps_++;
  if (cut_at_ && now >= *cut_at_) {
    partly = now == *cut_at_;
    return fail(Errc::io, "the power is off");
  }
  if (fail_at_ && now == *fail_at_) {
    partly = true;
    return fail(fail_kind_, "an error was planned here");
  }
  return {};
}

Result<std::unique_ptr<disk::StorageFile>> CrashStorage::create(const std::string& name) {
  bool partly = false;
  auto status = step(partly);
  if (status || (partly && rng_.chance(500))) {
    if (!names_.emplace(name, std::make_shared<Content>()).second) return fail(Errc::exists, name);
  }
  if (!status) return std::unexpected(std::move(status.error()));
  return std::make_unique<File>(*this, names_[name]);
}

Result<std::unique_ptr<disk::StorageFile>> CrashStorage::open(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return fail(Errc::not_found, name);
  return std::make_unique<File>(*this, found->second);
}

Status CrashStorage::remove(const std::string& name) {
  bool partly = false;
  auto status = step(partly);
  if (status || (partly && rng_.chance(500))) names_.erase(name);
  return status;
}

Result<std::vector<std::string>> CrashStorage::list() {
  std::vector<std::string> out;
  out.reserve(names_.size());
  for (const auto& [name, content] : names_) out.push_back(name);
  return out;
}

Status CrashStorage::synchronize() {
  bool partly = false;
  if (auto status = step(partly); !status) return status;
  kept_names_ = names_;
  return {};
}

Status CrashStorage::write_whole(const std::string& name, std::string_view text) {
  bool partly = false;
  auto status = step(partly);
  if (!status && !(partly && rng_.chance(500))) return status;
  auto content = std::make_shared<Content>();
  const auto bytes = std::as_bytes(std::span{text});
  content->now.assign(bytes.begin(), bytes.end());
  content->kept = content->now;
  names_[name] = kept_names_[name] = std::move(content);
  return status;
}

Result<std::string> CrashStorage::read_whole(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return fail(Errc::not_found, name);
  const auto& bytes = found->second->now;
  return std::string{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void CrashStorage::power_cut() {
  std::map<std::string, std::shared_ptr<Content>> survivors = kept_names_;
  for (const auto& [name, content] : names_) {
    if (!kept_names_.contains(name) && rng_.chance(500)) survivors[name] = content;
  }
  for (const auto& [name, content] : kept_names_) {
    if (!names_.contains(name) && rng_.chance(500)) survivors.erase(name);
  }
  for (const auto& [name, content] : names_) content->cut(rng_);
  for (auto& [name, content] : survivors) {
    auto fresh = std::make_shared<Content>();
    if (!content->dead) content->cut(rng_);  // removed, and there again
    fresh->kept = content->kept;
    fresh->now = fresh->kept;
    content = std::move(fresh);
  }
  names_ = survivors;
  kept_names_ = std::move(survivors);
  cut_at_.reset();
  fail_at_.reset();
}

void CrashStorage::damage(const std::string& name, std::uint64_t offset) {
  Content& content = *names_.at(name);
  content.now.at(static_cast<std::size_t>(offset)) ^= std::byte{1};
  content.kept.at(static_cast<std::size_t>(offset)) ^= std::byte{1};
}

}  // namespace remus::sim
