#!/usr/bin/env bash
# The first process in a node's namespaces: private folders, the configuration of what runs on a node, and that itself. Where a
# setting is not the obvious one, this machine is inside a container or has two nodes.
set -euo pipefail

mkdir -p "$FOLDER"/{run/containerd,containerd,kubelet,log/pods,cni/net.d} /var/lib/kubelet /run/containerd
mount --bind "$FOLDER/kubelet" /var/lib/kubelet # fixed paths of the kubelet's and containerd's
mount --bind "$FOLDER/log" /var/log
mount --bind "$FOLDER/run/containerd" /run/containerd
mount --make-rshared /
: >"$FOLDER/resolv.conf" # pods ask the cluster's DNS and nobody else

# Scores against the OOM killer can only be raised without CAP_SYS_RESOURCE, and there may be no controller for huge pages.
cat >"$FOLDER/containerd.toml" <<TOML
version = 2
root = "$FOLDER/containerd"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$FOLDER/cni/net.d"
TOML

cat >"$FOLDER/cni/net.d/10-pods.conflist" <<JSON
{ "cniVersion": "0.4.0", "name": "pods", "plugins": [
  { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$FOLDER/cni/ipam",
              "ranges": [[{ "subnet": "$PODS.$NUMBER.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
JSON

# No image is ever collected: none could be pulled again. Failures are seen within ten seconds.
cat >"$FOLDER/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $PKI/ca.crt } }
authorization: { mode: Webhook }
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NAME
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: false
makeIPTablesUtilChains: false
resolvConf: $FOLDER/resolv.conf
clusterDNS: [$SERVICES.10]
clusterDomain: cluster.local
evictionHard: { memory.available: "100Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%" }
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 10s
nodeLeaseDurationSeconds: 8
volumeStatsAggPeriod: 10s
seccompDefault: true
YAML

# The limits of connection tracking are the machine's.
cat >"$FOLDER/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: { kubeconfig: $PKI/proxy.kubeconfig }
mode: nftables
hostnameOverride: node$NUMBER
clusterCIDR: $PODS.0.0/16
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
YAML

containerd --config "$FOLDER/containerd.toml" >"$FOLDER/log/containerd.log" 2>&1 &
until ctr --address /run/containerd/containerd.sock version >/dev/null 2>&1; do
  kill -0 $!
  sleep 0.1
done
"$BIN/kubelet" --config "$FOLDER/kubelet.yaml" --kubeconfig "$PKI/node$NUMBER.kubeconfig" --hostname-override "node$NUMBER" \
  --node-ip "$NET.1$NUMBER" --root-dir /var/lib/kubelet --node-labels "topology.kubernetes.io/zone=zone$NUMBER" \
  >"$FOLDER/log/kubelet.log" 2>&1 &
"$BIN/kube-proxy" --config "$FOLDER/proxy.yaml" >"$FOLDER/log/kube-proxy.log" 2>&1 &
wait # and reap: this is process 1
