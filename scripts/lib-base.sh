# shellcheck shell=sh
# What base installs and where, for the script that installs it and the one that compares.
# shellcheck disable=SC2034 # base.sh uses what is set here

# REMOVER is the way out without Pulumi.
REMOVER=/usr/local/sbin/berth-remove

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

# bodies FILE...: one line per certificate, its base64 text.
bodies() {
	awk '/-----BEGIN (TRUSTED )?CERTIFICATE-----/ { body = ""; on = 1; next }
		/-----END/ { if (on) print body; on = 0 }
		on { gsub(/[ \t\r]/, ""); body = body $0 }' "$@"
}
trusted() { bodies "$ROOT$BUNDLE" | grep -qxF "$(bodies "$1" | sed 1q)"; }

# ca_path: where the CA lies: in the store of the system, else for containerd alone.
ca_path() { CA_IN_STORE=$(mf_get ca) && echo "${CA_IN_STORE:-$SCOPED/berth.crt}"; }

hosts_block() { printf '# BEGIN berth\n%s\n# END berth\n' "$1"; }
hosts_now() { sed -n '/^# BEGIN berth$/,/^# END berth$/p' "$ROOT/etc/hosts" 2>/dev/null || :; }

# mapping "NAME... PORT"
mapping() {
	echo "# Ports that containerd dials in place of 443. Written by berth."
	for HOST in ${1% *}; do echo "$HOST ${1##* }"; done
}
