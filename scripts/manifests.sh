#!/usr/bin/env bash
# Renders the chart for people without Helm: manifests/operator.yaml. With --check it only says whether that file is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(bash tests/cluster/build.sh)/helm
file=manifests/operator.yaml

render() {
    cat <<'HEAD'
# The operator, for all namespaces. Written by scripts/manifests.sh from charts/millstream; apply manifests/crds.yaml before it.
apiVersion: v1
kind: Namespace
metadata:
  name: millstream-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
HEAD
    # Helm is not what manages these.
    "$helm" template millstream charts/millstream --namespace millstream-system --set crds.enabled=false |
        sed '/app.kubernetes.io\/managed-by: Helm/d; s/ *$//'
}

case "${1:-}" in
"") render >"$file" ;;
--check)
    if ! diff -u "$file" <(render); then
        echo "$file is not what the chart says; run scripts/manifests.sh and commit" >&2
        exit 1
    fi
    ;;
*)
    echo "usage: $0 [--check]" >&2
    exit 2
    ;;
esac
