# shellcheck shell=sh
# What base installs, for the script that installs it and the one that compares.

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

# mapping "HOST PORT"
mapping() { printf '# Ports that containerd dials in place of 443. Written by berth.\n%s\n' "$1"; }
