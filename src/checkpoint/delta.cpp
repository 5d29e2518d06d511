#include "checkpoint/delta.hpp"

#include <array>
#include <bit>
#include <utility>

#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

constexpr std::size_t line_bytes = 64;
constexpr std::size_t line_words = 8;
using Line = std::array<std::uint64_t, line_words>;

/// Bit k of the result: byte k of `word` is not zero.
unsigned nonzero_bytes(std::uint64_t word) noexcept {
  word |= word >> 4;
  word |= word >> 2;
  word |= word >> 1;
  word &= 0x0101010101010101ULL;
  return static_cast<unsigned>((word * 0x0102040810204080ULL) >> 56);
}

/// XOR of two lines; false if they are the same.
bool difference(const std::byte* reference, const std::byte* page, Line& out) noexcept {
  Line a;
  Line b;
  std::memcpy(a.data(), reference, line_bytes);
  std::memcpy(b.data(), page, line_bytes);
  std::uint64_t any = 0;
  for (std::size_t j = 0; j < line_words; ++j) {
    out[j] = a[j] ^ b[j];
    any |= out[j];
  }
  return any != 0;
}

/// Writes mask and non-zero bytes of `word`; may write one byte past the end it returns.
std::byte* put_word(std::byte* to, std::uint64_t word) noexcept {
  const unsigned mask = nonzero_bytes(word);
  *to++ = static_cast<std::byte>(mask);
  if (mask == 0xff) {
    wire::store(to, word);
    return to + 8;
  }
  // Without branches on the data: every byte is written, the place moves on only past those that count.
  for (unsigned k = 0; k < 8; ++k) {
    *to = static_cast<std::byte>(word >> (8 * k));
    to += (mask >> k) & 1;
  }
  return to;
}

std::byte* put_line(std::byte* to, const Line& line) noexcept {
  std::byte* const words_at = to++;
  unsigned words = 0;
  for (unsigned j = 0; j < line_words; ++j) {
    if (line[j] == 0) continue;
    words |= 1U << j;
    to = put_word(to, line[j]);
  }
  *words_at = static_cast<std::byte>(words);
  return to;
}

/// Goes through `delta` and hands each changed word's place (byte offset in the page) and XOR to `visit`.
/// False if `delta` is not exactly one well-formed delta; `visit` may have been called by then.
template <typename Visit>
bool walk(std::span<const std::byte> delta, Visit&& visit) noexcept {
  if (delta.size() < delta_bytes_min) return false;
  const std::byte* at = delta.data();
  const std::byte* const end = at + delta.size();
  auto lines = wire::load<std::uint64_t>(at);
  at += 8;
  for (; lines != 0; lines &= lines - 1) {
    const auto line = static_cast<std::size_t>(std::countr_zero(lines)) * line_bytes;
    if (at == end) return false;
    auto words = std::to_integer<unsigned>(*at++);
    if (words == 0) return false;
    for (; words != 0; words &= words - 1) {
      if (at == end) return false;
      const auto mask = std::to_integer<unsigned>(*at++);
      if (mask == 0 || end - at < std::popcount(mask)) return false;
      std::uint64_t word = 0;
      for (unsigned bytes = mask; bytes != 0; bytes &= bytes - 1) {
        if (*at == std::byte{0}) return false;
        word |= std::to_integer<std::uint64_t>(*at++) << (8 * std::countr_zero(bytes));
      }
      visit(line + static_cast<std::size_t>(std::countr_zero(words)) * 8, word);
    }
  }
  return at == end;
}

}  // namespace

std::size_t encode_delta(const std::byte* reference, const std::byte* page, std::span<std::byte> out,
                         std::size_t limit) noexcept {
  std::byte* const begin = out.data();
  std::byte* to = begin + delta_bytes_min;
  std::uint64_t lines = 0;
  Line line;
  for (unsigned i = 0; i < page_bytes / line_bytes; ++i) {
    if (!difference(reference + i * line_bytes, page + i * line_bytes, line)) continue;
    lines |= std::uint64_t{1} << i;
    to = put_line(to, line);
    if (static_cast<std::size_t>(to - begin) > limit) return 0;
  }
  wire::store(begin, lines);
  return static_cast<std::size_t>(to - begin);
}

bool valid_delta(std::span<const std::byte> delta) noexcept {
  return walk(delta, [](std::size_t, std::uint64_t) {});
}

Status apply_delta(std::span<const std::byte> delta, std::byte* page) {
  // Looked at twice, so that a malformed delta changes nothing.
  if (!valid_delta(delta)) return fail(Errc::corrupt, "page delta is malformed");
  walk(delta, [page](std::size_t at, std::uint64_t word) {
    wire::store(page + at, wire::load<std::uint64_t>(page + at) ^ word);
  });
  return {};
}

}  // namespace remus::checkpoint
