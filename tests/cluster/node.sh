# The network between host and nodes, and the nodes. Sourced by cluster.sh.
# shellcheck shell=bash

# Another folder is another cluster, which may stand beside the first one: it has its own names and ranges.
case $STATE in
  *-test) prefix=mt net=172.30.8 pods=10.245 services=10.97.0 ;;
  *) prefix=ms net=172.30.7 pods=10.244 services=10.96.0 ;;
esac
service_range=${services%.*}.0.0/16 # a thousand jobs need an address each
bridge=${prefix}bridge
# The kubelet sets the first four for the whole machine, and two containerds watch more files than one user may by default.
settings="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops fs.inotify.max_user_instances"

name_of() { echo "${prefix}node$1"; } # its network namespace and cgroup
link_of() { echo "${prefix}link$1"; } # the host's end of its cable
socket_of() { echo "$STATE/node$1/run/containerd/containerd.sock"; }

make_network() {
  local range
  # shellcheck disable=SC2086
  sysctl $settings >"$STATE/settings"
  # What is meant for the cluster must never leave the machine by its default route, also not after the cluster's end, when a
  # client may still run: these routes stay.
  for range in "$pods.0.0/16" "$service_range" "$net.0/24"; do ip route replace unreachable "$range" metric 4000; done
  ip link add "$bridge" type bridge
  ip addr add "$net.1/24" dev "$bridge"
  ip link set "$bridge" up
}

remove_network() {
  [ -f "$STATE/settings" ] || return 0
  ip link del "$bridge" 2>/dev/null || true
  sysctl -qp "$STATE/settings" || true
}

start_node() { # NUMBER
  local number=$1 name folder=$STATE/node$1 other
  name=$(name_of "$number")
  mkdir -p "$folder"
  rm -rf --one-file-system "$folder/run" # as memory, it does not outlive the power
  ip netns add "$name"
  ip link add "$(link_of "$number")" type veth peer name eth0 netns "$name"
  ip link set "$(link_of "$number")" master "$bridge" up
  ip -n "$name" link set lo up
  ip -n "$name" link set eth0 up
  ip -n "$name" addr add "$net.1$number/24" dev eth0
  ip -n "$name" route add "$service_range" dev eth0 # a route before kube-proxy rewrites the address; there is no other way out
  ip route replace "$pods.$number.0/24" via "$net.1$number"
  for other in $nodes; do
    [ "$other" = "$number" ] || ip -n "$name" route add "$pods.$other.0/24" via "$net.1$other"
  done
  nsenter --net="/run/netns/$name" sysctl -qw net.ipv4.ip_forward=1
  nsenter --net="/run/netns/$name" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true # where it is a module
  sysctl -qw fs.inotify.max_user_instances=1024
  make_cgroups "$name"
  # Not `ip netns exec`, which mounts a /sys of its own and so hides the cgroups.
  launch "$name" nsenter --net="/run/netns/$name" unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
    env NUMBER="$number" NAME="$name" FOLDER="$folder" PKI="$STATE/pki" BIN="$(programs)" NET="$net" PODS="$pods" \
    SERVICES="$services" PAUSE="$pause_image" bash "$here/node-init.sh"
  await 60 "containerd of node $number" ctr --address "$(socket_of "$number")" version
}

ready_node() { # NUMBER
  await 60 "the registration of node $1" "$(programs)/kubectl" get node "node$1"
  "$(programs)/kubectl" wait --for=condition=Ready "node/node$1" --timeout=60s >/dev/null
}

# As when the power fails: everything on the node is gone at once, and what was on its disk stays.
stop_node() { # NUMBER
  local name group
  name=$(name_of "$1")
  halt "$name"
  [ -d "$STATE/node$1" ] && [ -e "/run/netns/$name" ] || return 0
  ip link del "$(link_of "$1")" 2>/dev/null || true
  ip netns del "$name"
  ip route del "$pods.$1.0/24" 2>/dev/null || true
  # The kernel takes a moment to bury the node's processes.
  for group in /sys/fs/cgroup/*/"$name" "/sys/fs/cgroup/$name"; do
    [ -d "$group" ] || continue
    (await 10 "the end of what ran on node $1" bash -c "! find '$group' -name cgroup.procs -exec cat {} + | grep -q .") || true
    find "$group" -depth -type d -exec rmdir {} + || true
  done
}

# The kubelet makes no cgroup root of its own, and a new cpuset of version 1 is empty.
make_cgroups() { # NAME
  local controller
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$1"
    for controller in cpuset cpu memory pids; do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    done
    return
  fi
  for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
    [ ! -d "/sys/fs/cgroup/$controller" ] || mkdir -p "/sys/fs/cgroup/$controller/$1"
  done
  cat /sys/fs/cgroup/cpuset/cpuset.cpus >"/sys/fs/cgroup/cpuset/$1/cpuset.cpus"
  cat /sys/fs/cgroup/cpuset/cpuset.mems >"/sys/fs/cgroup/cpuset/$1/cpuset.mems"
}
