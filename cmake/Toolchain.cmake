# How the code is compiled: warnings that matter, assertions always on, sanitizers on request.
set(REMUS_SANITIZE "" CACHE STRING "Sanitizers to build with: empty, 'address' (with undefined) or 'thread'")
option(REMUS_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(REMUS_FAULTS "Compile the fault points in (tests and labs; never for production packages)" OFF)
option(REMUS_BENCH "Build the benchmarks" OFF)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

find_program(REMUS_CCACHE ccache)
if(REMUS_CCACHE)
  # Paths below the source tree do not count, so that a second clone finds what the first has compiled.
  set(_ccache ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${REMUS_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${_ccache})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${_ccache})
endif()

# The presets compile several files of a room at a time (CMAKE_UNITY_BUILD): Boost and JSON headers cost more than our
# code, and a whole build takes a quarter of the time. Without it, for quick small edits: -DCMAKE_UNITY_BUILD=OFF.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)

add_library(remus_options INTERFACE)
target_include_directories(remus_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(remus_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Wimplicit-fallthrough -Werror=return-type -Werror=switch
  -fno-omit-frame-pointer
  # Types of an unnamed namespace in a file that another one includes: so it is when several are compiled as one.
  $<$<AND:$<BOOL:${CMAKE_UNITY_BUILD}>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>)
target_compile_definitions(remus_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED SPDLOG_FMT_EXTERNAL
  # The standard library checks what it is asked: an index, an iterator, an optional's value. In release builds too.
  _GLIBCXX_ASSERTIONS
  REMUS_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${REMUS_FAULTS}>:REMUS_FAULTS>)

# Sanitizers: clang's, which compile in half the time and a third of the memory of GCC's, and know more. The fuzzers are
# part of the ASan build: their coverage costs it little, and a build of their own would cost minutes.
if(NOT REMUS_SANITIZE STREQUAL "" OR REMUS_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "Sanitizers and fuzzers need clang (use the presets 'asan' and 'tsan')")
  endif()
endif()
if(REMUS_SANITIZE STREQUAL "address")
  set(_san -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(REMUS_SANITIZE STREQUAL "thread")
  set(_san -fsanitize=thread)
elseif(NOT REMUS_SANITIZE STREQUAL "")
  message(FATAL_ERROR "REMUS_SANITIZE is '${REMUS_SANITIZE}': use '', 'address' or 'thread'")
endif()
if(REMUS_FUZZ)
  list(APPEND _san -fsanitize=fuzzer-no-link)
endif()
if(_san)
  # -O1 and line tables: a good report at half the compile time. Undefined behaviour and coverage are of interest in our
  # code, not in the headers of libraries; memory errors and races are looked for in both.
  add_compile_options(${_san} -O1 -g1
    $<$<STREQUAL:${REMUS_SANITIZE},address>:-fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/sanitize-ignore.txt>
    $<$<BOOL:${REMUS_FUZZ}>:-fsanitize-coverage-ignorelist=${CMAKE_CURRENT_LIST_DIR}/coverage-ignore.txt>)
  add_link_options(${_san})
endif()
