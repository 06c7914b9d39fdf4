#!/usr/bin/env bash
# The main job on the lab, as an operator would do it: the problem, the preview, the up, a push, a pod, a second up, the destroy.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
fails() { printf '$ %s\n' "$*"; if "$@"; then echo "this was expected to fail" >&2; exit 1; fi; }
on() { # NODE COMMAND...: run on a node as root
  local node=$1
  shift
  ssh -q -i "$BERTH_LAB_SSH_KEY" -o UserKnownHostsFile="$BERTH_LAB_KNOWN_HOSTS" "root@${address[$node]}" "$@"
}

say "A kubeadm cluster of three systemd machines"
go -C lab run . up
# shellcheck source=/dev/null
eval "$(go -C lab run . env)"
declare -A address=([master1]=10.99.0.11 [worker1]=10.99.0.12 [worker2]=10.99.0.13)
stack=(--stack lab --non-interactive)
show kubectl get nodes -o wide

say "The problem: a name without a port is dialled on 443, where nothing listens"
hosts=$(on worker1 'cat /etc/hosts')
on worker1 'echo "10.99.0.12 Yuan.com" >> /etc/hosts'
fails on worker1 'crictl pull --creds Yuan:Abcd123456 Yuan.com/nginx:v1 2>&1 | grep -o "dial tcp.*" ; exit 1'
printf '%s\n' "$hosts" | on worker1 'cat > /etc/hosts'

say "What berth would do"
show pulumi preview "${stack[@]}"

say "Do it"
show pulumi up --yes --skip-preview "${stack[@]}"

say "Push an image to the NodePort with a standard client"
ca=$(mktemp -d)
trap 'rm -rf "$ca"' EXIT
pulumi stack output ca "${stack[@]:0:2}" > "$ca/ca.crt"
show skopeo copy --dest-creds Yuan:Abcd123456 --dest-cert-dir "$ca" "oci-archive:$BERTH_LAB_TEST_IMAGE" docker://10.99.0.11:30443/nginx:v1

say "A pod by plain name on every node"
for node in master1 worker1 worker2; do
  kubectl apply -f - <<POD
apiVersion: v1
kind: Pod
metadata: {name: demo-$node, namespace: default}
spec:
  nodeName: $node
  tolerations: [{operator: Exists}]
  imagePullSecrets: [{name: berth-pull}]
  terminationGracePeriodSeconds: 1
  containers: [{name: nginx, image: "Yuan.com/nginx:v1", imagePullPolicy: Always}]
POD
done
show kubectl wait --for=condition=Ready --timeout=90s pod/demo-master1 pod/demo-worker1 pod/demo-worker2
show kubectl get pods -o wide

say "A second up finds nothing to do"
show pulumi up --yes --skip-preview "${stack[@]}" --expect-no-changes

say "Take it all back"
kubectl delete pod demo-master1 demo-worker1 demo-worker2 --wait=true
show pulumi destroy --yes --skip-preview "${stack[@]}"
show on worker1 'readlink /proc/$(systemctl show -p MainPID --value containerd)/exe; cat /etc/hosts'
say "The lab still runs: make lab-down removes it, make demo does all of this again"
