# shellcheck shell=sh
# The drop-in that makes the unit run our binary, for the script that writes it and the one that compares.

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
