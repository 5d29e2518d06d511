// What the backup's journal and replicas stand on: files whose content survives a power cut only once it was
// synchronized.
//
// An interface, so that tests and the simulator can cut the power: their storage drops and tears what was not
// synchronized, at any moment. `posix_storage.hpp` is the real one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace remus::disk {

/// A file or a block device. Errors of all: exhausted (no space left), io.
class StorageFile {
 public:
  StorageFile() = default;
  StorageFile(const StorageFile&) = delete;
  StorageFile& operator=(const StorageFile&) = delete;
  virtual ~StorageFile() = default;

  /// Reads all of `to`. Beyond the end: an error.
  [[nodiscard]] virtual Status read(std::uint64_t offset, std::span<std::byte> to) = 0;
  /// Writes all, or fails with any part of it written. A file grows.
  [[nodiscard]] virtual Status write(std::uint64_t offset, std::span<const std::byte> from) = 0;
  /// Where the next byte from `offset` on is that may be other than zero; the file's size or more if there is none. May
  /// say `offset` where it does not know.
  [[nodiscard]] virtual std::uint64_t next_data(std::uint64_t offset) { return offset; }
  /// The range, within the file, reads as zeros; `unmap`: its room may be given up, else it stays allocated.
  [[nodiscard]] virtual Status zero(std::uint64_t offset, std::uint64_t bytes, bool unmap) = 0;
  /// Everything written so far survives a power cut. After an error nothing is known of what was written since the last
  /// success: the caller must not go on as if a later success covered it.
  [[nodiscard]] virtual Status synchronize() = 0;
  /// Cuts or extends (with zeros) a file.
  [[nodiscard]] virtual Status resize(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
};

/// A directory of plain names.
class StorageFolder {
 public:
  StorageFolder() = default;
  StorageFolder(const StorageFolder&) = delete;
  StorageFolder& operator=(const StorageFolder&) = delete;
  virtual ~StorageFolder() = default;

  /// Errors: exists, exhausted, io.
  [[nodiscard]] virtual Result<std::unique_ptr<StorageFile>> create(const std::string& name) = 0;
  /// Errors: not_found, io.
  [[nodiscard]] virtual Result<std::unique_ptr<StorageFile>> open(const std::string& name) = 0;
  [[nodiscard]] virtual Status remove(const std::string& name) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> list() = 0;
  /// What was created and removed so far survives a power cut.
  [[nodiscard]] virtual Status synchronize() = 0;
  /// A small file as a whole: on success the new text survives a power cut, on an error or a cut meanwhile it is the old
  /// one or the new one.
  [[nodiscard]] virtual Status write_whole(const std::string& name, std::string_view text) = 0;
  /// At most 64 KiB. Errors: not_found, corrupt (larger), io.
  [[nodiscard]] virtual Result<std::string> read_whole(const std::string& name) = 0;
};

}  // namespace remus::disk
