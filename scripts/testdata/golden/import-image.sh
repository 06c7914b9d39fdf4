set -eu
umask 077
LC_ALL=C
PATH="${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH
trap '' PIPE
STATE=$ROOT/var/lib/berth
MANIFEST=$STATE/manifest
LOCK=$ROOT/run/berth.lock
REMOVED=$ROOT/run/berth.removed
PORTS=/etc/containerd/berth.ports
SCOPED=/var/lib/berth/trust
say() { printf 'berth: %s\n' "$*" >&2 || :; }
die() {
say "$*"
exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
sum() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }
label() { ! have restorecon || restorecon "$1" 2>/dev/null || :; }
put() {
cat >"$1.berth-tmp" && chmod "$2" "$1.berth-tmp" || return 1
if cmp -s "$1" "$1.berth-tmp" && [ -n "$(find "$1" -prune -perm "$2")" ]; then
rm -f "$1.berth-tmp"
else
mv -f "$1.berth-tmp" "$1" && label "$1"
fi
}
mf_get() { [ ! -f "$MANIFEST" ] || sed -n "s/^$1 //p" "$MANIFEST"; }
mf_drop() {
[ ! -f "$MANIFEST" ] || { grep -v "^$1 " "$MANIFEST" || :; } | put "$MANIFEST" 600
}
mf_set() {
[ "$(mf_get "$1")" != "$2" ] || return 0
{ [ ! -f "$MANIFEST" ] || grep -v "^$1 " "$MANIFEST" || :; printf '%s %s\n' "$1" "$2"; } | put "$MANIFEST" 600
}
lock() {
exec 9>>"$LOCK"
if ! flock -n 9; then
say "waiting up to $1 s for $(cat "$LOCK")"
flock -w "$1" 9 || die "this node is still held by $(cat "$LOCK") after $1 s; see whether it hangs"
fi
printf '%s\n' "$2 of $OWNER (pid $$, since $(date -u +%H:%M:%S) UTC)" >"$LOCK"
}
removed() { cat "$REMOVED" 2>/dev/null || :; }
mf_add() {
grep -qxF "$1 $2" "$MANIFEST" 2>/dev/null ||
{ [ ! -f "$MANIFEST" ] || cat "$MANIFEST"; printf '%s %s\n' "$1" "$2"; } | put "$MANIFEST" 600
}
our_dir() {
[ -n "$1" ] && [ ! -d "$ROOT$1" ] || return 0
our_dir "${1%/*}"
mf_add dir "$1"
mkdir "$ROOT$1" && chmod 755 "$ROOT$1" && label "$ROOT$1"
}
our_file() {
our_dir "${1%/*}"
mf_add file "$1"
put "$ROOT$1" "$2"
}
claim() {
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || die "not root on this node: use root or a user with passwordless sudo"
MARK=$(removed)
lock 300 "$1"
[ "$MARK" = "$(removed)" ] || die "berth was removed from this node while this step waited: nothing is changed; run pulumi up again"
SINCE=${MARK%% *}
AGE=$(($(date +%s) - ${SINCE:-0}))
[ -z "$SINCE" ] || [ "$AGE" -lt 0 ] || [ "$AGE" -ge 300 ] ||
die "berth was removed from this node $AGE s ago: nothing is changed; run pulumi up again in $((300 - AGE)) s"
HOLDER=$(mf_get owner)
[ -z "$HOLDER" ] || [ "${HOLDER%/*}" = "${OWNER%/*}" ] ||
die "this node belongs to $HOLDER: destroy that stack, or run berth-remove on the node, before $OWNER takes it"
mkdir -p "$STATE"
chmod 700 "$STATE"
mf_set owner "$OWNER"
mf_set applies $(($(mf_get applies) + 1))
}
names() { timeout 30 ctr -n k8s.io images ls -q; }
present() { names | grep -qxF "$IMAGE"; }
apply() {
claim "import-image apply"
[ "$(mf_get imported)" != "$SHA256 $ARCHIVE" ] || ! present || {
echo "image=$IMAGE"
return
}
[ -f "$ROOT$ARCHIVE" ] || die "$ARCHIVE is missing: the upload failed"
[ "$(sum "$ROOT$ARCHIVE")" = "${SHA256#sha256:}" ] || die "$ARCHIVE is not what was sent: run pulumi up again"
mf_add file "$ARCHIVE"
present || mf_add image "$IMAGE"
WERE=$(names)
timeout 300 ctr -n k8s.io images import "$ROOT$ARCHIVE" >/dev/null || die "containerd does not import $ARCHIVE"
names | while read -r NAME; do printf '%s\n' "$WERE" | grep -qxF "$NAME" || mf_add image "$NAME"; done
present || die "$ARCHIVE holds no image named $IMAGE: it has to be tagged with exactly that name"
timeout 30 ctr -n k8s.io images label "$IMAGE" io.cri-containerd.pinned=pinned >/dev/null || say "$IMAGE could not be pinned"
mf_set imported "$SHA256 $ARCHIVE"
say "imported $IMAGE"
echo "image=$IMAGE"
}
main() {
case ${1-} in
apply) apply ;;
*) die "usage: apply" ;;
esac
}
main "$@" </dev/null
