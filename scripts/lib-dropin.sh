# shellcheck shell=sh
# The patched programs and the drop-in that makes the unit run them, for the script that installs them and the one that compares.

# programs: sets where VERSION lies.
programs() {
	BIN=/usr/local/bin/containerd-berth-$VERSION
	CTR=/usr/local/bin/ctr-berth-$VERSION
}

# inodes: which inodes the programs have, and when they changed last; nothing where one is missing.
# shellcheck disable=SC2086 # on one line
inodes() { FOUND=$(stat -c '%i %s %z' "$ROOT$BIN" "$ROOT$CTR" 2>/dev/null) && echo $FOUND; }

# sums FILE...: their SHA-256, on one line. Not every sha256sum uses the processor's own instructions for it: for files of this size
# openssl, although it takes longer to start, is six times as fast then.
sums() {
	{ openssl dgst -sha256 -r "$@" || sha256sum "$@"; } 2>/dev/null | {
		HASHES=
		while read -r HASH _; do HASHES="$HASHES${HASHES:+ }$HASH"; done
		echo "$HASHES"
	}
}

# intact: the programs are as they were installed. What nobody has written to since is not read: it has 60 MB.
intact() {
	NOW=$(inodes) || return 1
	[ "$NOW" = "$(mf_get inodes)" ] || [ "$(sums "$ROOT$BIN" "$ROOT$CTR")" = "$(mf_get sums)" ]
}

environment() { fact Environment | tr ' ' '\n' | sed -n "s/^\"*$1=//p" | tr -d '"'; }

# dropin BINARY: the arguments of the packaged unit, word for word, with another binary.
dropin() {
	echo "# Written by berth; berth-remove takes it away."
	echo "[Service]"
	# containerd finds its shims in PATH, else beside its own binary, which is ours now.
	if ! grep -s '^Environment="PATH=' "$ROOT$DROPIN"; then
		WAY=$(environment PATH)
		WAY=${WAY:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
		case :$WAY: in
		*":${STOCK%/*}:"*) ;;
		*) [ ! -e "$ROOT${STOCK%/*}/containerd-shim-runc-v2" ] || echo "Environment=\"PATH=$WAY:${STOCK%/*}\"" ;;
		esac
	fi
	if [ "$TRUST" = containerd ]; then
		FOLDERS=$(environment SSL_CERT_DIR)
		FOLDERS=${FOLDERS:-/etc/ssl/certs:/etc/pki/tls/certs}
		echo "Environment=\"SSL_CERT_DIR=${FOLDERS%:"$SCOPED"}:$SCOPED\""
	fi
	echo "ExecStart="
	echo "ExecStart=$1$ARGS"
}
