#include "save_file.hpp"

#include <arpa/inet.h>
#include <endian.h>

#include <cstdio>
#include <map>
#include <memory>
#include <string_view>

#include "hypervisor/xen/base64.hpp"
#include "hypervisor/xen/device_state.hpp"

namespace remus::test {

using namespace remus::hypervisor::xen;

namespace {

class File final {
 public:
  explicit File(const std::string& path) : file_{std::fopen(path.c_str(), "wb"), &std::fclose} {}
  void bytes(std::span<const std::byte> data) {
    if (!file_ || std::fwrite(data.data(), 1, data.size(), file_.get()) != data.size()) good_ = false;
  }
  template <typename T>
  void plain(const T& value) {
    bytes(bytes_of(value));
  }
  void record(std::uint32_t type, std::span<const std::byte> body) {
    plain(RecordHeader{type, static_cast<std::uint32_t>(body.size())});
    bytes(body);
    const std::byte zeros[8]{};
    bytes(std::span{zeros}.first(static_cast<std::size_t>(padded(body.size())) - body.size()));
  }
  [[nodiscard]] bool close() {
    if (file_ && std::fflush(file_.get()) != 0) good_ = false;
    return good_;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  bool good_{true};
};

void write_header(File& file, const std::string& config) {
  constexpr std::string_view magic{"Xen saved domain, xl format\n \0 \r", 32};
  file.bytes(std::as_bytes(std::span{magic}));
  const std::uint32_t length = static_cast<std::uint32_t>(config.size()) + 1;
  for (const std::uint32_t word : {0x01020304U, 0x3U /* JSON, stream version 2 */, 0U, length + 4, length})
    file.plain(word);
  file.bytes(std::as_bytes(std::span{config.c_str(), length}));
}

void write_pages(File& file, const ImageSink& image, const DeviceState& state) {
  std::map<std::uint64_t, std::uint64_t> types;
  for (std::size_t i = 0; i < state.page_type_count(); ++i)
    types[pfn_of(state.page_type(i))] = type_of(state.page_type(i));
  for (const auto& block : image.guest().blocks) {
    const std::uint64_t first = first_gfn(block);
    for (std::uint32_t at = 0; at < block.pages(); at += page_data_count_max) {
      const std::uint32_t count = std::min(page_data_count_max, block.pages() - at);
      std::vector<std::uint64_t> pfns;
      for (std::uint32_t i = 0; i < count; ++i) {
        const auto type = types.find(first + at + i);
        pfns.push_back(coded_pfn(first + at + i, type == types.end() ? page_type::none : type->second));
      }
      file.plain(RecordHeader{
          static_cast<std::uint32_t>(Libxc::page_data),
          static_cast<std::uint32_t>(sizeof(PageDataHeader) + count * (8 + checkpoint::page_bytes))});
      file.plain(PageDataHeader{count, 0});
      file.bytes(std::as_bytes(std::span{pfns}));
      file.bytes({image.at(block.first_page + at), std::size_t{count} * checkpoint::page_bytes});
    }
  }
}

}  // namespace

std::uint64_t first_gfn(const checkpoint::Block& block) {
  return std::stoull(block.name.substr(4), nullptr, 16);
}

Status write_save_file(const std::string& path, const hypervisor::GuestDescription& guest,
                       const ImageSink& image) {
  auto state = parse_device_state(image.state());
  if (!state) return std::unexpected(state.error());
  File file{path};
  write_header(file, guest.details.at("config").dump());
  file.plain(htobe64(libxl_ident));
  file.plain(htonl(libxl_version));
  file.plain(std::uint32_t{0});
  file.record(static_cast<std::uint32_t>(Libxl::libxc_context), {});
  file.plain(ImageHeader{~std::uint64_t{0}, htonl(image_id), htonl(image_version), 0, 0, 0});
  DomainHeader domain;
  domain.type = guest.details.at("type") == "pv" ? domain_pv : domain_hvm;
  domain.xen_major = static_cast<std::uint32_t>(std::stoul(guest.version));
  domain.xen_minor =
      static_cast<std::uint32_t>(std::stoul(guest.version.substr(guest.version.find('.') + 1)));
  file.plain(domain);
  auto records = decode_base64(guest.details.at("static_records").get<std::string>());
  if (!records) return std::unexpected(records.error());
  file.bytes(*records);
  write_pages(file, image, *state);
  file.bytes(state->records);
  file.record(static_cast<std::uint32_t>(Libxc::end), {});
  if (!state->emulator_xenstore.empty())
    file.record(static_cast<std::uint32_t>(Libxl::emulator_xenstore_data), state->emulator_xenstore);
  if (!state->emulator_context.empty())
    file.record(static_cast<std::uint32_t>(Libxl::emulator_context), state->emulator_context);
  file.record(static_cast<std::uint32_t>(Libxl::end), {});
  if (!file.close()) return fail(Errc::io, "cannot write " + path);
  return {};
}

}  // namespace remus::test
