# What is in a cluster with nodes: images, DNS, an S3 server. Sourced by cluster.sh.
# shellcheck shell=bash

pause_image=millstream.test/pause:1
coredns_image=millstream.test/coredns:1
# The public name, so that examples/kubernetes/s3.yaml runs as it is; the program is built from the same source.
s3_image=$(sed -n 's/^ *image: *//p' "$repository/examples/kubernetes/s3.yaml")
millstream_image=millstream.test/millstream:dev
target=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/millstream/target}

# An image is made anew only when its program has changed, which the first three never do.
make_images() {
  local bin
  bin=$(programs)
  make_image "$bin/images/pause.tar" "$pause_image" "$bin/pause" --base none
  make_image "$bin/images/coredns.tar" "$coredns_image" "$bin/coredns" --base none
  make_image "$bin/images/s3.tar" "$s3_image" "$bin/versitygw" --base none
  make_image "$target/images/millstream.tar" "$millstream_image" "$target/debug/millstream"
}

make_image() { # FILE NAME PROGRAM [OPTION...]
  local file=$1 name=$2 program=$3
  shift 3
  if [ ! -f "$file" ] || [ "$program" -nt "$file" ] || [ "$target/debug/xtask" -nt "$file" ]; then
    mkdir -p "$(dirname "$file")"
    "$target/debug/xtask" image --name "$name" --program "$program" --output "$file" --plain "$@" >/dev/null
  fi
  ln -sfn "$file" "$STATE/images/"
}

load() { # NUMBER TAR
  ctr --address "$(socket_of "$1")" --namespace k8s.io images import "$2" >/dev/null
}

load_all() { # NUMBER
  local file
  for file in "$STATE"/images/*.tar; do load "$1" "$file"; done
}

# The first node is alone while DNS and S3 find their place, so that the loss of the second one takes neither.
up() {
  local program
  for program in containerd ctr runc nft conntrack ip nsenter unshare sysctl /usr/lib/cni/bridge; do
    command -v "$program" >/dev/null || fail "no $program here: \`bash scripts/setup.sh cluster\` installs what is missing"
  done
  [ ! -e "$STATE/etcd" ] || fail "a cluster is up in $STATE: \`make cluster-down\` ends it"
  mkdir -p "$STATE/images"
  make_images
  make_network
  start_api_server "$net.1" --advertise-address "$net.1" --allow-privileged \
    --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$pki/kubelet-client.crt" \
    --kubelet-client-key "$pki/kubelet-client.key" \
    --default-not-ready-toleration-seconds 10 --default-unreachable-toleration-seconds 10
  start_controllers
  start_scheduler
  start_node 1
  load_all 1
  apply <"$here/coredns.yaml"
  apply <"$repository/examples/kubernetes/s3.yaml"
  ready_node 1
  await 60 "DNS" rolled_out kube-system coredns
  await 60 "the S3 server" rolled_out default s3
  start_node 2
  load_all 2
  ready_node 2
}

apply() { sed "s/CLUSTER_DNS/$services.10/" | "$(programs)/kubectl" apply -f - >/dev/null; }

rolled_out() { "$(programs)/kubectl" -n "$1" rollout status --timeout 1s "deployment/$2"; }

next() {
  cat <<TEXT
The cluster is up. Next:

  export KUBECONFIG=$KUBECONFIG PATH=$(programs):\$PATH
  helm install millstream charts/millstream --namespace millstream-system --create-namespace \\
    --set image.repository=${millstream_image%:*},image.tag=${millstream_image##*:} --wait
  kubectl apply -f examples/kubernetes/popular.yaml
  kubectl get streamjobs --watch
  kubectl logs --selector millstream.dev/job=popular,millstream.dev/role=worker --tail 5
  kubectl scale streamjob popular --replicas 3
  kubectl delete streamjob popular

docs/kubernetes.md goes on from there. All nodes have the image $millstream_image. An S3 server answers at
http://s3.default.svc:9000 (examples/kubernetes/s3.yaml). Node 2 dies with \`bash tests/cluster/cluster.sh kill 2\` and comes back with \`start 2\`.
\`make cluster-down\` ends all of it.
TEXT
}
