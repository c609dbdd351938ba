#!/usr/bin/env bash
# Runs PROGRAM bench operator ARGS... on an API server of its own: etcd and kube-apiserver as plain processes, ended afterwards.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [ARGS...]" >&2; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
STATE=$(mktemp -d /tmp/millstream-api-bench-XXXXXX)
export STATE
# The lock of this folder says to other runs that it is in use.
exec 9>"$STATE.lock"
flock 9
trap 'bash "$repository/tests/cluster/cluster.sh" down; rm -f "$STATE.lock"' EXIT
bash "$repository/tests/cluster/cluster.sh" api
export KUBECONFIG=$STATE/pki/admin.kubeconfig
kubectl=$(cat "$STATE/programs")/kubectl
"$kubectl" apply -f "$repository/manifests/crds.yaml" >&2
"$kubectl" wait --for condition=established --timeout 30s crd/streamjobs.millstream.dev >&2
program=$1
shift
"$program" bench operator "$@" 9>&-
