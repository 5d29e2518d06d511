#include "arbiter_model.hpp"

namespace remus::sim {

engine::Verdict ArbiterModel::claim(std::size_t host, Generation generation, bool activate) {
  switch (kind_) {
    case ArbiterKind::fail_stop: return engine::Verdict::granted;
    case ArbiterKind::manual:
      return activate && !approved_ ? engine::Verdict::unavailable : engine::Verdict::granted;
    case ArbiterKind::exclusive: break;
  }
  if (!granted_.empty()) {
    const auto& [newest, holder] = *granted_.rbegin();
    if (newest > generation || (newest == generation && holder != host)) return engine::Verdict::denied;
  }
  granted_[generation] = host;
  return engine::Verdict::granted;
}

}  // namespace remus::sim
