package scripts

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

func TestImportImage(t *testing.T) {
	t.Parallel()
	const image = "docker.io/library/registry:3.1.2"
	eachShell(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		archive := "/var/tmp/berth/registry.tar"
		vars := func(change ...Var) []Var {
			sum := sha256.Sum256([]byte(image))
			return changed([]Var{
				{"OWNER", owner}, {"ARCHIVE", archive}, {"IMAGE", image}, {"SHA256", hex.EncodeToString(sum[:])},
			}, change)
		}
		n.fail(ImportImage, "apply", vars(), "is missing")
		n.write(archive[1:], "half", 0o600)
		n.fail(ImportImage, "apply", vars(), "is not what was sent")
		n.write(archive[1:], image, 0o600)
		n.fail(ImportImage, "apply", vars(Var{"IMAGE", "other:1"}), "holds no image named other:1")
		for range 2 {
			if got := n.run(ImportImage, "apply", vars()); got != "image="+image {
				t.Errorf("got %q", got)
			}
		}
		if got := strings.Count(n.getSim("calls"), "images import"); got != 2 {
			t.Errorf("imported %d times", got)
		}
		n.run(Anchor, "remove", anchorVars(owner))
		if got := n.getSim("images"); strings.Contains(got, image) {
			t.Errorf("images are %q", got)
		}
		n.must(os.Remove(n.root + "/var/tmp/berth"))
		n.must(os.Remove(n.root + "/var/tmp"))
		n.same(before)
		// An image that was there before stays.
		n.run(Anchor, "preflight", anchorVars(owner))
		n.setSim("images", n.getSim("images")+image+" x sha256:cc\n")
		n.write(archive[1:], image, 0o600)
		n.run(ImportImage, "apply", vars())
		n.run(Anchor, "remove", anchorVars(owner))
		if got := n.getSim("images"); !strings.Contains(got, image+" x sha256:cc") {
			t.Errorf("images are %q", got)
		}
	})
}
