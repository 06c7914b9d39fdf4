#!/bin/sh
# Reads the nodes of a cluster and prints the berth:nodes and the berth:containerd of a stack, for review. Changes nothing.
#
# Usage: scripts/operator/inventory.sh [KUBECTL OPTIONS...], for instance --context prod
# Environment:
#   SSH_PORT  port of sshd on the nodes (22)
#   BASTION   what ssh is given to log in to a bastion in front of the nodes: ops@bastion.example.com, or -p 2222 -i key ops@203.0.113.7.
#             It is logged in to once for each node, so an agent or a key saves typing; its own host key is checked by your known_hosts.
#
# A host key comes over the network from whoever answers: compare each fingerprint with what the node itself says
# (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on its console) before you trust the block.
set -eu
umask 077
SSH_PORT=${SSH_PORT:-22}
BASTION=${BASTION:-}

say() { printf 'inventory: %s\n' "$*" >&2; }
die() {
	say "$*"
	exit 1
}

# scan ADDRESS PORT: the host keys of a machine that is dialled directly, as lines of known_hosts.
scan() {
	ssh-keyscan -T 5 -p "$2" -t ed25519,ecdsa "$1" 2>/dev/null || :
}

# scan_behind ADDRESS PORT: the same through the bastion. Nothing logs in: the key is noted before that.
scan_behind() {
	ssh -o "ProxyCommand=ssh -W '[%h]:%p' $BASTION" -o "UserKnownHostsFile=$SCRATCH/keys" -o GlobalKnownHostsFile=/dev/null \
		-o StrictHostKeyChecking=accept-new -o HostKeyAlgorithms=ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521 \
		-o PreferredAuthentications=none -o ControlPath=none -o ConnectTimeout=10 -p "$2" "$1" true 2>"$SCRATCH/said" || :
	cat "$SCRATCH/keys" 2>/dev/null || sed 's/^/inventory: ssh: /' "$SCRATCH/said" >&2
	rm -f "$SCRATCH/keys"
}

# best: of lines of known_hosts the key without the address; ed25519 where there is one, else ecdsa.
best() {
	grep -v '^#' | sort -k2,2r | awk '$2 ~ /^(ssh-ed25519|ecdsa-sha2-)/ { print $2, $3; exit }'
}

# fingerprint KEY
fingerprint() {
	printf '%s\n' "$1" | ssh-keygen -lf - | awk '{ print $2 }'
}

# node NAME INTERNAL_IP ARCH RUNTIME CONTROL_PLANE
node() {
	KEY=$(if [ -z "$BASTION" ]; then scan "$2" "$SSH_PORT"; else scan_behind "$2" "$SSH_PORT"; fi | best)
	if [ -n "$KEY" ]; then
		PRINT=$(fingerprint "$KEY")
	else
		say "$1: no ed25519 or ecdsa host key answers at $2 port $SSH_PORT; fill in address and hostKey"
		KEY=FILL-IN PRINT="no answer"
	fi
	case $4 in
	containerd://*) ;;
	*) say "$1 runs ${4:-an unknown runtime}, which berth does not patch; leave it out" ;;
	esac
	printf '    # %s, %s\n' "$4" "$PRINT"
	printf '    - {name: %s, address: %s, hostKey: %s' "$1" "$2" "$KEY"
	[ "$3" = amd64 ] || printf ', arch: %s' "$3"
	[ "$SSH_PORT" = 22 ] || printf ', port: %s' "$SSH_PORT"
	[ "$5" = "<none>" ] || printf ', controlPlane: true'
	printf '}\n'
}

