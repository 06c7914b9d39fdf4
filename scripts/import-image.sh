# shellcheck shell=sh
# Imports an image archive, uploaded before, into the containerd that Kubernetes uses.

names() { timeout 30 ctr -n k8s.io images ls -q; }
present() { names | grep -qxF "$IMAGE"; }

apply() {
	claim "import-image apply" :
	[ "$(mf_get imported)" != "$SHA256 $ARCHIVE" ] || ! present || {
		echo "image=$IMAGE"
		return
	}
	[ -f "$ROOT$ARCHIVE" ] || die "$ARCHIVE is missing: the upload failed"
	[ "$(sum "$ROOT$ARCHIVE")" = "${SHA256#sha256:}" ] || die "$ARCHIVE is not what was sent: run pulumi up again"
	mf_add file "$ARCHIVE"
	# An image that was there before is not ours to remove.
	present || mf_add image "$IMAGE"
	WERE=$(names)
	timeout 300 ctr -n k8s.io images import "$ROOT$ARCHIVE" >/dev/null || die "containerd does not import $ARCHIVE"
	names | while read -r NAME; do printf '%s\n' "$WERE" | grep -qxF "$NAME" || mf_add image "$NAME"; done
	present || die "$ARCHIVE holds no image named $IMAGE: it has to be tagged with exactly that name"
	# The kubelet must not collect the registry's own image: nowhere else to get it from.
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
