package e2e

import (
	"strings"
	"testing"
)

// drift: what somebody changed on a node is shown by a preview, and an up repairs that and nothing else.
func (s *suite) drift(t *testing.T) {
	s.needUp(t)
	worker1, worker2 := s.node(t, "worker1"), s.node(t, "worker2")
	running := s.containerds(t)

	run(t, worker1, `sed -i '/^# BEGIN berth$/,/^# END berth$/d' /etc/hosts`)
	run(t, worker2, `rm /etc/systemd/system/containerd.service.d/zz-berth.conf && systemctl daemon-reload && systemctl restart containerd`)
	shown := s.pulumi.must(t, "preview", "--diff").text()
	contains(t, "the preview", shown,
		"worker1: base is to be repaired (the block in /etc/hosts is missing)",
		"worker2: containerd is to be repaired",
		"drop-in zz-berth.conf is missing")
	if out := s.pulumi.mustFail(t, "preview", "--expect-no-changes").text(); !strings.Contains(out, "node-worker1-base") {
		t.Errorf("the preview for CI does not name the step:\n%s", out)
	}

	s.pulumi.must(t, "up", "--yes", "--skip-preview", "--diff")
	serves(t, worker1)
	serves(t, worker2)
	now := s.containerds(t)
	for _, name := range []string{"master1", "worker1"} {
		if now[name] != running[name] {
			t.Errorf("containerd of %s was touched: %+v, now %+v", name, running[name], now[name])
		}
	}
	if now["worker2"].exe != running["worker2"].exe {
		t.Errorf("worker2 runs %s, want %s", now["worker2"].exe, running["worker2"].exe)
	}
	s.pulumi.must(t, "preview", "--expect-no-changes")

	// The same again is another drift: a repair that is remembered must not hide it.
	run(t, worker1, `sed -i '/^# BEGIN berth$/,/^# END berth$/d' /etc/hosts`)
	s.pulumi.must(t, "up", "--yes", "--skip-preview")
	serves(t, worker1)
	s.pulumi.must(t, "preview", "--expect-no-changes")
}
