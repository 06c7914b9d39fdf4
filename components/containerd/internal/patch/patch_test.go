package patch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/components/containerd/internal/patch"
)

const change = `What the patch is for.

diff --git a/dir/file.go b/dir/file.go
--- a/dir/file.go
+++ b/dir/file.go
@@ -1,3 +1,3 @@
 one
-two
+2
 three
`

const addition = `diff --git a/n b/n
new file mode 100644
--- /dev/null
+++ b/n
@@ -0,0 +1 @@
+x
`

func TestApply(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, before, patch, after, want string }{
		{name: "fits", before: "one\ntwo\nthree\n", patch: change, after: "one\n2\nthree\n"},
		{name: "other text", before: "one\n2\nthree\n", patch: change, want: "dir/file.go has other text"},
		{name: "moved by a line", before: "zero\none\ntwo\nthree\n", patch: change, want: "dir/file.go has other text"},
		{name: "other context", before: "one\ntwo\nTHREE\n", patch: change, want: "dir/file.go has other text"},
		{name: "missing file", before: "x", patch: strings.ReplaceAll(change, "file.go", "gone.go"), want: "dir/gone.go is not in this release"},
		{name: "outside", before: "x", patch: strings.ReplaceAll(change, "dir/file.go", "../x"), want: "../x"},
		{name: "empty", before: "x", patch: "words only\n", want: "changes no file"},
		{name: "cut off", before: "x", patch: change[:len(change)-8], want: "reading patch p.patch"},
		{name: "new file", before: "x", patch: addition, want: "n: only changes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			file := filepath.Join(root, "dir", "file.go")
			if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			err := patch.Apply(root, "p.patch", []byte(test.patch))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := os.ReadFile(file); string(got) != test.after {
					t.Errorf("file = %q, want %q", got, test.after)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "p.patch") {
				t.Errorf("err = %v, want %q in it", err, test.want)
			}
			if got, _ := os.ReadFile(file); string(got) != test.before {
				t.Errorf("file was changed to %q", got)
			}
		})
	}
}
