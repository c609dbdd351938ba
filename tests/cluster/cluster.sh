#!/usr/bin/env bash
# A real Kubernetes on this machine, as plain processes. The control plane runs in the machine's own network on an address of
# its own; every node is a network, mount and pid namespace and a cgroup root with containerd, kubelet and kube-proxy.
#
#   cluster.sh up           two nodes with DNS and an S3 server, and this clone's images (root only)
#   cluster.sh api          etcd and kube-apiserver alone, on loopback
#   cluster.sh controllers  kube-controller-manager beside them
#   cluster.sh kill N       node N loses its power          cluster.sh start N   node N is switched on
#   cluster.sh cut N        node N is cut off the network   cluster.sh heal N    the network is back
#   cluster.sh load TAR     an image for every node
#   cluster.sh next         what to type to see Millstream run there
#   cluster.sh keep         holds the cluster's lock until standard input ends, then takes all down
#   cluster.sh down         everything is ended and removed; does nothing where nothing is
#
# STATE is the cluster's folder, by which one is told from another. Three routes stay behind on purpose: see make_network.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export STATE=${STATE:-/var/lib/millstream}
lock=$STATE.lock
nodes="1 2"
# shellcheck source=control-plane.sh
. "$here/control-plane.sh"
# shellcheck source=node.sh
. "$here/node.sh"
# shellcheck source=content.sh
. "$here/content.sh"

say() { echo "cluster: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Starts a process that outlives this script, with a log and a note of its id.
launch() { # NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >"$STATE/log/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$STATE/pid/$name"
}

# Ends a process that `launch` started. State goes as well, so none of them gets the half minute it would take to end in order.
# The id may be another's by now: a process of this cluster has the cluster's folder in its command line.
halt() { # NAME
  local note=$STATE/pid/$1 id
  [ -f "$note" ] || return 0
  id=$(cat "$note")
  rm -f "$note"
  if tr '\0' '\n' 2>/dev/null <"/proc/$id/cmdline" | grep -qF "$STATE/"; then
    kill -KILL "$id" 2>/dev/null || true
    while [ -n "$(tr -d '\0' 2>/dev/null <"/proc/$id/cmdline")" ]; do sleep 0.02; done
  fi
}

# Waits until a command succeeds.
await() { # SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what: not within its time; logs are in $STATE/log"
    sleep 0.1
  done
}

# Whoever runs a test keeps this running meanwhile. What a killed run has left goes first.
keep() {
  local left
  need_root
  exec 9>"$lock"
  flock -w 120 9 || fail "$STATE is in use by another run"
  down
  # One that was made just now may not have its lock yet.
  for left in $(find /tmp -maxdepth 1 -type d -name 'millstream-api-*' -mmin +2); do
    [ "$left" != "$STATE" ] || continue
    STATE=$left flock -n "$left.lock" bash "$0" down 2>/dev/null && rm -f "$left.lock" || true
  done
  echo ready
  exec >/dev/null
  cat || true
  down
  case $STATE in /tmp/*) rm -f "$lock" ;; esac
}

need_root() {
  case $STATE in /tmp/*) ;; *) [ "$(id -u)" = 0 ] || fail "namespaces, mounts and cgroups of nodes need root" ;; esac
}

prepare() {
  need_root
  mkdir -p "$STATE"/{log,pid,pki}
  chmod 700 "$STATE" # tokens and keys
}

down() {
  local name
  [ -d "$STATE" ] || return 0
  need_root
  for name in $nodes; do stop_node "$name"; done
  for name in scheduler controller-manager apiserver etcd; do halt $name; done
  remove_network
  rm -rf --one-file-system "$STATE"
}

command=${1:-help}
shift || true
case $command in up | api) prepare ;; esac
case $command in
  up) up ;;
  # A loopback address is refused as the endpoint of the Service `kubernetes`, which nobody needs without pods.
  api) start_api_server "$(loopback)" --endpoint-reconciler-type none ;;
  controllers) start_controllers ;;
  load) for node in $nodes; do load "$node" "$1"; done ;;
  start) start_node "$1" ;;
  kill) stop_node "$1" ;;
  cut) ip link set "$(link_of "$1")" down ;;
  heal) ip link set "$(link_of "$1")" up ;;
  next) next ;;
  keep) keep ;;
  down) down ;;
  *) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}" ;;
esac
