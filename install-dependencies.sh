#!/usr/bin/env bash
# Installs the Debian packages Remus needs. Quick where all are there: then nothing is downloaded or changed.
set -euo pipefail

usage() {
  cat << 'END'
usage: ./install-dependencies.sh [--build-only | --demo | --all] [--list]

  --build-only  what compiling needs (no QEMU, no test or check tools)
  --demo        what ./demo needs: build, and the lab with QEMU
  --all         everything: build, lab and tests, checks, documentation (default)
  --list        prints the packages, installs nothing

Run it as root, or as a user who may use sudo. Made for Debian 12; other Debian-based systems may lack a package.
END
}

build=(
  g++ cmake ninja-build ccache pkg-config
  libboost1.81-dev libssl-dev libnl-route-3-dev libxen-dev libzstd-dev liblz4-dev libxxhash-dev
  libnbd-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libtomlplusplus-dev libcli11-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
# The labs: two hosts in namespaces, a guest of busybox on Debian's cloud kernel; two Xen hosts as emulated machines. Kernels,
# Xen and its dom0 are fetched by the lab itself into its cache, not installed.
lab=(qemu-system-x86 seabios qemu-utils e2fsprogs iproute2 ethtool tcpdump util-linux openssl busybox-static cpio python3 python3-pytest python3-matplotlib
  binutils debian-archive-keyring libsqlite3-dev)
check=(clang-19 clang-tidy-19 clang-format libclang-rt-19-dev shellcheck)
docs=(pandoc)

fail() {
  echo "install-dependencies: $*" >&2
  exit 1
}

packages=("${build[@]}" "${lab[@]}" "${check[@]}" "${docs[@]}")
list=no
for argument in "$@"; do
  case $argument in
    --build-only) packages=("${build[@]}") ;;
    --demo) packages=("${build[@]}" "${lab[@]}") ;;
    --all) ;;
    --list) list=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown option: $argument"
      ;;
  esac
done

if [[ $list == yes ]]; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi
for program in dpkg-query apt-get; do
  command -v "$program" > /dev/null || fail "this machine has no $program; install the equivalents of: ${packages[*]}"
done

missing=()
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2> /dev/null || true)
for package in "${packages[@]}"; do
  grep -qx "installed $package" <<< "$installed" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo > /dev/null || fail "not root, and there is no sudo; as root, run: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
# Only what is named, nothing recommended; never a question on the terminal.
as_root+=(env DEBIAN_FRONTEND=noninteractive)

echo "install-dependencies: installing ${missing[*]}"
# A package list that is fresh enough knows the packages already.
if ! apt-cache show --no-all-versions "${missing[@]}" > /dev/null 2>&1; then
  "${as_root[@]}" apt-get update || fail "apt-get update failed: is the network, or the mirror in /etc/apt, reachable?"
fi
if ! "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"; then
  "${as_root[@]}" apt-get update || fail "apt-get update failed: is the network, or the mirror in /etc/apt, reachable?"
  "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}" \
    || fail "apt-get could not install: ${missing[*]} (Remus is made for Debian 12; see /etc/os-release for what this is)"
fi
