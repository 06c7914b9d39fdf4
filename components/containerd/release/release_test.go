package release_test

import (
	"slices"
	"strings"
	"testing"

	"berth/components/containerd/release"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	if got := release.FullVersion("1.7.36"); got != "1.7.36+berth.1" {
		t.Errorf("FullVersion = %q", got)
	}
	if got := release.ArtifactTag("1.7.36", "arm64"); got != "1.7.36-berth.1-linux-arm64" {
		t.Errorf("ArtifactTag = %q", got)
	}
	if got := release.Lines(); !slices.Equal(got, []string{"1.6", "1.7", "2.0", "2.1", "2.2", "2.3", "2.4"}) {
		t.Errorf("Lines = %q", got)
	}
	if got := release.Versions(); !slices.Equal(got, []string{"1.6.38", "1.7.36", "2.0.14", "2.1.9", "2.2.9", "2.3.7", "2.4.2"}) {
		t.Errorf("Versions = %q", got)
	}
}

func TestSupported(t *testing.T) {
	t.Parallel()
	for _, version := range release.Versions() {
		if err := release.Supported(version); err != nil {
			t.Errorf("Supported(%q): %v", version, err)
		}
	}
	for _, test := range []struct{ version, want string }{
		{"1.7.1", "choose one of 1.6.38, 1.7.36, 2."},
		{"", "choose one of"},
		{"v1.7.36", "without the leading v (1.7.36)"},
		{"2", "choose one of"},
	} {
		if err := release.Supported(test.version); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Supported(%q) = %v, want %q in it", test.version, err, test.want)
		}
	}
	if err := release.SupportedArch("arm64"); err != nil {
		t.Error(err)
	}
	if err := release.SupportedArch("riscv64"); err == nil || !strings.Contains(err.Error(), "amd64, arm64") {
		t.Errorf("SupportedArch(riscv64) = %v", err)
	}
}
