// A broken promise ends the fuzzer, which keeps the input.
#pragma once

#include <cstdlib>

#define FUZZ_CHECK(condition) \
  do {                        \
    if (!(condition)) {       \
      std::abort();           \
    }                         \
  } while (false)
