package e2e

import (
	"testing"
	"time"
)

// usersDay: push with a standard client, run by plain name, lose the registry's pod.
func (s *suite) usersDay(t *testing.T) {
	s.needUp(t)
	s.push(t, s.newImage(t), "day:v1")
	digest, err := s.inspect(t, "day:v1")
	check(t, err)

	// worker2 has nothing of this image: its layer was made a moment ago.
	plain := registryHost + "/day:v1"
	day := pod{name: unique("day"), node: "worker2", image: plain, pullSecret: pullSecret}
	s.kube.running(t, day)
	contains(t, "the kubelet's events", s.kube.events(t, day.name), "Successfully pulled image \""+plain+"\"")
	s.kube.remove(t, day.name)

	old := s.kube.must(t, "", "get", "pods", "-n", "default", "-l", "app=docker-registry", "-o", "name")
	s.kube.must(t, "", "delete", "-n", "default", old)
	s.kube.must(t, "", "rollout", "status", "deployment/docker-registry", "-n", "default", "--timeout=90s")
	if now := s.kube.must(t, "", "get", "pods", "-n", "default", "-l", "app=docker-registry", "-o", "name"); now == old {
		t.Errorf("the registry's pod is still %s", old)
	}
	eventually(t, 30*time.Second, func() string {
		now, err := s.inspect(t, "day:v1")
		switch {
		case err != nil:
			return err.Error()
		case now != digest:
			return "the image was " + digest + " and is " + now
		}
		return ""
	})
	day.name, day.node = unique("day"), "worker1"
	s.kube.running(t, day)
	s.kube.remove(t, day.name)
}
