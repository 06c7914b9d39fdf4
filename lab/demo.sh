#!/usr/bin/env bash
# The main job on the lab, as an operator would do it: the problem, the preview, the up, a push, a pod, a second up, the destroy.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
fails() { printf '$ %s\n' "$*"; if "$@"; then echo "this was expected to fail" >&2; exit 1; fi; }
on() { # NODE COMMAND: run on a node as root
  ssh -q -i lab/.state/ssh/id_ed25519 -o UserKnownHostsFile="$scratch/known_hosts" "root@$1" "$2"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say "A kubeadm cluster of three systemd machines"
go -C lab run . up
# shellcheck source=/dev/null
eval "$(go -C lab run . env)"
stack=(--stack lab --non-interactive)
for i in 0 1 2; do
  key=$(pulumi config get --stack lab --path "berth:nodes[$i].hostKey")
  printf '%s,%s %s\n' "$(pulumi config get --stack lab --path "berth:nodes[$i].name")" \
    "$(pulumi config get --stack lab --path "berth:nodes[$i].address")" "$key"
done > "$scratch/known_hosts"
show kubectl get nodes -o wide

say "The problem: a name without a port is dialled on 443, where nothing listens"
worker1=10.99.0.12
on $worker1 'cp -a /etc/hosts /run/hosts && echo "10.99.0.12 Yuan.com" >> /etc/hosts'
fails on $worker1 'crictl pull --creds Yuan:Abcd123456 Yuan.com/nginx:v1 2>&1 | tail -n 1 | grep -o "failed to do request.*"; exit 1'
on $worker1 'cp -a /run/hosts /etc/hosts'

say "What berth would do"
show pulumi preview "${stack[@]}"

say "Do it"
show pulumi up --yes --skip-preview "${stack[@]}"

say "Push an image to the NodePort with a standard client"
mkdir "$scratch/certs"
pulumi stack output ca --stack lab > "$scratch/certs/ca.crt"
show skopeo copy --insecure-policy --dest-creds Yuan:Abcd123456 --dest-cert-dir "$scratch/certs" \
  oci-archive:lab/.state/nginx.tar docker://10.99.0.11:30443/nginx:v1

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
show on $worker1 'readlink /proc/$(systemctl show -p MainPID --value containerd)/exe; cat /etc/hosts'
say "The lab still runs: make lab-down removes it, make demo does all of this again"
