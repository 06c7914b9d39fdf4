package drain

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
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/internal/kubetest"
)

// server is as much of an API server as a drain asks: Nodes that are patched, Pods that are listed and evicted.
type server struct {
	t    *testing.T
	url  string
	mu   sync.Mutex
	node corev1.Node
	pods []corev1.Pod
	// refused says for a pod why it may not be evicted now; "" lets it go.
	refused func(pod string) string
	// lingering pods stay when they are evicted.
	lingering bool
	// conflicts is how many patches meet a change that came before.
	conflicts int
	evictions []policyv1.Eviction
	patches   int
}

func newServer(t *testing.T, pods ...corev1.Pod) *server {
	t.Helper()
	s := &server{t: t, pods: pods, refused: func(string) string { return "" }}
	s.node = corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker1", UID: "uid-worker1", ResourceVersion: "1"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		kubetest.Answer(s.t, w, corev1.NodeList{Items: []corev1.Node{s.node}})
	})
	mux.HandleFunc("GET /api/v1/nodes/worker1", func(w http.ResponseWriter, _ *http.Request) { kubetest.Answer(s.t, w, s.node) })
	mux.HandleFunc("PATCH /api/v1/nodes/worker1", s.patch)
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "spec.nodeName=worker1", r.URL.Query().Get("fieldSelector"))
		kubetest.Answer(s.t, w, corev1.PodList{Items: s.pods})
	})
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/pods/{name}/eviction", s.evict)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		kubetest.Refuse(s.t, w, http.StatusNotFound, metav1.StatusReasonNotFound, r.Method+" "+r.URL.Path+" is not there")
	})
	s.url = kubetest.Serve(t, &s.mu, mux)
	return s
}

func (s *server) patch(w http.ResponseWriter, r *http.Request) {
	var change struct {
		Metadata struct {
			ResourceVersion string             `json:"resourceVersion"`
			UID             types.UID          `json:"uid"`
			Annotations     map[string]*string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			Unschedulable *bool `json:"unschedulable"`
		} `json:"spec"`
	}
	assert.Equal(s.t, "application/merge-patch+json", r.Header.Get("Content-Type"))
	assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&change))
	if s.conflicts > 0 {
		s.conflicts--
		s.node.ResourceVersion += "0"
	}
	if change.Metadata.ResourceVersion != s.node.ResourceVersion || change.Metadata.UID != s.node.UID {
		kubetest.Refuse(s.t, w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
		return
	}
	s.patches++
	s.node.ResourceVersion += "1"
	s.node.Spec.Unschedulable = change.Spec.Unschedulable != nil && *change.Spec.Unschedulable
	for key, value := range change.Metadata.Annotations {
		if value == nil {
			delete(s.node.Annotations, key)
			continue
		}
		metav1.SetMetaDataAnnotation(&s.node.ObjectMeta, key, *value)
	}
	kubetest.Answer(s.t, w, s.node)
}

func (s *server) evict(w http.ResponseWriter, r *http.Request) {
	var eviction policyv1.Eviction
	assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&eviction))
	i := slices.IndexFunc(s.pods, func(p corev1.Pod) bool { return name(&p) == r.PathValue("namespace")+"/"+r.PathValue("name") })
	if i < 0 {
		kubetest.Refuse(s.t, w, http.StatusNotFound, metav1.StatusReasonNotFound, "no such pod")
		return
	}
	if why := s.refused(name(&s.pods[i])); why != "" {
		kubetest.Refuse(s.t, w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests,
			"Cannot evict pod as it would violate the pod's disruption budget.", metav1.StatusCause{Message: why})
		return
	}
	s.evictions = append(s.evictions, eviction)
	if s.lingering {
		now := metav1.Now()
		s.pods[i].DeletionTimestamp = &now
	} else {
		s.pods = slices.Delete(s.pods, i, i+1)
	}
	w.WriteHeader(http.StatusCreated)
	kubetest.Answer(s.t, w, metav1.Status{Status: metav1.StatusSuccess})
}

// cordoned says whether the node is, and by whom.
func (s *server) cordoned() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(fmt.Sprintf("%t %s", s.node.Spec.Unschedulable, s.node.Annotations[Annotation]))
}

func (s *server) drainer(options Options) *Drainer {
	s.t.Helper()
	if options.Timeout == 0 {
		options.Timeout = time.Minute
	}
	d, err := New(Cluster{Kubeconfig: kubetest.Kubeconfig(s.url), Context: "test"}, options)
	require.NoError(s.t, err)
	d.run, d.pause = "RUN", time.Millisecond
	return d
}

// pod makes a pod of a ReplicaSet, changed by edits.
func pod(name string, edits ...func(*corev1.Pod)) corev1.Pod {
	yes := true
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "default", UID: types.UID("uid-" + name),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", Controller: &yes}},
	}}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func bare(p *corev1.Pod) { p.OwnerReferences = nil }

func scratch(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
}
