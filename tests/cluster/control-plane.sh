# etcd, kube-apiserver, kube-controller-manager, kube-scheduler; who they are and who may talk to them. Sourced by cluster.sh.
# shellcheck shell=bash

pki=$STATE/pki
KUBECONFIG=$pki/admin.kubeconfig
KUBECACHEDIR=$STATE/kubectl
export KUBECONFIG KUBECACHEDIR

programs() { # The folder of Kubernetes' programs; the first call may build them.
  [ -f "$STATE/programs" ] || bash "$here/build.sh" >"$STATE/programs.part"
  [ -f "$STATE/programs" ] || mv "$STATE/programs.part" "$STATE/programs"
  cat "$STATE/programs"
}

# An address of loopback for one control plane: all of them use the same ports.
loopback() { echo "127.$((64 + SRANDOM % 128)).$((SRANDOM % 256)).$((1 + SRANDOM % 254))"; }

# An authority and two certificates; everybody else has a token.
make_certificates() { # ADDRESS
  local key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  (
    cd "$pki"
    # shellcheck disable=SC2086
    openssl req -x509 $key -keyout ca.key -out ca.crt -subj /CN=millstream-test-ca -days 30
    certify apiserver /CN=kube-apiserver "IP:$1,IP:127.0.0.1,IP:$services.1,DNS:kubernetes.default.svc,DNS:kubernetes"
    certify kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client DNS:unused
    openssl genrsa -out accounts.key 2048
    openssl rsa -in accounts.key -pubout -out accounts.pub
  ) 2>"$STATE/log/openssl.log"
}

certify() { # NAME SUBJECT NAMES
  # shellcheck disable=SC2154,SC2086
  openssl req $key -keyout "$1.key" -out "$1.csr" -subj "$2"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(echo "subjectAltName=$3")
}

make_identities() { # URL
  local node
  : >"$pki/tokens.csv"
  identify "$1" admin admin system:masters
  identify "$1" controller-manager system:kube-controller-manager
  identify "$1" scheduler system:kube-scheduler
  identify "$1" proxy system:kube-proxy
  for node in $nodes; do identify "$1" "node$node" "system:node:node$node" system:nodes; done
}

identify() { # URL FILE USER [GROUP]
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$3,$3${4:+,$4}" >>"$pki/tokens.csv"
  cat >"$pki/$2.kubeconfig" <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: millstream, cluster: {server: "$1", certificate-authority-data: "$(base64 -w0 "$pki/ca.crt")"}}]
users: [{name: $2, user: {token: "$token"}}]
contexts: [{name: millstream, context: {cluster: millstream, user: $2}}]
current-context: millstream
CONFIG
}

start_api_server() { # ADDRESS [FLAG...]
  local address=$1 bin
  shift
  bin=$(programs)
  make_certificates "$address"
  make_identities "https://$address:6443"
  launch etcd "$bin/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://$address:2379" --advertise-client-urls "http://$address:2379" \
    --listen-peer-urls "http://$address:2380" --initial-advertise-peer-urls "http://$address:2380" \
    --initial-cluster "default=http://$address:2380"
  launch apiserver "$bin/kube-apiserver" --etcd-servers "http://$address:2379" \
    --bind-address "$address" --secure-port 6443 --service-cluster-ip-range "$service_range" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.pub" \
    --service-account-signing-key-file "$pki/accounts.key" --token-auth-file "$pki/tokens.csv" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --admission-control-config-file "$here/admission.yaml" \
    --audit-policy-file "$here/audit.yaml" --audit-log-path "$STATE/log/audit.log" "$@"
  await 60 "the API server" "$bin/kubectl" get --raw /readyz
  await 30 "the namespace default" "$bin/kubectl" get namespace default
}

start_controllers() {
  local bin address
  bin=$(programs)
  address=$(sed -n 's|.*server: "https://\([0-9.]*\):.*|\1|p' "$KUBECONFIG")
  launch controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/controller-manager.kubeconfig" \
    --leader-elect=false --bind-address "$address" --use-service-account-credentials \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
    --node-monitor-period 1s --node-monitor-grace-period 10s
  await 60 "the first service account" "$bin/kubectl" get serviceaccount default
}

start_scheduler() {
  local address
  address=$(sed -n 's|.*server: "https://\([0-9.]*\):.*|\1|p' "$KUBECONFIG")
  launch scheduler "$(programs)/kube-scheduler" --kubeconfig "$pki/scheduler.kubeconfig" --leader-elect=false \
    --bind-address "$address"
}
