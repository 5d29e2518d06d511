# A room is a folder of src/ built as one static library, named remus_<room>.
#   remus_room(link SOURCES a.cpp b.cpp DEPENDS remus_checkpoint PkgConfig::LZ4)
function(remus_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(ARG_SOURCES)
    add_library(remus_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(remus_${name} PUBLIC remus_options ${ARG_DEPENDS})
  else()
    add_library(remus_${name} INTERFACE)
    target_link_libraries(remus_${name} INTERFACE remus_options ${ARG_DEPENDS})
  endif()
endfunction()

# A GoogleTest program, registered with CTest under the label 'unit'.
#   remus_unit_test(link SOURCES frame_test.cpp DEPENDS remus_link)
function(remus_unit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(test_${name} ${ARG_SOURCES})
  target_link_libraries(test_${name} PRIVATE ${ARG_DEPENDS} GTest::gtest_main GTest::gmock)
  # The rooms are tested as they are shipped; the tests themselves needn't be quick. They are most of a whole build.
  target_compile_options(test_${name} PRIVATE -O1 -g1)
  add_test(NAME unit.${name} COMMAND test_${name})
  set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 600)
  add_dependencies(unit_tests test_${name})
endfunction()

# A libFuzzer target (in the 'asan' preset): fuzz_<name>, seeds in tests/fuzz/corpus/<name>/.
function(remus_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(REMUS_FUZZ)
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE ${ARG_DEPENDS})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers fuzz_${name})
  endif()
endfunction()

# `unit_tests` builds every unit test and the simulator's, `fuzzers` every fuzz target: what the sanitizer and fuzz
# presets need, without the rest.
add_custom_target(unit_tests)
add_custom_target(fuzzers)
