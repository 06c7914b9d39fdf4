# shellcheck shell=sh
# First contact with a node (preflight, changes nothing) and the last one (remove).

oneline() { printf '%s' "$1" | tr '\n' ' '; }
bad() {
	say "preflight: $*"
	FAILED=1
}

check_system() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || bad "not root: use root or a user with passwordless sudo in berth:ssh"
	[ -d "$ROOT/run/systemd/system" ] || bad "systemd does not run this machine, and berth needs it"
	for TOOL in systemctl systemd-run ctr sha256sum tar awk flock timeout; do
		have "$TOOL" || bad "$TOOL is missing: install it"
	done
	case $(uname -m) in
	x86_64) IS=amd64 ;;
	aarch64) IS=arm64 ;;
	*) IS=$(uname -m) && bad "architecture $IS is not supported" ;;
	esac
	[ -z "$ARCH" ] || [ "$ARCH" = "$IS" ] || bad "the node is $IS: set arch in berth:nodes"
	[ "$(cat "$ROOT/proc/sys/crypto/fips_enabled" 2>/dev/null)" != 1 ] || bad "FIPS mode: berth's containerd is not a FIPS build"
	[ "$TRUST" != os ] || store || bad "no known trust store: install ca-certificates, or set berth:certificate.trust to containerd"
	case $(lsattr -d "$ROOT/etc/hosts" 2>/dev/null | cut -d' ' -f1) in *i*) bad "/etc/hosts is immutable: chattr -i /etc/hosts" ;; esac
	timeout 10 ip -o addr show 2>/dev/null | awk '{ sub("/.*", "", $4); print $4 }' | grep -qxF "$NODE_IP" ||
		bad "$NODE_IP is no address of this machine: correct internalIP (or address) in berth:nodes"
	room /usr/local 200
	room /var/lib 150
}

# room DIR MEGABYTES
room() {
	FREE=$(df -Pk "$ROOT$1" 2>/dev/null | awk 'END { print int($4 / 1024) }')
	[ "${FREE:-0}" -ge "$2" ] || bad "$1 has ${FREE:-0} MB left: $2 MB are needed"
	case $1,$(findmnt -nro OPTIONS -T "$ROOT$1" 2>/dev/null), in *,ro,* | /usr*,noexec,*) bad "$1 is mounted read-only or noexec" ;; esac
}

# check_owner: somebody else who manages containerd here.
check_owner() {
	OUT="leave this node out of berth:nodes"
	for PAIR in /var/lib/rancher/k3s:k3s /var/lib/rancher/rke2:rke2 /var/lib/k0s:k0s /var/snap/microk8s:microk8s \
		/run/ostree-booted:ostree /etc/containerd/certs.d/_backup:spegel; do
		[ ! -e "$ROOT${PAIR%%:*}" ] || bad "${PAIR#*:} owns containerd here (${PAIR%%:*}): $OUT"
	done
	case $(sed -n 's/^ID=//p' "$ROOT/etc/os-release" 2>/dev/null) in
	*talos* | *flatcar* | *bottlerocket*) bad "this system replaces /usr on upgrade: $OUT" ;;
	esac
	HOLDER=$(mf_get owner)
	[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] || bad "this node belongs to $HOLDER: destroy that stack, or run berth-remove here"
}

check_containerd() {
	facts
	WRONG=$(unit_problems)
	[ -z "$WRONG" ] || while read -r LINE; do bad "$LINE"; done <<-LINES
		$WRONG
	LINES
	[ "$(fact LoadState)" = loaded ] || return 0
	WRONG=$(unhealthy any "")
	[ -z "$WRONG" ] || bad "containerd is not healthy ($(oneline "$WRONG")): repair it first"
	check_kubelet
	check_config
}

# check_kubelet: the kubelet must use the containerd that is patched.
check_kubelet() {
	KUBELET=$(ctl show -p MainPID --value kubelet.service 2>/dev/null || :)
	[ "${KUBELET:-0}" != 0 ] || return 0
	SOCKET=$({ tr '\0' '\n' <"$ROOT/proc/$KUBELET/cmdline"; cat "$ROOT/var/lib/kubelet/config.yaml"; } 2>/dev/null |
		sed -n -e 's/^--container-runtime-endpoint[= ]//p' -e 's/^containerRuntimeEndpoint: *//p' | tr -d "\"'" | sed 1q)
	case $SOCKET in
	"" | unix:///run/containerd/containerd.sock | unix:///var/run/containerd/containerd.sock | /run/containerd/containerd.sock) ;;
	*) bad "the kubelet uses $SOCKET and not containerd: $OUT" ;;
	esac
}

# check_config: what in containerd's configuration would keep pulls from our dialer.
check_config() {
	CONFIG=$(sed 's/^[[:space:]]*#.*//' "$ROOT/etc/containerd/config.toml" 2>/dev/null || :)
	has() { printf '%s\n' "$CONFIG" | grep -qE "$1"; }
	! has '^[[:space:]]*snapshotter *= *"btrfs"' || bad "snapshotter btrfs is not in a static containerd: use overlayfs"
	CERTS=$(printf '%s\n' "$CONFIG" | sed -n 's/^[[:space:]]*config_path *= *["'\'']\([^"'\'']*\).*/\1/p')
	case $CERTS in *:*) bad "config_path is a list ($CERTS): name one folder" ;; esac
	if has 'registry\.mirrors'; then
		[ -z "$CERTS" ] || bad "config.toml has both config_path and registry.mirrors: keep one"
		! has "registry\.mirrors\.[\"']?${REGISTRY_HOST}[\"'\]]" || bad "config.toml sends $REGISTRY_HOST elsewhere by registry.mirrors: remove that table"
	fi
	for DIR in $(echo "$CERTS" | tr ':' ' ') /etc/containerd/certs.d; do
		for TOML in "$DIR/$REGISTRY_HOST/hosts.toml" "$DIR/_default/hosts.toml"; do
			TO=$(sed -n -e 's/^[[:space:]]*server *= *//p' -e 's/^[[:space:]]*\[host\.\(.*\)\].*/\1/p' "$ROOT$TOML" 2>/dev/null |
				tr -d "\"'" | grep -vixE "(https://)?$REGISTRY_HOST(:443)?/?" || :)
			[ -z "$TO" ] || bad "$TOML sends $REGISTRY_HOST to $(oneline "$TO"): remove that entry"
		done
	done
}

# leave_remove: lays out the way out without Pulumi, for base to install. It has no owner of its own: it removes
# whoever owns the node then.
leave_remove() {
	printf "#!/bin/sh\n# Takes berth off this node.\nROOT='%s'\nOWNER=\nset -- remove\n%s\n" "$ROOT" "$SELF" | put "$ROOT/run/berth-remove" 700
}

preflight() {
	FAILED=
	have flock && [ -d "$ROOT/run" ] && lock 120 preflight
	check_system
	check_owner
	! have systemctl || check_containerd
	[ -z "$FAILED" ] || die "preflight failed: nothing is changed on this node"
	# A new up may act here again; what was on its way before the last remove may not.
	rm -f "$REMOVED"
	leave_remove
	echo "preflight ok: $IS, $(sed -n 's/^PRETTY_NAME=//p' "$ROOT/etc/os-release" | tr -d '"'), $(exe)"
}

main() {
	case ${1-} in
	preflight) preflight ;;
	remove) remove ;;
	*) die "usage: preflight | remove" ;;
	esac
}
main "$@" </dev/null
