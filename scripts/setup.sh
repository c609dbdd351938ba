#!/usr/bin/env bash
# Installs what a fresh Debian machine with only Rust lacks; does nothing where nothing is missing.
# `setup.sh` prepares for building and running, `setup.sh cluster` also for the nodes of a cluster on this machine, and
# `setup.sh checks` for all that `make test` does.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/millstream"
deny_version=0.20.2

missing=()
command -v make >/dev/null || missing+=(make)
command -v gcc >/dev/null || missing+=(gcc)
command -v g++ >/dev/null || missing+=(g++)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
# RocksDB's bindings are generated with libclang and with clang's own headers.
if [ -z "${LIBCLANG_PATH:-}" ]; then
  for file in 'libclang*.so*' 'clang/*/include/stddef.h'; do
    compgen -G "/usr/lib/llvm-*/lib/$file" >/dev/null || { missing+=(libclang-dev); break; }
  done
fi

# What runs pods, what its network is made of, and what checks the Dockerfile.
lacks() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("${2:-$1}"); }
case ${1:-} in
  cluster | checks)
    for program in containerd runc nft:nftables iptables conntrack socat ethtool openssl ip:iproute2 sysctl:procps modprobe:kmod; do
      lacks "${program%:*}" "${program#*:}"
    done
    [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
    ;;&
  checks) lacks buildah ;;
esac

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: install these (Debian names) with your package manager, then try again: ${missing[*]}" >&2
    exit 1
  fi
  root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  echo "setup: installing ${missing[*]}" >&2
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" ca-certificates
fi

[ "${1:-}" = checks ] || exit 0

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

# Unoptimised: it builds in a fraction of the time and checks this workspace in seconds either way.
if [ "$("$cache/tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $deny_version" ]; then
  echo "setup: building cargo-deny $deny_version, once" >&2
  CARGO_TARGET_DIR="$cache/tools/target" CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install cargo-deny --version "$deny_version" --locked --debug --no-default-features --quiet --root "$cache/tools"
  rm -rf "$cache/tools/target"
fi
