# shellcheck shell=sh
# Checks before anything is changed: all that is wrong is said, then the script ends.

FAILED=
bad() {
	printf '%s\n' "$*" | sed 's/^/berth: preflight: /' >&2
	FAILED=1
}
oneline() { printf '%s' "$1" | tr '\n' ' '; }
passed() { [ -z "$FAILED" ] || die "preflight failed: nothing is changed on this node"; }

# check_identity: whether another state of a stack of the same name has set this node up.
check_identity() {
	case $(mf_get identity) in
	"" | "$IDENTITY") ;;
	*) bad "this node belongs to $(mf_get owner) of another Pulumi state: work with the backend that has it, or run berth-remove" ;;
	esac
}
