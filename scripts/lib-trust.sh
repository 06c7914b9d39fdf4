# shellcheck shell=sh
# The trust store of the operating system.

# shellcheck disable=SC2034 # base.sh uses what store sets
# store: sets CA_FILE, BUNDLE and UPDATE for the family of this system.
store() {
	if have update-ca-trust && [ -d "$ROOT/etc/pki/ca-trust/source/anchors" ]; then
		CA_FILE=/etc/pki/ca-trust/source/anchors/berth.crt
		BUNDLE=/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
		UPDATE=update-ca-trust
	elif have update-ca-trust && [ -d "$ROOT/etc/ca-certificates/trust-source/anchors" ]; then
		CA_FILE=/etc/ca-certificates/trust-source/anchors/berth.crt
		BUNDLE=/etc/ca-certificates/extracted/tls-ca-bundle.pem
		UPDATE=update-ca-trust
	elif have update-ca-certificates && [ -d "$ROOT/etc/pki/trust/anchors" ]; then
		CA_FILE=/etc/pki/trust/anchors/berth.pem
		BUNDLE=/var/lib/ca-certificates/ca-bundle.pem
		UPDATE=update-ca-certificates
	elif have update-ca-certificates && [ -d "$ROOT/etc/ssl/certs" ]; then
		CA_FILE=/usr/local/share/ca-certificates/berth.crt
		BUNDLE=/etc/ssl/certs/ca-certificates.crt
		UPDATE=update-ca-certificates
	else
		return 1
	fi
}
update_store() { SAID=$(timeout 120 "$UPDATE" 2>&1) || die "$UPDATE failed: $SAID"; }

# links: names in /etc/ssl/certs that lead to our certificate.
# shellcheck disable=SC2012 # names in that folder are plain, and find -lname is not everywhere
links() { ls -l "$ROOT/etc/ssl/certs" | awk '$NF ~ /(^|\/|ca-cert-)berth\.(pem|crt)$/ { print $(NF - 2) }'; }

# untrust: takes our CA out of the store. The link of a certificate that is gone would stay, and hooks (Java's keystore)
# would not hear of it, so both are done here.
untrust() {
	CA_WAS=$(mf_get ca)
	[ -n "$CA_WAS" ] || return 0
	store || die "the tool of the trust store is gone: install ca-certificates again"
	rm -f "$ROOT$CA_WAS" "$ROOT$CA_WAS.berth-tmp"
	if [ "$BUNDLE" = /etc/ssl/certs/ca-certificates.crt ]; then
		for LINK in $(links) $(mf_get calink); do rm -f "$ROOT/etc/ssl/certs/$LINK"; done
		update_store
		[ ! -d "$ROOT/etc/ca-certificates/update.d" ] || ! have run-parts ||
			run-parts --test -- "$ROOT/etc/ca-certificates/update.d" | while read -r HOOK; do
				echo -/etc/ssl/certs/berth.pem | timeout 120 "$HOOK" >/dev/null 2>&1 || say "$HOOK failed"
			done
	else
		update_store
	fi
	mf_drop ca
	mf_drop calink
	say "took the CA out of the trust store"
}
