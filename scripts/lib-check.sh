# shellcheck shell=sh
# Checks before anything is changed: all that is wrong is said, then the script ends.

FAILED=
bad() {
	printf '%s\n' "$*" | sed 's/^/berth: preflight: /' >&2
	FAILED=1
}
oneline() { printf '%s' "$1" | tr '\n' ' '; }
passed() { [ -z "$FAILED" ] || die "preflight failed: nothing is changed on this node"; }