# bastion: the bastion as ssh makes it out of $BASTION and its own configuration.
bastion() {
	# shellcheck disable=SC2086 # words as for ssh
	ssh -G $BASTION >"$SCRATCH/config" || die "ssh cannot make anything of BASTION=$BASTION"
	HOST=$(awk '$1 == "hostname" { print $2; exit }' "$SCRATCH/config")
	PORT=$(awk '$1 == "port" { print $2; exit }' "$SCRATCH/config")
	LOGIN=$(awk '$1 == "user" { print $2; exit }' "$SCRATCH/config")
	KEY=$(scan "$HOST" "$PORT" | best)
	if [ -n "$KEY" ]; then
		PRINT=$(fingerprint "$KEY")
	else
		say "no ed25519 or ecdsa host key answers at the bastion $HOST port $PORT; fill in address and hostKey"
		KEY=FILL-IN PRINT="no answer"
	fi
	printf '  # %s\n' "$PRINT"
	printf '  berth:ssh: {bastion: {address: "%s", port: %s, user: "%s", hostKey: %s}}\n' "$HOST" "$PORT" "$LOGIN" "$KEY"
}

# newest LINE: the newest release of a line that berth builds; nothing where there is none.
newest() {
	sed -n 's/^ *"\([0-9.]*\)": *"h1:.*/\1/p' "$PATCHES/$1/line.json" 2>/dev/null | sort -V | tail -n 1
}

# containerd VERSION...: the versions that nodes run. The newest tested release of the latest line among them, never below what
# runs. Nodes compare it with their packages, and with the fixes in these.
containerd() {
	LAST=$(printf '%s\n' "$@" | sed 's/[^0-9.].*//' | sort -V | tail -n 1)
	LINE=${LAST%.*}
	VERSION=$(newest "$LINE")
	if [ -z "$VERSION" ] || [ "$(printf '%s\n' "$VERSION" "$LAST" | sort -V | tail -n 1)" != "$VERSION" ]; then
		say "nodes run containerd $LAST, and no release of its line that berth builds is as new; choose a later line with allowMinorUpgrade: true"
		VERSION=FILL-IN
	fi
	printf '  # the newest release of containerd %s that berth builds; nodes run %s\n' "$LINE" "$(printf '%s\n' "$@" | sort -uV | paste -sd ' ')"
	printf '  berth:containerd: {version: "%s"' "$VERSION"
	for RUNS; do
		case $RUNS in "$LINE".*) ;; *) printf ', allowMinorUpgrade: true' && break ;; esac
	done
	printf '}\n'
}

main() {
	PATCHES=$(dirname "$0")/../../components/containerd/patches
	for TOOL in kubectl ssh ssh-keyscan ssh-keygen; do
		command -v "$TOOL" >/dev/null || die "$TOOL is missing: install it"
	done
	SCRATCH=$(mktemp -d)
	trap 'rm -rf "$SCRATCH"' EXIT
	# A cluster with two address families has two InternalIPs in one column; the first is the primary one.
	COLUMNS='NAME:.metadata.name,IP:.status.addresses[?(@.type=="InternalIP")].address,ARCH:.status.nodeInfo.architecture'
	COLUMNS=$COLUMNS',RUNTIME:.status.nodeInfo.containerRuntimeVersion,LABELS:.metadata.labels'
	NODES=$(kubectl "$@" get nodes --no-headers --sort-by=.metadata.name -o custom-columns="$COLUMNS") || die "kubectl cannot list the nodes"
	[ -n "$NODES" ] || die "the cluster has no nodes"
	printf 'config:\n'
	# shellcheck disable=SC2046 # one word per node
	set -- $(printf '%s\n' "$NODES" | awk '$4 ~ /^containerd:/ { sub(".*//", "", $4); print $4 }')
	[ $# = 0 ] || containerd "$@"
	case $* in *+berth.*) say "some nodes run berth's containerd already: what their packages bring is not known here" ;; esac
	[ -z "$BASTION" ] || bastion
	printf '  berth:nodes:\n'
	printf '%s\n' "$NODES" | while read -r NAME IP ARCH RUNTIME LABELS; do
		CP="<none>"
		case $LABELS in *node-role.kubernetes.io/control-plane:*) CP=yes ;; esac
		node "$NAME" "${IP%%,*}" "$ARCH" "$RUNTIME" "$CP" </dev/null
	done
}
main "$@"
