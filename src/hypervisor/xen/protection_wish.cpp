#include "hypervisor/xen/protection_wish.hpp"

#ifdef REMUS_XEN

#include <fmt/format.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

extern "C" {
#include <libxlutil.h>
}

namespace remus::hypervisor::xen {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t file_bytes_max = 1U << 20;

struct CloseFile {
  void operator()(FILE* file) const noexcept { static_cast<void>(::fclose(file)); }
};
struct DestroyConfig {
  void operator()(XLU_Config* config) const noexcept { xlu_cfg_destroy(config); }
};
using Config = std::unique_ptr<XLU_Config, DestroyConfig>;

Result<std::string> text_of(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::string text(file_bytes_max + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.is_open()) return fail_errno(errno, fmt::format("cannot read {}", file.native()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > file_bytes_max)
    return fail(Errc::invalid, fmt::format("{} is larger than a configuration can be", file.native()));
  return text;
}

std::string string_at(const XLU_Config* config, const char* key) {
  const char* value = nullptr;
  return xlu_cfg_get_string(config, key, &value, 1) == 0 ? value : "";
}

/// `remus` of one configuration; empty if it has none.
Result<std::string> words_of(const XLU_Config* config, const fs::path& file) {
  if (auto text = string_at(config, "remus"); !text.empty()) return text;
  XLU_ConfigList* list = nullptr;
  int entries = 0;
  const int got = xlu_cfg_get_list(config, "remus", &list, &entries, 1);
  if (got == ESRCH) return std::string{};
  const auto wrong = [&] {
    return fail(Errc::invalid,
                fmt::format("{}: 'remus' is neither a text nor a list of texts", file.native()),
                "write remus = \"to=HOST\"");
  };
  if (got != 0) return wrong();
  std::string out;
  for (int i = 0; i < entries; ++i) {
    const char* item = xlu_cfg_get_listitem(list, i);
    if (item == nullptr) return wrong();
    out += fmt::format("{}{}", out.empty() ? "" : ",", item);
  }
  return out;
}

/// Of a configuration for `domain`; empty if it is another's, or has no wish.
Result<std::string> words_in(const fs::path& file, const std::string& domain) {
  // Whose it is cannot be known of what cannot be read or is no configuration (an image that lies there):
  // it must not hold the other domains up. xl itself complains of it, when it is told to start it.
  const auto text = text_of(file);
  if (!text) return std::string{};
  const std::unique_ptr<FILE, CloseFile> silence{::fopen("/dev/null", "we")};
  const Config config{silence ? xlu_cfg_init(silence.get(), file.c_str()) : nullptr};
  if (!config) return fail(Errc::exhausted, fmt::format("no memory to read {}", file.native()));
  if (xlu_cfg_readdata(config.get(), text->data(), static_cast<int>(text->size())) != 0) return std::string{};
  if (string_at(config.get(), "name") != domain) return std::string{};
  return words_of(config.get(), file);
}

std::vector<fs::path> configurations_in(const fs::path& directory) {
  std::vector<fs::path> out;
  for (const auto& place : {directory, directory / "auto"}) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator{place, code}) {
      const bool named = place != directory || entry.path().extension() == ".cfg";
      if (named && entry.path().extension() != ".remus" && entry.is_regular_file(code))
        out.push_back(entry.path());
    }
  }
  std::ranges::sort(out);  // the same message each time
  return out;
}

}  // namespace

Result<std::optional<ProtectionWish>> wish_for(const std::string& domain, const fs::path& directory) {
  std::error_code code;
  for (const auto& place : {directory, directory / "auto"}) {
    const fs::path beside = place / (domain + ".remus");
    if (!fs::is_regular_file(beside, code)) continue;
    auto words = text_of(beside);
    if (!words) return std::unexpected(words.error());
    return ProtectionWish{std::move(*words), beside};
  }
  std::optional<ProtectionWish> found;
  for (const auto& file : configurations_in(directory)) {
    auto words = words_in(file, domain);
    if (!words) return std::unexpected(words.error());
    // auto/web1.cfg is a link to web1.cfg as a rule: the same wish twice is one.
    if (words->empty() || (found && found->words == *words)) continue;
    if (found)
      return fail(Errc::invalid,
                  fmt::format("{} and {} wish for different protections of domain '{}'", found->file.native(),
                              file.native(), domain),
                  "leave one of them");
    found = ProtectionWish{std::move(*words), file};
  }
  return found;
}

}  // namespace remus::hypervisor::xen

#else

namespace remus::hypervisor::xen {

Result<std::optional<ProtectionWish>> wish_for(const std::string& /*domain*/,
                                               const std::filesystem::path& /*directory*/) {
  return std::nullopt;
}

}  // namespace remus::hypervisor::xen

#endif
