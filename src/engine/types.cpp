#include "engine/types.hpp"

namespace remus::engine {

std::string_view to_string(PrimaryState state) noexcept {
  switch (state) {
    case PrimaryState::idle: return "idle";
    case PrimaryState::synchronizing: return "synchronizing";
    case PrimaryState::protected_: return "protected";
    case PrimaryState::interrupted: return "interrupted";
    case PrimaryState::alone: return "alone";
    case PrimaryState::fenced: return "fenced";
    case PrimaryState::ended: return "ended";
  }
  return "?";
}

std::string_view to_string(BackupState state) noexcept {
  switch (state) {
    case BackupState::empty: return "empty";
    case BackupState::synchronizing: return "synchronizing";
    case BackupState::standby: return "standby";
    case BackupState::suspecting: return "suspecting";
    case BackupState::stale: return "stale";
    case BackupState::claiming: return "claiming";
    case BackupState::activating: return "activating";
    case BackupState::active: return "active";
    case BackupState::ended: return "ended";
  }
  return "?";
}

std::string_view to_string(Goodbye reason) noexcept {
  switch (reason) {
    case Goodbye::unprotected: return "unprotected";
    case Goodbye::guest_stopped: return "guest stopped";
    case Goodbye::guest_crashed: return "guest crashed";
  }
  return "?";
}

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::granted: return "granted";
    case Verdict::denied: return "denied";
    case Verdict::unavailable: return "unavailable";
  }
  return "?";
}

}  // namespace remus::engine
