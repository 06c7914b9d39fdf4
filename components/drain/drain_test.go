package drain

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const owner = "dev/worker1"

func TestDrainAndRelease(t *testing.T) {
	t.Parallel()
	s := newServer(t,
		pod("web"), pod("finished", func(p *corev1.Pod) { bare(p); p.Status.Phase = corev1.PodSucceeded }),
		pod("proxy", func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "DaemonSet" }),
		pod("etcd", func(p *corev1.Pod) { bare(p); p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		pod("registry", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "registry", "x": "y"} }),
		pod("other-registry", func(p *corev1.Pod) { p.Namespace, p.Labels = "other", map[string]string{"app": "registry"} }),
	)
	refusals := 2
	s.refused = func(string) string {
		assert.True(t, s.node.Spec.Unschedulable, "a node is cordoned before its pods are evicted")
		if refusals--; refusals >= 0 {
			return "The budget web needs 1 healthy pods and has 1 currently"
		}
		return ""
	}
	s.conflicts = 1
	var told []string
	d := s.drainer(Options{
		GracePeriod: 30 * time.Second, SpareNamespace: "default", Spare: map[string]string{"app": "registry"},
		Tell: func(node, text string) { told = append(told, node+" "+text) },
	})
	release, err := d.Drain(t.Context(), "worker1", owner)
	require.NoError(t, err)
	assert.Equal(t, "true dev/worker1 RUN", s.cordoned())
	var evicted, left []string
	for _, e := range s.evictions {
		evicted = append(evicted, e.Namespace+"/"+e.Name)
		assert.Equal(t, "uid-"+e.Name, string(*e.DeleteOptions.Preconditions.UID), "not another pod of that name")
		assert.EqualValues(t, 30, *e.DeleteOptions.GracePeriodSeconds)
	}
	for i := range s.pods {
		left = append(left, s.pods[i].Name)
	}
	assert.ElementsMatch(t, []string{"default/web", "other/other-registry"}, evicted)
	assert.Equal(t, []string{"finished", "proxy", "etcd", "registry"}, left)
	assert.Contains(t, strings.Join(told, "\n"), "waits for default/web (Cannot evict pod as it would violate the pod's disruption budget. "+
		"The budget web needs 1 healthy pods and has 1 currently)")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.conflicts = 1
	require.NoError(t, release(ended), "an uncordon does not end with what it is for")
	assert.Equal(t, "false", s.cordoned())
}

func TestDrainThatCannotBegin(t *testing.T) {
	t.Parallel()
	s := newServer(t, pod("web"), pod("alone", bare, scratch))
	_, err := s.drainer(Options{}).Drain(t.Context(), "worker1", owner)
	require.ErrorContains(t, err, "draining node worker1: nothing is changed:")
	require.ErrorContains(t, err, "default/alone has no controller that would make it anew: delete it, or set berth:drain.force")
	require.ErrorContains(t, err, "default/alone would lose the data of its emptyDir volumes: delete it, or set berth:drain.deleteEmptyDirData")
	assert.NotContains(t, err.Error(), "default/web")
	assert.Zero(t, s.patches)
	assert.Empty(t, s.evictions)
	_, err = s.drainer(Options{Force: true, DeleteEmptyDirData: true}).Drain(t.Context(), "worker1", owner)
	require.NoError(t, err)
	assert.Len(t, s.evictions, 2)
	assert.Nil(t, s.evictions[0].DeleteOptions.GracePeriodSeconds, "each pod's own")
}

func TestDrainThatTakesTooLong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*server)
		want   string
	}{
		"a budget": {
			func(s *server) { s.refused = func(string) string { return "The budget web allows none" } },
			"default/web (Cannot evict pod as it would violate the pod's disruption budget. The budget web allows none)",
		},
		"a pod that does not end": {func(s *server) { s.lingering = true }, "default/web (is ending)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, pod("web"))
			test.change(s)
			_, err := s.drainer(Options{Timeout: 300 * time.Millisecond}).Drain(t.Context(), "worker1", owner)
			require.ErrorContains(t, err, "draining node worker1: not within 300ms: "+test.want)
			assert.Equal(t, "false", s.cordoned(), "a node that could not be drained is used again")
		})
	}
}

func TestPodsThatComeBackAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newServer(t, pod("web"))
	s.refused = func(string) string {
		s.pods = append(s.pods, pod("again"))
		return ""
	}
	_, err := s.drainer(Options{}).Drain(t.Context(), "worker1", owner)
	require.NoError(t, err)
	assert.Len(t, s.evictions, 1, "a pod that tolerates the cordon would come back for ever")
}

func TestCordonOfSomebodyElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, pod("web"))
	s.node.Spec.Unschedulable = true
	release, err := s.drainer(Options{}).Drain(t.Context(), "worker1", owner)
	require.NoError(t, err)
	assert.Len(t, s.evictions, 1)
	require.NoError(t, release(t.Context()))
	assert.Equal(t, "true", s.cordoned())
	assert.Zero(t, s.patches)
}

func TestLeftoversOfARunThatWasKilled(t *testing.T) {
	t.Parallel()
	s := newServer(t, pod("web"))
	s.node.Spec.Unschedulable = true
	s.node.Annotations = map[string]string{Annotation: owner + " KILLED"}
	d := s.drainer(Options{})
	names, err := d.Leftovers(t.Context(), "dev")
	require.NoError(t, err)
	assert.Equal(t, []string{"worker1"}, names)
	assert.Zero(t, s.patches, "a look changes nothing")
	for _, other := range []string{"prod", "de"} {
		names, err = d.Heal(t.Context(), other)
		require.NoError(t, err)
		assert.Empty(t, names, "another stack's")
	}

	// A drain takes it over, and undoes it at its end.
	release, err := d.Drain(t.Context(), "worker1", owner)
	require.NoError(t, err)
	assert.Equal(t, "true dev/worker1 RUN", s.cordoned())
	// The killed one may still live, and has lost the node.
	require.NoError(t, d.uncordon(t.Context(), "worker1", owner+" KILLED"))
	assert.Equal(t, "true dev/worker1 RUN", s.cordoned())
	require.NoError(t, release(t.Context()))
	assert.Equal(t, "false", s.cordoned())

	s.node.Spec.Unschedulable = true
	s.node.Annotations = map[string]string{Annotation: owner + " KILLED"}
	names, err = d.Heal(t.Context(), "dev")
	require.NoError(t, err)
	assert.Equal(t, []string{"worker1"}, names)
	assert.Equal(t, "false", s.cordoned())
}

func TestDrainEndsWhereAnotherRunTookTheNode(t *testing.T) {
	t.Parallel()
	s := newServer(t, pod("web"))
	s.refused = func(string) string {
		s.node.Annotations[Annotation] = owner + " LATER"
		return "none"
	}
	_, err := s.drainer(Options{}).Drain(t.Context(), "worker1", owner)
	require.ErrorIs(t, err, errTaken)
	assert.Equal(t, "true dev/worker1 LATER", s.cordoned())
}

func TestNodeThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := s.drainer(Options{})
	_, err := d.cordon(t.Context(), "worker2", "dev/worker2 RUN")
	require.ErrorContains(t, err, "GET /api/v1/nodes/worker2 is not there")
	require.NoError(t, d.uncordon(t.Context(), "worker2", "dev/worker2 RUN"), "there is nothing to undo")
}

func TestErrorsHoldNothingOfTheKubeconfig(t *testing.T) {
	t.Parallel()
	_, err := New(Cluster{Kubeconfig: "a: [secret"}, Options{})
	require.EqualError(t, err, "preparing to drain nodes: the kubeconfig cannot be read")
}
