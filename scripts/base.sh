# shellcheck shell=sh
# Trust, hosts entry and port mapping.

# unlisted: certificates in the bundle that no source file has. An update of the store would wipe them.
unlisted() {
	{
		if [ "$BUNDLE" = /etc/ssl/certs/ca-certificates.crt ]; then
			find -L "$ROOT/usr/share/ca-certificates" "$ROOT/usr/local/share/ca-certificates" -name '*.crt' 2>/dev/null |
				while read -r FILE; do bodies "$FILE"; done
		else
			timeout 60 trust extract --overwrite --format=pem-bundle --filter=ca-anchors --purpose=server-auth "$STATE/bundle"
			bodies "$STATE/bundle"
			rm -f "$STATE/bundle"
		fi | sed 's/^/source /'
		bodies "$ROOT$BUNDLE" | sed 's/^/bundle /'
	} | awk '$1 == "source" { known[$2] = 1; next } !($2 in known) && !seen[$2]++ { print $2 }'
}
subject() {
	{ echo -----BEGIN CERTIFICATE-----; echo "$1" | fold -w 64; echo -----END CERTIFICATE-----; } |
		openssl x509 -noout -subject 2>/dev/null || echo "certificate $(echo "$1" | cut -c1-64)..."
}

trust_os() {
	store || die "the trust store of this system is not known: install ca-certificates, or set berth:certificate.trust to containerd"
	CA_NOW=$(mf_get ca)
	if [ "$CA_NOW" = "$CA_FILE" ] && [ "$(cat "$ROOT$CA_FILE" 2>/dev/null)" = "$CA_PEM" ] && trusted "$ROOT$CA_FILE"; then
		return 0
	fi
	[ -n "$CA_NOW" ] || [ ! -e "$ROOT$CA_FILE" ] || [ "$(cat "$ROOT$CA_FILE")" = "$CA_PEM" ] ||
		die "$CA_FILE is there and not from berth: move it away"
	if [ -f "$ROOT$BUNDLE" ] && [ -z "$CA_NOW" ]; then
		LOST=$(unlisted)
		[ -z "$LOST" ] || {
			for BODY in $LOST; do say "only in $BUNDLE: $(subject "$BODY")"; done
			die "an update of the trust store would lose the certificates above: put each as a file into ${CA_FILE%/*}, run $UPDATE, then up again"
		}
	fi
	mf_drop roots
	# A changed CA under the same name would keep its old hash link, and hooks would not hear of it: out first, then in.
	untrust
	mf_set ca "$CA_FILE"
	our_dir "${CA_FILE%/*}"
	WERE=$(ls "$ROOT/etc/ssl/certs" 2>/dev/null || :)
	printf '%s\n' "$CA_PEM" | put "$ROOT$CA_FILE" 644
	update_store
	# The update may also have made links for others' certificates.
	{ printf '%s\n' "$WERE"; echo; ls "$ROOT/etc/ssl/certs" 2>/dev/null || :; } | awk '$0 == "" { new = 1; next } !new { old[$0] = 1; next } !($0 in old)' |
		while read -r LINK; do [ ! -L "$ROOT/etc/ssl/certs/$LINK" ] || mf_add calink "$LINK"; done
	trusted "$ROOT$CA_FILE" || die "$UPDATE did not take $CA_FILE into $BUNDLE"
	say "trusted the CA in $CA_FILE"
}

trust_scoped() {
	untrust
	mkdir -p "$ROOT$SCOPED"
	[ "$(cat "$ROOT$SCOPED/berth.crt" 2>/dev/null)" = "$CA_PEM" ] || mf_drop roots
	printf '%s\n' "$CA_PEM" | put "$ROOT$SCOPED/berth.crt" 600
}

hosts_apply() {
	[ -n "$HOSTS_IP" ] || {
		hosts_remove
		return
	}
	FILE=$ROOT/etc/hosts
	[ -f "$FILE" ] || die "/etc/hosts is missing"
	ENTRY="$HOSTS_IP $REGISTRY_HOST"
	COUNT=$(grep -cx -e '# BEGIN berth' -e '# END berth' "$FILE" || :)
	[ "$COUNT" = 0 ] || [ "$COUNT" = 2 ] || die "/etc/hosts has half a berth block: remove the lines '# BEGIN berth' and '# END berth'"
	OTHER=$(awk -v name="$REGISTRY_HOST" '
		$0 == "# BEGIN berth" { on = 1 } $0 == "# END berth" { on = 0 }
		{ sub(/#.*/, "") }
		!on { for (i = 2; i <= NF; i++) if (tolower($i) == tolower(name)) print }' "$FILE")
	[ -z "$OTHER" ] || die "/etc/hosts names $REGISTRY_HOST already ($OTHER): remove that line, or set berth:registry.hostsEntry to false"
	if [ "$COUNT" = 0 ]; then
		! grep -qsE '^[ ]*manage_etc_hosts: *["'\'']?([Tt]rue|template|localhost)' "$ROOT/etc/cloud/cloud.cfg" "$ROOT"/etc/cloud/cloud.cfg.d/*.cfg ||
			die "cloud-init writes /etc/hosts anew at boot: set manage_etc_hosts to false, or berth:registry.hostsEntry to false"
		[ ! -s "$FILE" ] || [ -z "$(tail -c 1 "$FILE")" ] || mf_set hosts-bare 1
		mf_set hosts "$ENTRY"
		{
			cat "$FILE"
			[ -z "$(mf_get hosts-bare)" ] || echo
			hosts_block "$ENTRY"
		} | hosts_write
	elif [ "$(hosts_now)" != "$(hosts_block "$ENTRY")" ]; then
		mf_set hosts "$ENTRY"
		awk -v entry="$ENTRY" '
			$0 == "# BEGIN berth" { print; print entry; on = 1; next }
			$0 == "# END berth" { on = 0 }
			!on' "$FILE" | hosts_write
	else
		mf_set hosts "$ENTRY"
		return 0
	fi
	say "$REGISTRY_HOST is $HOSTS_IP in /etc/hosts"
}

# leave_remove: installs the way out without Pulumi, which the preflight has laid out.
leave_remove() {
	if [ -f "$ROOT/run/berth-remove" ]; then
		our_file /usr/local/sbin/berth-remove 700 <"$ROOT/run/berth-remove"
	elif [ ! -f "$ROOT/usr/local/sbin/berth-remove" ]; then
		say "berth-remove is not installed: the next change of the node's anchor brings it"
	fi
}

apply() {
	claim "base apply"
	CA_PEM=$(printf '%s\n' "$CA_PEM")
	mf_set registry "$REGISTRY_HOST"
	leave_remove
	case $TRUST in
	os)
		trust_os
		rm -rf "$ROOT$SCOPED"
		;;
	containerd) trust_scoped ;;
	*) die "TRUST is os or containerd" ;;
	esac
	hosts_apply
	mapping "$REGISTRY_HOST $NODE_PORT" | our_file "$PORTS" 644
	# What verify compares with; written last, so that it says that all of this is done.
	mf_set ca-sum "$(sum "$ROOT$(ca_path)")"
	mf_set ports "$REGISTRY_HOST $NODE_PORT"
	echo "base trust=$TRUST hosts=${HOSTS_IP:-none} port=$NODE_PORT"
}

main() {
	case ${1-} in
	apply) apply ;;
	*) die "usage: apply" ;;
	esac
}
main "$@" </dev/null
