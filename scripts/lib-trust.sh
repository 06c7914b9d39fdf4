# shellcheck shell=sh
# Our CA out of the trust store of the operating system, whose kind its path tells.

# x509 ARG...: of a certificate. On its own openssl would read the whole trust store before, which takes five times as long.
x509() { SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null openssl x509 -noout "$@"; }

update_store() { SAID=$(timeout 120 "$UPDATE" 2>&1) || die "$UPDATE failed: $SAID"; }

# links: names in /etc/ssl/certs that lead to our certificate.
# shellcheck disable=SC2012 # names in that folder are plain, and find -lname is not everywhere
links() { ls -l "$ROOT/etc/ssl/certs" | awk '$NF ~ /(^|\/|ca-cert-)berth\.(pem|crt)$/ { print $(NF - 2) }'; }

# hooks LINE: tells those who keep a store of their own what came or went, in the words of update-ca-certificates.
hooks() {
	[ -d "$ROOT/etc/ca-certificates/update.d" ] && have run-parts || return 0
	run-parts --test -- "$ROOT/etc/ca-certificates/update.d" | while read -r HOOK; do
		echo "$1" | timeout 120 "$HOOK" >/dev/null 2>&1 || say "$HOOK failed"
	done
}

# untrust: takes our CA out of the store. The link of a certificate that is gone would stay, and hooks (Java's keystore)
# would not hear of it, so both are done here.
untrust() {
	CA_WAS=$(mf_get ca)
	[ -n "$CA_WAS" ] || return 0
	rm -f "$ROOT$CA_WAS" "$ROOT$CA_WAS.berth-tmp"
	UPDATE=update-ca-certificates
	case $CA_WAS in
	/usr/local/*) for LINK in $(links) $(mf_get calink); do rm -f "$ROOT/etc/ssl/certs/$LINK"; done ;;
	/etc/pki/trust/*) ;;
	*) UPDATE=update-ca-trust ;;
	esac
	update_store
	hooks -/etc/ssl/certs/berth.pem
	mf_drop ca
	mf_drop calink
}
