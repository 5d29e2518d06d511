#include "saved_domain.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "hypervisor/xen/base64.hpp"

namespace remus::test {

using namespace hypervisor::xen;

namespace {

constexpr std::string_view magic = "Xen saved domain, xl format\n ";
constexpr std::size_t magic_bytes = 32;
struct FileHeader {
  std::uint32_t byte_order{};
  std::uint32_t mandatory{};
  std::uint32_t optional{};
  std::uint32_t optional_bytes{};
};
constexpr std::size_t libxl_header_bytes = 16;

template <typename T>
Result<T> take(std::span<const std::byte>& rest) {
  T out{};
  if (rest.size() < sizeof out) return fail(Errc::corrupt, "the file ends too early");
  std::memcpy(&out, rest.data(), sizeof out);
  rest = rest.subspan(sizeof out);
  return out;
}

struct Taken {
  std::uint32_t type{};
  std::span<const std::byte> body{};
  std::span<const std::byte> whole{};
};

Result<Taken> take_record(std::span<const std::byte>& rest) {
  const auto from = rest;
  auto header = take<RecordHeader>(rest);
  if (!header) return std::unexpected(header.error());
  const std::uint64_t bytes = padded(header->length_bytes);
  if (rest.size() < bytes) return fail(Errc::corrupt, "a record ends too late");
  const Taken out{header->type, rest.first(header->length_bytes), from.first(sizeof *header + bytes)};
  rest = rest.subspan(bytes);
  return out;
}

constexpr std::uint32_t number(auto type) {
  return static_cast<std::uint32_t>(type);
}

}  // namespace

Result<SavedDomain> SavedDomain::open(const std::string& file) {
  const Fd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return fail_errno(errno, "cannot open " + file);
  const auto bytes = static_cast<std::size_t>(info.st_size);
  void* const place = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (place == MAP_FAILED) return fail_errno(errno, "cannot map " + file);
  SavedDomain out;
  out.file_ = {static_cast<const std::byte*>(place), bytes};
  if (auto parsed = out.parse(); !parsed) return std::unexpected(parsed.error());
  return out;
}

Status SavedDomain::parse() {
  auto rest = file_;
  if (rest.size() < magic_bytes || std::memcmp(rest.data(), magic.data(), magic.size()) != 0)
    return fail(Errc::corrupt, "no file of xl save");
  rest = rest.subspan(magic_bytes);
  auto header = take<FileHeader>(rest);
  if (!header) return std::unexpected(header.error());
  auto length = take<std::uint32_t>(rest);
  if (!length || rest.size() < header->optional_bytes)
    return fail(Errc::corrupt, "the file has no configuration");
  const std::string config{reinterpret_cast<const char*>(rest.data()), *length};
  rest = rest.subspan(header->optional_bytes - sizeof(std::uint32_t) + libxl_header_bytes);

  for (bool over = false; !over;) {
    auto record = take_record(rest);
    if (!record) return std::unexpected(record.error());
    if (record->type == number(Libxl::libxc_context)) {
      if (auto parsed = parse_libxc(rest); !parsed) return parsed;
    } else if (record->type == number(Libxl::emulator_xenstore_data)) {
      emulator_xenstore_.assign(record->body.begin(), record->body.end());
    } else if (record->type == number(Libxl::emulator_context)) {
      emulator_context_.assign(record->body.begin(), record->body.end());
    } else {
      over = record->type == number(Libxl::end);
    }
  }
  make_layout();
  state_.clear();
  state_.begin(Section::records);
  state_.append(records_);
  state_.end();
  if (pv_) {
    state_.begin(Section::page_types);
    for (const auto& [pfn, type] : types_) state_.append(bytes_of(coded_pfn(pfn, type)));
    state_.end();
  }
  if (!emulator_context_.empty()) {
    state_.begin(Section::emulator_xenstore);
    state_.append(emulator_xenstore_);
    state_.end();
    state_.begin(Section::emulator_context);
    state_.append(emulator_context_);
    state_.end();
  }
  auto value = nlohmann::json::parse(config);
  // A value of its own, so that the domain is not a twin of the one that was saved.
  const std::string type = pv_ ? "pv" : emulator_context_.empty() ? "pvh" : "hvm";
  description_ = {.hypervisor = "xen",
                  .version = "4.17",
                  .memory_bytes = std::uint64_t{layout_.pages()} * checkpoint::page_bytes,
                  .details = {{"type", type},
                              {"uuid", value.at("c_info").at("uuid")},
                              {"config", value},
                              {"static_records", encode_base64(static_records_)},
                              {"device_model", !emulator_context_.empty()},
                              {"cooperative", true}}};
  return {};
}

Status SavedDomain::parse_libxc(std::span<const std::byte>& rest) {
  auto image = take<ImageHeader>(rest);
  if (!image) return std::unexpected(image.error());
  auto domain = take<DomainHeader>(rest);
  if (!domain) return std::unexpected(domain.error());
  pv_ = domain->type == domain_pv;
  for (;;) {
    auto record = take_record(rest);
    if (!record) return std::unexpected(record.error());
    if (record->type == number(Libxc::end)) return {};
    if (record->type == number(Libxc::page_data)) {
      if (auto taken = take_pages(record->body); !taken) return taken;
    } else {
      auto& where = pages_.empty() ? static_records_ : records_;
      where.insert(where.end(), record->whole.begin(), record->whole.end());
    }
  }
}

Status SavedDomain::take_pages(std::span<const std::byte> body) {
  auto header = take<PageDataHeader>(body);
  if (!header || body.size() < header->count * sizeof(std::uint64_t))
    return fail(Errc::corrupt, "PAGE_DATA too short");
  const auto coded = body.first(header->count * sizeof(std::uint64_t));
  auto contents = body.subspan(coded.size());
  for (std::size_t i = 0; i < header->count; ++i) {
    std::uint64_t value = 0;
    std::memcpy(&value, coded.data() + i * sizeof value, sizeof value);
    const auto type = type_of(value);
    if (type == page_type::absent || type == page_type::broken) continue;
    const bool has = type != page_type::alloc;
    pages_[pfn_of(value)] = has ? contents.data() : nullptr;
    if (is_page_table(type)) types_[pfn_of(value)] = type;
    if (has) contents = contents.subspan(checkpoint::page_bytes);
  }
  return {};
}

void SavedDomain::make_layout() {
  for (auto at = pages_.begin(); at != pages_.end();) {
    const std::uint64_t first = at->first;
    std::uint64_t pages = 0;
    while (at != pages_.end() && at->first == first + pages) ++at, ++pages;
    layout_.add(fmt::format("ram@{:x}", first), pages * checkpoint::page_bytes);
  }
}

Status SavedDomain::fill(const hypervisor::StandbyMemory& memory) const {
  auto at = pages_.begin();
  for (const auto& block : memory.blocks)
    for (std::size_t done = 0; done < block.size(); done += checkpoint::page_bytes, ++at) {
      if (at == pages_.end()) return fail(Errc::internal, "more memory than pages");
      if (at->second == nullptr)
        std::memset(block.data() + done, 0, checkpoint::page_bytes);
      else
        std::memcpy(block.data() + done, at->second, checkpoint::page_bytes);
    }
  return {};
}

}  // namespace remus::test
