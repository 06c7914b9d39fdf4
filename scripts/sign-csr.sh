# shellcheck shell=sh
# Signs a server certificate on the control-plane node. The CA's key never leaves it.
# The same request gets the same certificate, until GENERATION is another.

set -eu
umask 077
LC_ALL=C
PATH="${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH

die() {
	printf 'berth: %s\n' "$*" >&2
	exit 1
}

sign() {
	command -v openssl >/dev/null 2>&1 || die "openssl is missing on this node: install it"
	for FILE in "$ROOT$CA_CERT" "$ROOT$CA_KEY"; do
		[ -r "$FILE" ] || die "$FILE cannot be read: name a control-plane node that holds the cluster's CA as berth:certificate.signingNode, or give a CA as PEM"
	done
	case $SANS in *[!A-Za-z0-9.:,*_-]* | "") die "SANS has a form that is not expected" ;; esac
	case $DAYS in *[!0-9]* | "") die "DAYS is not a number" ;; esac
	openssl x509 -noout -checkend $((DAYS * 86400)) -in "$ROOT$CA_CERT" >/dev/null 2>&1 || printf 'berth: %s\n' \
		"the certificate would outlive its CA, which nobody trusts after $(openssl x509 -noout -enddate -in "$ROOT$CA_CERT" | cut -d= -f2): set berth:certificate.validityDays to less" >&2
	KEPT=$ROOT/var/lib/berth/signed-$(printf '%s\n' "$CSR_PEM" "$DAYS" "$SANS" "$GENERATION" | sha256sum | cut -c1-16).crt
	! kept || {
		openssl x509 -in "$KEPT"
		openssl x509 -in "$ROOT$CA_CERT"
		return
	}
	DIR=$(mktemp -d)
	trap 'rm -rf "$DIR"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '%s\n' "$CSR_PEM" >"$DIR/csr"
	timeout 30 openssl req -in "$DIR/csr" -noout -verify >/dev/null 2>&1 || die "the certificate request is damaged"
	printf '%s\n' 'basicConstraints = critical,CA:FALSE' 'keyUsage = critical,digitalSignature,keyEncipherment' \
		'extendedKeyUsage = serverAuth' 'subjectKeyIdentifier = hash' 'authorityKeyIdentifier = keyid' \
		"subjectAltName = $SANS" >"$DIR/ext"
	timeout 30 openssl x509 -req -sha256 -in "$DIR/csr" -CA "$ROOT$CA_CERT" -CAkey "$ROOT$CA_KEY" \
		-set_serial "0x01$(openssl rand -hex 15)" -days "$DAYS" -extfile "$DIR/ext" -out "$DIR/leaf" 2>"$DIR/said" </dev/null ||
		die "openssl did not sign: $(cat "$DIR/said")"
	keep
	openssl x509 -in "$DIR/leaf"
	openssl x509 -in "$ROOT$CA_CERT"
}

# kept: the certificate of the same request, while this CA stands behind it. What asks again may only reach the node in another
# way (a new login key, say), and another certificate would restart the registry for nothing.
kept() {
	[ -f "$KEPT" ] && openssl verify -CAfile "$ROOT$CA_CERT" "$KEPT" >/dev/null 2>&1
}
keep() {
	mkdir -p "${KEPT%/*}"
	rm -f "${KEPT%/*}"/signed-*
	cp "$DIR/leaf" "$KEPT.tmp" && mv -f "$KEPT.tmp" "$KEPT"
}

main() {
	case ${1-} in
	sign) sign ;;
	*) die "usage: sign" ;;
	esac
}
main "$@" </dev/null
