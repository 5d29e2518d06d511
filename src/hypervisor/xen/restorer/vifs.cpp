#include "hypervisor/xen/restorer/vifs.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

namespace remus::hypervisor::xen::restorer {

namespace {

constexpr const char* stored_as = "libxl-json";  // where libxl keeps a domain's configuration

using Text = std::unique_ptr<char, decltype(&std::free)>;

bool attachable(const libxl_domain_config& config) {
  const std::span nics{config.nics, static_cast<std::size_t>(config.num_nics)};
  return config.c_info.type != LIBXL_DOMAIN_TYPE_HVM ||
         std::ranges::all_of(nics, [](const auto& nic) { return nic.nictype == LIBXL_NIC_TYPE_VIF; });
}

int store(libxl_ctx* context, std::uint32_t domid, libxl_domain_config* config) {
  const Text text{libxl_domain_config_to_json(context, config), &std::free};
  if (!text) return ERROR_NOMEM;
  return libxl_userdata_store(context, domid, stored_as, reinterpret_cast<const std::uint8_t*>(text.get()),
                              static_cast<int>(::strlen(text.get())) + 1);
}

}  // namespace

VifsAhead::VifsAhead(libxl_ctx* context, DomainConfig& config) : context_{context}, config_{config} {
  if (!attachable(*config)) return;
  nics_ = std::exchange(config->nics, nullptr);
  count_ = std::exchange(config->num_nics, 0);
}

VifsAhead::~VifsAhead() {
  if (nics_ == nullptr) return;
  config_->nics = nics_;
  config_->num_nics = count_;
}

int VifsAhead::attach(std::uint32_t domid) {
  if (count_ == 0) return 0;
  // libxl adds a device to the stored configuration, of which there is none yet. Disks are not in it, lest
  // libxl look for the device model that will serve them.
  {
    DomainConfig plain;
    libxl_domain_config_copy(context_, plain.get(), config_.get());
    while (plain->num_disks > 0) libxl_device_disk_dispose(&plain->disks[--plain->num_disks]);
    if (const int result = store(context_, domid, plain.get()); result != 0) return result;
  }
  for (libxl_device_nic& nic : std::span{nics_, static_cast<std::size_t>(count_)})
    if (const int result = libxl_device_nic_add(context_, domid, &nic, nullptr); result != 0) return result;
  return 0;
}

int VifsAhead::record(std::uint32_t domid) {
  if (count_ == 0) return 0;
  std::uint8_t* data = nullptr;
  int bytes = 0;
  if (const int result = libxl_userdata_retrieve(context_, domid, stored_as, &data, &bytes); result != 0)
    return result;
  const std::unique_ptr<std::uint8_t, decltype(&std::free)> kept{data, &std::free};
  DomainConfig stored;
  if (bytes == 0) return ERROR_JSON_CONFIG_EMPTY;
  if (const int result =
          libxl_domain_config_from_json(context_, stored.get(), reinterpret_cast<const char*>(data));
      result != 0)
    return result;
  stored->nics = nics_;
  stored->num_nics = count_;
  const int result = store(context_, domid, stored.get());
  stored->nics = nullptr;
  stored->num_nics = 0;
  return result;
}

}  // namespace remus::hypervisor::xen::restorer
