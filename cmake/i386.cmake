# A 32-bit x86 build on a 64-bit machine: what travels between hosts must not depend on word size, and this build is how that is
# shown (./test i386). REMUS_I386_ROOT names a root with Debian's i386 libraries and headers: tests/i386/sysroot.py makes one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_C_COMPILER clang-19)
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_C_COMPILER_TARGET i386-linux-gnu)
set(CMAKE_CXX_COMPILER_TARGET i386-linux-gnu)
set(CMAKE_LIBRARY_ARCHITECTURE i386-linux-gnu)

set(REMUS_I386_ROOT "$ENV{REMUS_I386_ROOT}" CACHE PATH "Root with Debian's i386 libraries and headers")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES REMUS_I386_ROOT)
if(NOT EXISTS "${REMUS_I386_ROOT}/usr/lib/i386-linux-gnu")
  message(FATAL_ERROR "REMUS_I386_ROOT is '${REMUS_I386_ROOT}': set it to what tests/i386/sysroot.py prints")
endif()
set(CMAKE_SYSROOT "${REMUS_I386_ROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${REMUS_I386_ROOT}")
set(ENV{PKG_CONFIG_LIBDIR} "${REMUS_I386_ROOT}/usr/lib/i386-linux-gnu/pkgconfig:${REMUS_I386_ROOT}/usr/share/pkgconfig")

# The programs run on this machine with the root's loader and libraries. SSE2 is taken for granted: no host of
# virtual machines lacks it, and without it floating point differs between word sizes.
set(CMAKE_CXX_FLAGS_INIT "-march=i686 -msse2 -mfpmath=sse")
set(CMAKE_EXE_LINKER_FLAGS_INIT
  "-Wl,--dynamic-linker=${REMUS_I386_ROOT}/usr/lib/ld-linux.so.2 -Wl,-rpath,${REMUS_I386_ROOT}/usr/lib/i386-linux-gnu -Wl,--disable-new-dtags")
