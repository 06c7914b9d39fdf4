# shellcheck shell=sh
# First contact with a node (preflight, changes nothing) and the last one (remove). The preflight looks at the machine and
# its containerd; what pulls by the registry's name need, base looks at before it changes anything.

check_system() {
	[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || bad "not root: use root or a user with passwordless sudo"
	[ -d "$ROOT/run/systemd/system" ] || bad "systemd does not run here"
	for TOOL in systemctl systemd-run ctr sha256sum tar awk flock timeout; do
		have "$TOOL" || bad "$TOOL is missing: install it"
	done
	case $(uname -m),$ARCH in
	x86_64,amd64 | aarch64,arm64) ;;
	*) bad "this machine is $(uname -m) and not $ARCH: correct arch in berth:nodes" ;;
	esac
	[ "$(cat "$ROOT/proc/sys/crypto/fips_enabled" 2>/dev/null)" != 1 ] || bad "FIPS mode: no build of berth is for it"
	[ -n "$(timeout 10 ip -o addr show to "$NODE_IP" 2>/dev/null)" ] ||
		bad "$NODE_IP is no address of this machine: correct internalIP or address in berth:nodes"
	# The kubelet's certificate names the Node. Without openssl or such a certificate the address above must do.
	NAMED=$(x509 -subject -in "$ROOT/var/lib/kubelet/pki/kubelet-client-current.pem" 2>/dev/null | sed -n 's/.*system:node://p')
	[ -z "$NAMED" ] || [ "$NAMED" = "${OWNER##*/}" ] || bad "this machine is Node $NAMED: correct name or address in berth:nodes"
	# kube-proxy itself may hold the ports of Services, as it did before Kubernetes 1.26.
	for PORT in $NODE_PORTS; do
		TAKEN=$(timeout 10 ss -Hltnp "sport = :$PORT" 2>/dev/null | grep -v kube-proxy || :)
		[ -z "$TAKEN" ] || bad "port $PORT is in use here by ${TAKEN##* }: choose another berth:registry.nodePort or access.mode"
	done
	[ -z "$API" ] || [ -e "$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml" ] ||
		bad "no kube-apiserver.yaml of kubeadm's: correct controlPlane or access.mode"
	room /etc 1
	room /usr/local 200
	room /var/lib 150
}

# room DIR MEGABYTES
room() {
	# Free blocks and their size, inodes in all and free.
	FREE=$(stat -fc '%a %S %c %d' "$ROOT$1" 2>/dev/null || echo 0 0 0 0)
	# shellcheck disable=SC2086 # four numbers
	set -- "$1" "$2" $FREE
	FREE=$(($3 * $4 / 1048576))
	[ "$FREE" -ge "$2" ] || bad "$1 has $FREE MB left: $2 MB are needed"
	# Some filesystems count no inodes.
	[ "$5" = 0 ] || [ "$6" -ge 200 ] || bad "$1 has fewer than 200 inodes left"
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
	if [ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ]; then
		check_identity
	else
		bad "this node belongs to $HOLDER: destroy that stack, or run berth-remove"
	fi
}

check_containerd() {
	facts
	stock || :
	WRONG=$(unit_problems)
	[ -z "$WRONG" ] || bad "$WRONG"
	[ "$(fact LoadState)" = loaded ] || return 0
	WRONG=$(unhealthy any "")
	[ -z "$WRONG" ] || bad "containerd is not healthy ($(oneline "$WRONG")): repair it first"
	check_kubelet
	[ -z "$STOCK" ] || check_version
}

# check_kubelet: the kubelet must use the containerd that is patched.
check_kubelet() {
	KUBELET=$(ctl show -p MainPID --value kubelet.service 2>/dev/null || :)
	[ "${KUBELET:-0}" != 0 ] || return 0
	SOCKET=$({ tr '\0' '\n' <"$ROOT/proc/$KUBELET/cmdline"; cat "$ROOT/var/lib/kubelet/config.yaml"; } 2>/dev/null |
		sed -n -e 's/^--container-runtime-endpoint[= ]//p' -e 's/^containerRuntimeEndpoint: *//p' | tr -d "\"'" | sed 1q)
	case $SOCKET in
	"" | */run/containerd/containerd.sock) ;;
	*) bad "the kubelet uses $SOCKET and not containerd: $OUT" ;;
	esac
}

