# shellcheck shell=sh
# Trust, hosts entry and port mapping. First a look at all that pulls by the registry's name will depend on, with nothing
# changed: the trust store, /etc/hosts, containerd's configuration, and the registry as this node sees it.

# unlisted: certificates in the bundle that no source file has. An update of the store would wipe them.
unlisted() {
	SEEN=$ROOT/run/berth.bundle
	{
		if [ "$BUNDLE" = /etc/ssl/certs/ca-certificates.crt ]; then
			# Each line with its end, which the last one of a file may lack.
			find -L "$ROOT/usr/share/ca-certificates" "$ROOT/usr/local/share/ca-certificates" -name '*.crt' -type f -exec awk 1 {} + 2>/dev/null | bodies
		else
			timeout 60 trust extract --overwrite --format=pem-bundle --filter=ca-anchors --purpose=server-auth "$SEEN"
			bodies "$SEEN"
			rm -f "$SEEN"
		fi | sed 's/^/source /'
		bodies "$ROOT$BUNDLE" | sed 's/^/bundle /'
	} | awk '$1 == "source" { known[$2] = 1; next } !($2 in known) && !seen[$2]++ { print $2 }'
}
subject() {
	{ echo -----BEGIN CERTIFICATE-----; echo "$1" | fold -w 64; echo -----END CERTIFICATE-----; } |
		x509 -subject 2>/dev/null || echo "certificate $(echo "$1" | cut -c1-64)..."
}

check_trust() {
	[ "$TRUST" = os ] || return 0
	store || {
		bad "no trust store: install ca-certificates, or set berth:certificate.trust to containerd"
		return 0
	}
	[ -z "$(mf_get ca)" ] || return 0
	[ ! -e "$ROOT$CA_FILE" ] || [ "$(cat "$ROOT$CA_FILE")" = "$CA_PEM" ] || bad "$CA_FILE is there and not from berth: move it away"
	[ -f "$ROOT$BUNDLE" ] || return 0
	for BODY in $(unlisted); do
		bad "an update would lose what only $BUNDLE has: $(subject "$BODY"): put it as a file into ${CA_FILE%/*}, run $UPDATE"
	done
}

