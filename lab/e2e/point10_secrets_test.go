package e2e

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"
)

// noSecrets judges what was collected through the whole test.
func (s *suite) noSecrets(t *testing.T) {
	if len(s.leaks.secrets) == 0 {
		s.needUp(t)
		s.leaks.collect(t, s)
	}
	// What would leak is found: a secret that is planted in a process list of a node is.
	planted := rand.Text()
	run(t, s.node(t, "worker2"), "sleep 1; : "+planted)
	s.leaks.secrets["a planted secret"] = planted
	time.Sleep(2 * samplePeriod)
	found := s.leaks.found()
	if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "a planted secret in process") }) {
		t.Error("the planted secret was not found: the search is blind")
	}
	delete(s.leaks.secrets, "a planted secret")
	for _, f := range s.leaks.found() {
		t.Error(f)
	}
	t.Logf("%d looks at the process lists; %d command lines and outputs; %d secrets", s.leaks.samples, len(s.leaks.seen), len(s.leaks.secrets))
	if s.leaks.samples < 10 || len(s.leaks.secrets) < 10 {
		t.Error("that is too little to judge by")
	}
}