# package: sets PACKAGED, the version of the package that owns containerd, and FIXES, the CVEs in its changelog that not
# every build of berth has; "unknown" where it has no changelog. Without a package, the binary tells.
package() {
	FIXES='' WHY=''
	if WHOSE=$(dpkg -S "$STOCK" 2>/dev/null); then
		WHOSE=${WHOSE%%:*}
		PACKAGED=$(dpkg-query -W -f '${Version}' "$WHOSE")
		LOG=$(gzip -dcf "$ROOT/usr/share/doc/$WHOSE"/changelog*) || :
	elif WHOSE=$(rpm -qf "$STOCK" 2>/dev/null); then
		PACKAGED=$(rpm -q --qf '%{VERSION}' "$WHOSE")
		LOG=$(rpm -q --changelog "$WHOSE")
	else
		PACKAGED=$(timeout 10 "$ROOT$STOCK" --version | awk '{ sub("v", "", $3); print $3 }')
		return 0
	fi
	case $LOG in
	*[0-9].[0-9]*) FIXES=$(printf '%s\n' "$LOG" | grep -oE 'CVE-20(2[4-9]|[3-9].)-[0-9]+' | sort -u) ;;
	*) FIXES=unknown WHY=" (no changelog)" ;;
	esac
}
number() { echo "${1#*:}" | awk -F. '{ print $1 * 1000000 + $2 * 1000 + $3 }'; }

# check_version: a version number says nothing about fixes. VERSION must be no step back from the package, nor from what runs.
check_version() {
	package
	# The node keeps the containerd of its package.
	[ -n "$VERSION" ] || return 0
	RUNS=$(mf_get version)
	WANT=$(number "$VERSION") HAVE=$(number "$PACKAGED")
	TAKE="take another berth:containerd.version"
	if [ "$WANT" -lt "$HAVE" ]; then
		bad "containerd $VERSION is older than the package's $PACKAGED: $TAKE"
	elif [ $((WANT / 1000)) -gt $((HAVE / 1000)) ]; then
		allowed minor || bad "containerd $VERSION is of a later line than the package's $PACKAGED: $TAKE, or set allowMinorUpgrade"
	fi
	[ $((WANT / 1000)) -ge $(($(number "$RUNS") / 1000)) ] || bad "containerd $VERSION is of an older line than the running $RUNS: $TAKE"
	LOST=
	for ID in $FIXES; do allowed "${ID#CVE-20}" || LOST="$LOST $ID"; done
	[ -z "$LOST" ] ||
		bad "containerd $VERSION lacks fixes of the package's $PACKAGED:$LOST$WHY: $TAKE, or add them to acceptCVE"
}

# leave_remove: lays out the way out without Pulumi, for base to install. It has no owner of its own: it removes
# whoever owns the node then.
leave_remove() {
	printf "#!/bin/sh\nROOT='%s'\nOWNER=\nset -- remove\n%s\n" "$ROOT" "$SELF" | put "$ROOT/run/berth-remove" 700
}

preflight() {
	have flock && [ -d "$ROOT/run" ] && lock 120 preflight
	check_system
	check_owner
	! have systemctl || check_containerd
	passed
	# A new up may act here again; what was on its way before the last remove may not.
	rm -f "$REMOVED"
	leave_remove
	echo "preflight ok: $ARCH, $(sed -n 's/^PRETTY_NAME=//p' "$ROOT/etc/os-release" | tr -d '"'), containerd $PACKAGED, $(exe)"
}

main() {
	case ${1-} in
	preflight | remove) "$1" ;;
	*) die "usage: preflight | remove" ;;
	esac
}
main "$@" </dev/null
