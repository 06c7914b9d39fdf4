package verification

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"berth/internal/kubeapi"
	"berth/internal/kubetest"
)

// manifest is a Job as Pulumi has it.
const manifest = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"node-worker1-verify-1a2b","namespace":"default",
"labels":{"app":"berth-verify"}},
"spec":{"activeDeadlineSeconds":90,"template":{"spec":{"nodeName":"worker1","containers":[{"name":"verify-0"},{"name":"verify-1"}]}}}}`

const uid = types.UID("uid-of-the-pod")

// server is as much of an API server as a verification asks: Jobs that are applied, patched and deleted, and watches, each of
// which sends what it is given and ends, as a server may end any.
type server struct {
	t *testing.T

	mu sync.Mutex
	// pods and events are what one watch after the other sends; the last one stays open.
	pods, events [][]watch.Event
	// eventsForbidden: the kubeconfig has no right to read events.
	eventsForbidden bool
	// unanswered is how many calls find a server that cannot just now.
	unanswered int
	// calls are what was asked for, but for watches.
	calls []string
	url   string
}

func newServer(t *testing.T, s *server) *server {
	t.Helper()
	s.t = t
	const jobs = "/apis/batch/v1/namespaces/default/jobs"
	mux := http.NewServeMux()
	mux.HandleFunc("PATCH "+jobs+"/{name}", s.patch)
	mux.HandleFunc("DELETE "+jobs+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		var options metav1.DeleteOptions
		assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&options))
		s.calls = append(s.calls, fmt.Sprintf("delete %s %s", r.PathValue("name"), *options.PropagationPolicy))
		kubetest.Answer(s.t, w, metav1.Status{Status: metav1.StatusSuccess})
	})
	mux.HandleFunc("GET /api/v1/namespaces/default/pods", func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "job-name=node-worker1-verify-1a2b", r.URL.Query().Get("labelSelector"))
		s.send(w, r, &s.pods)
	})
	mux.HandleFunc("GET /api/v1/namespaces/default/events", func(w http.ResponseWriter, r *http.Request) {
		if s.eventsForbidden {
			kubetest.Refuse(s.t, w, http.StatusForbidden, metav1.StatusReasonForbidden, "Forbidden")
			return
		}
		assert.Equal(t, "involvedObject.uid="+string(uid), r.URL.Query().Get("fieldSelector"))
		s.send(w, r, &s.events)
	})
	s.url = kubetest.Serve(t, &s.mu, mux)
	return s
}

func (s *server) patch(w http.ResponseWriter, r *http.Request) {
	if s.unanswered > 0 {
		s.unanswered--
		kubetest.Refuse(s.t, w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "ServiceUnavailable")
		return
	}
	var change struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec map[string]any `json:"spec"`
	}
	assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&change))
	switch r.Header.Get("Content-Type") {
	case "application/apply-patch+yaml":
		assert.Equal(s.t, FieldManager, r.URL.Query().Get("fieldManager"))
		assert.InDelta(s.t, 600, change.Spec["ttlSecondsAfterFinished"], 0, "what a killed run leaves goes by itself")
		assert.InDelta(s.t, 90, change.Spec["activeDeadlineSeconds"], 0)
		s.calls = append(s.calls, "apply "+r.PathValue("name"))
	case "application/merge-patch+json":
		s.calls = append(s.calls, "pulled "+change.Metadata.Annotations[PulledAnnotation])
	default:
		assert.Fail(s.t, "a patch of another kind")
	}
	kubetest.Answer(s.t, w, batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}})
}

// send answers one watch with the next of what there is.
func (s *server) send(w http.ResponseWriter, r *http.Request, from *[][]watch.Event) {
	assert.Equal(s.t, "true", r.URL.Query().Get("watch"))
	var now []watch.Event
	if len(*from) > 0 {
		now = (*from)[0]
		*from = (*from)[1:]
	}
	w.Header().Set("Content-Type", "application/json")
	lines := json.NewEncoder(w)
	for _, e := range now {
		if err := lines.Encode(map[string]any{"type": e.Type, "object": e.Object}); err != nil {
			s.t.Error(err)
		}
	}
	w.(http.Flusher).Flush()
	if len(*from) == 0 {
		s.mu.Unlock()
		<-r.Context().Done()
		s.mu.Lock()
	}
}

func (s *server) verifier(told *[]string) *Verifier {
	s.t.Helper()
	v, err := New(kubeapi.Cluster{Kubeconfig: kubetest.Kubeconfig(s.url), Context: "test"}, Options{Tell: func(node, text string) {
		*told = append(*told, node+": "+text)
	}})
	require.NoError(s.t, err)
	v.pause = time.Millisecond
	return v
}

// asked are the calls but for watches.
func (s *server) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, ", ")
}

// pod is one that is watched, changed by edits.
func pod(kind watch.EventType, edits ...func(*corev1.Pod)) watch.Event {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "pod", UID: uid}}
	p.Status.Phase = corev1.PodPending
	for _, edit := range edits {
		edit(p)
	}
	return watch.Event{Type: kind, Object: p}
}

func container(name string, state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
	}
}

func ended(code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error"}}
}

func waiting(message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: message}}
}

// event is what the kubelet tells of a container.
func event(reason, container, message string) watch.Event {
	e := &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, Reason: reason, Message: message, Type: corev1.EventTypeNormal}
	e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Name: "pod", UID: uid, FieldPath: "spec.containers{" + container + "}"}
	if slices.Contains([]string{"Failed", "FailedMount", "BackOff", "DNSConfigForming", "MissingClusterDNS"}, reason) {
		e.Type = corev1.EventTypeWarning
	}
	return watch.Event{Type: watch.Added, Object: e}
}

// other has an event be of another pod.
func other(e watch.Event) watch.Event {
	e.Object.(*corev1.Event).InvolvedObject.UID += "-before"
	return e
}
