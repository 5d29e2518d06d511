// What a journal still holds after its host died: whole epochs, in order, and nothing of a torn one.
//
// Nothing that was not synchronized can be relied on: any part of it may be missing, or stand there although something
// before it is missing. So epochs count up to the first that is not complete, whatever follows. If what follows proves
// that the incomplete one had been synchronized, the disk has lost what it had promised to keep: that is told, since the
// replica may hold parts of it.
#pragma once

#include <functional>

#include "disk/journal.hpp"

namespace remus::disk {

struct JournalContent {
  Epoch begin{};  ///< first epoch
  Epoch end{};    ///< behind the last whole one
};

/// visitor(epoch, payload), epochs in order and whole. Errors: corrupt, io, the visitor's.
[[nodiscard]] Result<JournalContent> replay_journal(
    StorageFolder& folder, std::uint64_t identity,
    const std::function<Status(Epoch, std::span<const std::byte>)>& visitor);

}  // namespace remus::disk