check_hosts() {
	[ -n "$HOSTS_IP" ] || return 0
	OFF="or set berth:registry.hostsEntry to false"
	FILE=$ROOT/etc/hosts
	[ -f "$FILE" ] || {
		bad "/etc/hosts is missing"
		return 0
	}
	case $(lsattr -d "$FILE" 2>/dev/null | cut -d' ' -f1) in *i*) bad "/etc/hosts is immutable: chattr -i /etc/hosts" ;; esac
	COUNT=$(grep -cx -e '# BEGIN berth' -e '# END berth' "$FILE" || :)
	[ "$COUNT" = 0 ] || [ "$COUNT" = 2 ] || bad "/etc/hosts has half a berth block: remove its lines"
	OTHER=$(awk -v names=" $NAMES " '
		$0 == "# BEGIN berth" { on = 1 } $0 == "# END berth" { on = 0 }
		{ sub(/#.*/, "") }
		!on { for (i = 2; i <= NF; i++) if (index(tolower(names), " " tolower($i) " ")) print }' "$FILE")
	[ -z "$OTHER" ] || bad "/etc/hosts names the registry already ($OTHER): remove that line, $OFF"
	[ ! -d "$ROOT/etc/cloud" ] ||
		! grep -qsE '^ *manage_etc_hosts: *.?([Tt]rue|template|localhost)' "$ROOT/etc/cloud/cloud.cfg" "$ROOT"/etc/cloud/cloud.cfg.d/*.cfg ||
		bad "cloud-init writes /etc/hosts anew at boot: set manage_etc_hosts to false, $OFF"
	for HOST in $NAMES; do
		KNOWN=$(timeout 5 getent -s dns ahosts "$HOST" 2>/dev/null | cut -d' ' -f1 | sort -u | grep -vxF "$HOSTS_IP" || :)
		[ -z "$KNOWN" ] || say "note: DNS knows $HOST as $(oneline "$KNOWN"): this node gets the registry instead"
	done
}

# check_config: what in containerd's configuration would keep pulls from our dialer. A list of folders is as good as one.
check_config() {
	CONFIG=$(sed 's/^[[:space:]]*#.*//' "$ROOT/etc/containerd/config.toml" 2>/dev/null || :)
	has() { printf '%s\n' "$CONFIG" | grep -qE "$1"; }
	case $CONFIG in
	*btrfs*) ! has '^[[:space:]]*snapshotter *= *"btrfs"' || bad "snapshotter btrfs is not in a static containerd: use overlayfs" ;;
	esac
	ANY=$(echo "$NAMES" | tr ' ' '|')
	CERTS=
	case $CONFIG in
	*config_path*) CERTS=$(printf '%s\n' "$CONFIG" | sed -n 's/^[[:space:]]*config_path *= *["'\'']\([^"'\'']*\).*/\1/p') ;;
	esac
	case $CONFIG in
	*registry.mirrors*)
		[ -z "$CERTS" ] || bad "config.toml has both config_path and registry.mirrors: keep one"
		! has "registry\.mirrors\.[\"']?($ANY)[\"'\]]" || bad "config.toml sends $NAMES elsewhere by registry.mirrors: remove that table"
		;;
	esac
	# Mode mirror sends the registry's names to another port. The last two folders are what containerd takes from 2.2 on where
	# nothing is configured.
	for DIR in $(echo "$CERTS" | tr ':' ' ') /etc/containerd/certs.d /etc/docker/certs.d; do
		for HOST in $NAMES _default; do
			TOML=$DIR/$HOST/hosts.toml
			[ -f "$ROOT$TOML" ] || continue
			TO=$(sed -n -e 's/^[[:space:]]*server *= *//p' -e 's/^[[:space:]]*\[host\.\(.*\)\].*/\1/p' "$ROOT$TOML" |
				tr -d "\"'" | grep -vixE "(https://)?($ANY)(:[0-9]+)?/?" || :)
			[ -z "$TO" ] || bad "$TOML sends pulls to $(oneline "$TO"): remove that entry"
		done
	done
}

# check_registry: a request for each name as containerd will make it. The certificate must be valid by this machine's clock,
# which must not be far from the registry's: the next certificate will be new, too.
check_registry() {
	have openssl || {
		say "note: without openssl the registry is not asked yet"
		return 0
	}
	SEEN=$ROOT/run/berth.ca
	printf '%s\n' "$CA_PEM" >"$SEEN"
	for HOST in $NAMES; do check_name || break; done
	rm -f "$SEEN"
}

# check_name: fails where the other names need not be tried.
check_name() {
	AT=${HOSTS_IP:-$HOST}
	case $AT in *:*) AT="[$AT]" ;; esac
	AT=$AT:$NODE_PORT
	# A Service that was just made takes a moment.
	for WAIT in 1 2 4 8 0; do
		SAID=$(printf 'HEAD / HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -quiet -no-CApath -CAfile "$SEEN" -verify_return_error \
			-verify_hostname "$HOST" -servername "$HOST" -connect "$AT" 2>&1 | tr -d '\r' || :)
		case $SAID in *"verify error"* | *HTTP/*) break ;; esac
		sleep $WAIT
	done
	case $SAID in
	*"verify error"*) bad "the registry's certificate does not do for $HOST at $AT: $(printf '%s\n' "$SAID" | sed -n 's/.*verify error:num=[0-9]*://p' | sed 1q): see clock, name and CA" ;;
	*HTTP/*)
		AWAY=$(($(date +%s) - $(date -d "$(printf '%s\n' "$SAID" | sed -n 's/^Date: //p')" +%s 2>/dev/null || date +%s)))
		[ "${AWAY#-}" -le 300 ] || bad "the clock is ${AWAY#-} s away from that of the registry's node: synchronize both"
		;;
	*)
		bad "the registry does not answer at $AT: let this node reach its own NodePort"
		return 1
		;;
	esac
}

check() {
	CA_PEM=$(printf '%s\n' "$CA_PEM")
	# The access step may have led the name elsewhere, and alone knows when it may be led back.
	OWN=$HOSTS_IP LED=$(mf_get hosts-at)
	HOSTS_IP=${OWN:+${LED:-$OWN}}
	check_identity
	check_trust
	check_hosts
	check_config
	check_registry
	passed
}

# did WORD TEXT: WORD was changed just now. What an apply changed is told until one changes something again.
DID=
did() {
	DID=$DID,$1
	say "$2"
}

# extend_store: what update-ca-certificates does for one certificate more. Debian's makes the whole store anew for it, which is a quarter
# of all that a node has to do here; it finds nothing to change afterwards.
extend_store() {
	[ -f "$ROOT/etc/ca-certificates.conf" ] && [ -f "$ROOT$BUNDLE" ] && [ ! -L "$ROOT$BUNDLE" ] || return 1
	LINK=$ROOT/etc/ssl/certs/berth.pem
	ln -sf "$ROOT$CA_FILE" "$LINK"
	# All of it is read before any of it is replaced.
	if ! HASH=$(x509 -subject_hash -in "$LINK") || ! hash_link || ! awk 1 "$ROOT$BUNDLE" "$ROOT$CA_FILE" >"$STATE/bundle" ||
		! put "$ROOT$BUNDLE" 644 <"$STATE/bundle"; then
		# With the link there, the tool would take the certificate for known, and tell no hook.
		rm -f "$LINK" "$STATE/bundle"
		return 1
	fi
	rm -f "$STATE/bundle"
	hooks +/etc/ssl/certs/berth.pem
}

# hash_link: OpenSSL finds a certificate by the hash of its subject, and counts those that share one.
hash_link() {
	NTH=0
	while [ -e "${LINK%/*}/$HASH.$NTH" ] || [ -L "${LINK%/*}/$HASH.$NTH" ]; do NTH=$((NTH + 1)); done
	ln -s "${LINK##*/}" "${LINK%/*}/$HASH.$NTH"
}

trust_os() {
	if [ "$(mf_get ca)" = "$CA_FILE" ] && [ "$(cat "$ROOT$CA_FILE" 2>/dev/null)" = "$CA_PEM" ] && trusted "$ROOT$CA_FILE"; then
		return 0
	fi
	mf_drop roots
	# A changed CA under the same name would keep its old hash link, and hooks would not hear of it: out first, then in.
	untrust
	mf_set ca "$CA_FILE"
	our_dir "${CA_FILE%/*}"
	WERE=$(ls "$ROOT/etc/ssl/certs" 2>/dev/null || :)
	printf '%s\n' "$CA_PEM" | put "$ROOT$CA_FILE" 644
	extend_store || update_store
	# The update may also have made links for others' certificates.
	{ printf '%s\n' "$WERE"; echo; ls "$ROOT/etc/ssl/certs" 2>/dev/null || :; } | awk '$0 == "" { new = 1; next } !new { old[$0] = 1; next } !($0 in old)' |
		{
			set --
			while read -r LINK; do [ ! -L "$ROOT/etc/ssl/certs/$LINK" ] || set -- "$@" calink "$LINK"; done
			mf_add "$@"
		}
	trusted "$ROOT$CA_FILE" || die "$UPDATE did not take $CA_FILE into $BUNDLE"
	did ca "trusted the CA in $CA_FILE"
}

trust_scoped() {
	untrust
	mkdir -p "$ROOT$SCOPED"
	[ "$(cat "$ROOT$SCOPED/berth.crt" 2>/dev/null)" = "$CA_PEM" ] || {
		mf_drop roots
		did ca "trusted the CA in $SCOPED"
	}
	printf '%s\n' "$CA_PEM" | put "$ROOT$SCOPED/berth.crt" 600
}

hosts_apply() {
	[ -n "$HOSTS_IP" ] || {
		hosts_remove
		return
	}
	ENTRY="$HOSTS_IP $NAMES"
	[ "$COUNT" != 0 ] || [ ! -s "$FILE" ] || [ -z "$(tail -c 1 "$FILE")" ] || mf_set hosts-bare 1
	mf_set hosts "$ENTRY"
	[ "$(hosts_now)" != "$(hosts_block "$ENTRY")" ] || return 0
	if [ "$COUNT" = 0 ]; then
		{
			cat "$FILE"
			[ -z "$(mf_get hosts-bare)" ] || echo
			hosts_block "$ENTRY"
		}
	else
		awk -v entry="$ENTRY" '
			$0 == "# BEGIN berth" { print; print entry; on = 1; next }
			$0 == "# END berth" { on = 0 }
			!on' "$FILE"
	fi | hosts_write
	did hosts "$NAMES: $HOSTS_IP"
}

apply() {
	claim "base apply" check identity "$IDENTITY"
	# Images lie on the node by each name that was ever in use: none is forgotten before remove.
	set -- file "$REMOVER"
	[ "$MODE" != patch ] || set -- "$@" file "$PORTS"
	for HOST in $NAMES; do set -- "$@" registry "$HOST"; done
	mf_add "$@"
	# As the preflight has laid it out. Where it is missing, verify says so.
	[ ! -f "$ROOT/run/berth-remove" ] || our_file "$REMOVER" 700 <"$ROOT/run/berth-remove"
	if [ "$TRUST" = os ]; then
		trust_os
		rm -rf "$ROOT$SCOPED"
	else
		trust_scoped
	fi
	hosts_apply
	PAIRS="$NAMES $NODE_PORT"
	# Where containerd is the packaged one, nothing reads it.
	[ "$MODE" != patch ] || {
		[ "$(cat "$ROOT$PORTS" 2>/dev/null)" = "$(mapping "$PAIRS")" ] || did port "$NAMES: port $NODE_PORT"
		mapping "$PAIRS" | our_file "$PORTS" 644
	}
	# What verify compares with; written last, so that it says that all of this is done.
	DID=${DID#,}
	mf_set hosts-own "$OWN" ca-sum "$(sum "$ROOT$(ca_path)")" ports "$PAIRS" did "${DID:-$(mf_get did)}"
	echo "base trust=$TRUST hosts=${HOSTS_IP:-none} port=$NODE_PORT changed=$(mf_get did)"
}

main() {
	case ${1-} in
	apply) apply ;;
	*) die "usage: apply" ;;
	esac
}
main "$@" </dev/null
