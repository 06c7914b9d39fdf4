package verification

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"berth/internal/kubeapi"
)

const (
	quick    = `Successfully pulled image "Yuan.com/berth/verify:1" in 12ms (12ms including waiting). Image size: 1331 bytes.`
	slow     = `Successfully pulled image "images.example.com/berth/verify:1" in 1.203s (1.5s including waiting). Image size: 1331 bytes.`
	present  = `Container image "Yuan.com/berth/verify:1" already present on machine`
	unknown  = `Failed to pull image "Yuan.com/berth/verify:1": x509: certificate signed by unknown authority`
	applied  = "apply node-worker1-verify-1a2b"
	deleted  = "delete node-worker1-verify-1a2b Background"
	podGone  = "node worker1: the kubelet did not pull: its pod was deleted: "
	tryAgain = "worker1: the kubelet tries again: "
)

func TestThePullOrTheEndOfItsPod(t *testing.T) {
	t.Parallel()
	failed := func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "DeadlineExceeded" }
	for name, test := range map[string]struct {
		server *server
		asked  string
		told   []string
		err    string
	}{
		"the kubelet says that it pulled": {
			server: &server{
				pods: [][]watch.Event{{pod(watch.Added), pod(watch.Modified)}},
				events: [][]watch.Event{{
					event("Pulling", "verify-0", "Pulling image"), event(reasonPulled, "verify-0", quick),
					event(reasonPulled, "verify-1", slow),
				}},
			},
			asked: applied + ", pulled 1.203s",
		},
		"a warning that is about no pull": {
			server: &server{
				pods: [][]watch.Event{{pod(watch.Added)}},
				events: [][]watch.Event{{
					event("DNSConfigForming", "", "Nameserver limits were exceeded"), event(reasonPulled, "verify-0", quick), event(reasonPulled, "verify-1", quick),
				}},
			},
			asked: applied + ", pulled 12ms",
		},
		"a watch that ends begins with what is there": {
			server: &server{
				pods: [][]watch.Event{{pod(watch.Added)}, {}, {pod(watch.Added)}},
				events: [][]watch.Event{
					{event(reasonPulled, "verify-0", quick)},
					{event(reasonPulled, "verify-0", quick), event(reasonPulled, "verify-1", quick)},
				},
			},
			asked: applied + ", pulled 12ms",
		},
		"a server that cannot just now": {
			server: &server{
				unanswered: 2, pods: [][]watch.Event{{pod(watch.Added)}},
				events: [][]watch.Event{{event(reasonPulled, "verify-0", quick), event(reasonPulled, "verify-1", quick)}},
			},
			asked: applied + ", pulled 12ms",
		},
		"a pull that does better later": {
			server: &server{
				pods: [][]watch.Event{{pod(watch.Added)}},
				events: [][]watch.Event{{
					event("Failed", "verify-0", unknown), event("Failed", "verify-0", "Error: ErrImagePull"), event(reasonBackOff, "verify-0", "Back-off pulling"),
					event("Failed", "verify-0", unknown), event(reasonPulled, "verify-0", quick), event(reasonPulled, "verify-1", quick),
				}},
			},
			asked: applied + ", pulled 12ms", told: []string{tryAgain + unknown},
		},
		"a pull that fails until the Job's deadline": {
			server: &server{
				pods: [][]watch.Event{{pod(watch.Added), pod(watch.Modified, container("verify-0", waiting(unknown))), pod(watch.Deleted)}},
			},
			asked: applied + ", " + deleted, told: []string{tryAgain + unknown}, err: podGone + unknown,
		},
		"a pod that has failed": {
			server: &server{pods: [][]watch.Event{{pod(watch.Added, failed)}}},
			asked:  applied + ", " + deleted, err: "node worker1: the kubelet did not pull: its pod failed: DeadlineExceeded",
		},
		"a container that fails": {
			server: &server{eventsForbidden: true, pods: [][]watch.Event{{pod(watch.Added), pod(watch.Modified, container("verify-0", ended(2)))}}},
			asked:  applied + ", " + deleted, err: "node worker1: the kubelet did not pull: the container ended with 2, Error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, test.server)
			var told []string
			err := s.verifier(&told).Verify(t.Context(), []byte(manifest))
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, test.err+"; "+remedy)
			}
			assert.Equal(t, test.asked, s.asked())
			assert.Equal(t, test.told, told)
		})
	}
}

func TestWhatTheKubeletTellsAndIsNoPull(t *testing.T) {
	t.Parallel()
	w := &watcher{pod: uid, pulled: map[string]bool{}}
	for _, told := range []watch.Event{
		other(event(reasonPulled, "verify-0", quick)), event(reasonPulled, "verify-0", present), event("Started", "verify-0", "Started container"),
	} {
		w.hear(told.Object.(*corev1.Event))
	}
	assert.Empty(t, w.pulled)
	w.hear(event(reasonPulled, "verify-0", quick).Object.(*corev1.Event))
	assert.Equal(t, map[string]bool{"verify-0": true}, w.pulled)
}

func TestWithoutEventsThePodsStatusTells(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	s := newServer(t, &server{eventsForbidden: true, pods: [][]watch.Event{{
		pod(watch.Added), pod(watch.Modified, container("verify-0", ended(0))),
		pod(watch.Modified, container("verify-0", ended(0)), container("verify-1", running)),
	}}})
	require.NoError(t, s.verifier(new([]string)).Verify(t.Context(), []byte(manifest)))
	assert.Regexp(t, "^"+applied+", pulled [0-9]+(ms|s)$", s.asked(), "how long all of it took")
}

func TestAnInterruptedVerificationLeavesNoJob(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newServer(t, &server{pods: [][]watch.Event{{pod(watch.Added, container("verify-0", waiting(unknown)))}}})
	v := s.verifier(nil)
	v.options.Tell = func(string, string) { cancel() }
	err := v.Verify(ctx, []byte(manifest))
	require.EqualError(t, err, "node worker1: the kubelet did not pull: context canceled: "+unknown+"; "+remedy)
	assert.Equal(t, applied+", "+deleted, s.asked())
}

func TestErrorsBeforeAnyCall(t *testing.T) {
	t.Parallel()
	_, err := New(kubeapi.Cluster{Kubeconfig: "secret: ["}, Options{})
	require.ErrorContains(t, err, "preparing to verify nodes")
	require.NotContains(t, err.Error(), "secret")
	s := newServer(t, &server{})
	require.ErrorContains(t, s.verifier(nil).Verify(t.Context(), []byte("[]")), "reading the Job of a verification")
	assert.Empty(t, s.asked())
}
