// The storage of real hosts: files, sparse where holes are, and block devices.
#pragma once

#include <filesystem>

#include "disk/storage.hpp"

namespace remus::disk {

/// A raw image file or a block device for reading and writing. Nobody else may have it open for that: it is locked
/// (flock), and a block device is opened exclusively. Errors: not_found, denied, refused (in use, or neither file nor
/// device), io.
[[nodiscard]] Result<std::unique_ptr<StorageFile>> open_replica(const std::filesystem::path& path);

/// A file that is gone when it is closed, or we are. Errors: exhausted, denied, io (the file system cannot).
[[nodiscard]] Result<std::unique_ptr<StorageFile>> open_nameless(const std::filesystem::path& directory);

/// A directory that exists. Errors: not_found, io.
[[nodiscard]] Result<std::unique_ptr<StorageFolder>> open_folder(const std::filesystem::path& path);

}  // namespace remus::disk
