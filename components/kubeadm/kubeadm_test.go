package kubeadm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/internal/kubeapi"
	"berth/internal/kubetest"
)

// bare is what kubeadm 1.34 writes where nobody has given the API server arguments.
const bare = `apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
controllerManager:
  extraArgs:
  - name: allocate-node-cidrs
    value: "false"
kind: ClusterConfiguration
kubernetesVersion: v1.34.4
networking:
  dnsDomain: cluster.local
`

// withArguments has these lines in place of the first.
func withArguments(lines string) string {
	return strings.Replace(bare, "apiServer: {}\n", lines, 1)
}

const (
	widest = "apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: 443-32767\n"
	older  = "apiServer:\n  extraArgs:\n    authorization-mode: Node,RBAC\n  timeoutForControlPlane: 4m0s\napiVersion: kubeadm.k8s.io/v1beta3\n"
)

func TestWidenAndRestore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before, want, said string }{
		"none": {bare, withArguments(widest), "gets 443-32767 in place of none"},
		"no apiServer": {
			strings.Replace(bare, "apiServer: {}\n", "", 1), strings.Replace(bare, "apiServer: {}\n", "", 1) + widest, "gets 443-32767 in place of none",
		},
		"nothing in apiServer": {withArguments("apiServer:\n"), withArguments(widest), "gets 443-32767 in place of none"},
		"other arguments": {
			withArguments("apiServer:\n  certSANs:\n  - a.example\n  extraArgs:\n  - name: v\n    value: \"2\"\n"),
			withArguments("apiServer:\n  certSANs:\n  - a.example\n  extraArgs:\n  - name: v\n    value: \"2\"\n  - name: service-node-port-range\n    value: 443-32767\n"),
			"gets 443-32767 in place of none",
		},
		"narrower": {
			withArguments("apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: \"30000-40000\"\n"),
			withArguments("apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: \"443-40000\"\n"), "gets 443-40000 in place of 30000-40000",
		},
		"the last counts": {
			withArguments("apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: 1-9\n  - name: service-node-port-range\n    value: 1-300\n"),
			withArguments("apiServer:\n  extraArgs:\n  - name: service-node-port-range\n    value: 1-9\n  - name: service-node-port-range\n    value: 1-443\n"),
			"gets 1-443 in place of 1-300",
		},
		"an older version": {
			older, strings.Replace(older, "Node,RBAC\n", "Node,RBAC\n    service-node-port-range: 443-32767\n", 1), "gets 443-32767 in place of none",
		},
		"an older version without arguments": {
			"apiServer:\n  timeoutForControlPlane: 4m0s\napiVersion: kubeadm.k8s.io/v1beta3\n",
			"apiServer:\n  timeoutForControlPlane: 4m0s\n  extraArgs:\n    service-node-port-range: 443-32767\napiVersion: kubeadm.k8s.io/v1beta3\n",
			"gets 443-32767 in place of none",
		},
		"written by hand": {
			"# ours\nkind: ClusterConfiguration\napiServer: {extraArgs: [{name: v, value: '2'}]} # x\n",
			"# ours\nkind: ClusterConfiguration\napiServer: {extraArgs: [{name: v, value: '2'}, {name: service-node-port-range, value: 443-32767}]} # x\n",
			"gets 443-32767 in place of none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, test.before)
			config := s.config("dev")
			said, err := config.Widen(t.Context(), 443)
			require.NoError(t, err)
			assert.Equal(t, "ConfigMap kubeadm-config in kube-system "+test.said, said)
			assert.Equal(t, test.want, s.text())
			patches := s.patches
			said, err = config.Widen(t.Context(), 443)
			require.NoError(t, err)
			assert.Contains(t, said, "kube-system has ")
			assert.NotContains(t, said, "not berth's")
			assert.Equal(t, patches, s.patches, "a second run changes nothing")
			s.conflicts = 2
			_, err = s.config("dev").Restore(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.before, s.text())
			assert.Empty(t, s.object.Annotations)
			said, err = config.Restore(t.Context())
			require.NoError(t, err)
			assert.Contains(t, said, "has nothing of this stack")
		})
	}
}

// TestAfterAnUpgrade: kubeadm has written all of it anew, in a later version of its API.
func TestAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	s := newServer(t, older)
	config := s.config("dev")
	_, err := config.Widen(t.Context(), 443)
	require.NoError(t, err)
	const upgraded = "apiServer:\n  extraArgs:\n  - name: authorization-mode\n    value: Node,RBAC\n  - name: service-node-port-range\n" +
		"    value: 443-32767\napiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: v1.35.0\n"
	s.setText(upgraded)
	said, err := config.Widen(t.Context(), 443)
	require.NoError(t, err)
	assert.Contains(t, said, "has 443-32767")
	_, err = config.Restore(t.Context())
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(upgraded, "  - name: service-node-port-range\n    value: 443-32767\n", "", 1), s.text())

	s = newServer(t, bare)
	_, err = s.config("dev").Widen(t.Context(), 443)
	require.NoError(t, err)
	s.setText(strings.Replace(s.text(), "v1.34.4", "v1.35.0", 1))
	_, err = s.config("dev").Restore(t.Context())
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(bare, "v1.34.4", "v1.35.0", 1), s.text(), "nothing of the argument is left, and nothing else is gone")
}

// TestOthers leaves alone what somebody else has written, before us or after.
func TestOthers(t *testing.T) {
	t.Parallel()
	theirs := strings.Replace(withArguments(widest), "443-32767", "1-65535", 1)
	s := newServer(t, theirs)
	said, err := s.config("dev").Widen(t.Context(), 443)
	require.NoError(t, err)
	assert.Contains(t, said, "has 1-65535, which is not berth's")
	_, err = s.config("dev").Restore(t.Context())
	require.NoError(t, err)
	assert.Equal(t, theirs, s.text())
	assert.Zero(t, s.patches)

	s = newServer(t, bare)
	_, err = s.config("dev").Widen(t.Context(), 443)
	require.NoError(t, err)
	_, err = s.config("other").Widen(t.Context(), 443)
	require.NoError(t, err)
	said, err = s.config("other").Restore(t.Context())
	require.NoError(t, err)
	assert.Contains(t, said, "has nothing of this stack")
	assert.Equal(t, withArguments(widest), s.text(), "another stack has not written it")
	s.setText(theirs)
	said, err = s.config("dev").Restore(t.Context())
	require.NoError(t, err)
	assert.Contains(t, said, "has 1-65535, which is not berth's 443-32767: it stays")
	assert.Equal(t, theirs, s.text())
	assert.Empty(t, s.object.Annotations)

	s = newServer(t, bare)
	_, err = s.config("dev").Widen(t.Context(), 443)
	require.NoError(t, err)
	s.setText(theirs)
	_, err = s.config("dev").Widen(t.Context(), 443)
	require.NoError(t, err)
	assert.Empty(t, s.object.Annotations, "it is theirs now")
}

func TestNothingOfKubeadms(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"gone", ""} {
		s := newServer(t, text)
		s.gone = text == "gone"
		for _, do := range []func() (string, error){
			func() (string, error) { return s.config("dev").Widen(t.Context(), 443) },
			func() (string, error) { return s.config("dev").Restore(t.Context()) },
		} {
			said, err := do()
			require.NoError(t, err)
			assert.Contains(t, said, "this cluster is none of kubeadm's")
		}
		assert.Zero(t, s.patches)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: [":      "ConfigMap kubeadm-config in kube-system: it is no ClusterConfiguration that can be read",
		"- a":       "it is no ClusterConfiguration that can be read",
		"# nothing": "it is no ClusterConfiguration that can be read",
		"apiServer: {extraArgs: {service-node-port-range: 30000+2767}}":             `service-node-port-range is "30000+2767": write it as FROM-TO`,
		"apiServer: {extraArgs: {service-node-port-range: 99999999999999999999-1}}": `service-node-port-range is "99999999999999999999-1"`,
	} {
		s := newServer(t, text)
		_, err := s.config("dev").Widen(t.Context(), 443)
		require.ErrorContains(t, err, want)
		assert.Zero(t, s.patches)
	}
	s := newServer(t, bare)
	s.conflicts = 100
	_, err := s.config("dev").Widen(t.Context(), 443)
	require.ErrorContains(t, err, "ConfigMap kubeadm-config in kube-system: ")
	_, err = New(kubeapi.Cluster{Kubeconfig: "secret: ["}, "dev")
	require.EqualError(t, err, "preparing to write kubeadm-config: the kubeconfig cannot be read")
}

// server is as much of an API server as this package asks: one ConfigMap, which a merge patch changes.
type server struct {
	t         *testing.T
	url       string
	mu        sync.Mutex
	object    corev1.ConfigMap
	gone      bool
	patches   int
	conflicts int
}

func newServer(t *testing.T, text string) *server {
	t.Helper()
	s := &server{t: t, object: corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: "uid-1", ResourceVersion: "1"},
		Data:       map[string]string{key: text},
	}}
	const path = " /api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	mux := http.NewServeMux()
	mux.HandleFunc("GET"+path, func(w http.ResponseWriter, _ *http.Request) {
		if s.gone {
			kubetest.Refuse(s.t, w, http.StatusNotFound, metav1.StatusReasonNotFound, "NotFound")
			return
		}
		kubetest.Answer(s.t, w, s.object)
	})
	mux.HandleFunc("PATCH"+path, s.patch)
	s.url = kubetest.Serve(t, &s.mu, mux)
	return s
}

func (s *server) config(stack string) *Config {
	s.t.Helper()
	config, err := New(kubeapi.Cluster{Kubeconfig: kubetest.Kubeconfig(s.url), Context: "test"}, stack)
	require.NoError(s.t, err)
	return config
}

func (s *server) text() string { return s.object.Data[key] }

// setText is somebody else's change.
func (s *server) setText(text string) {
	s.object.Data[key] = text
	s.bump()
}

func (s *server) bump() {
	version, err := strconv.Atoi(s.object.ResourceVersion)
	if err != nil {
		s.t.Error(err)
	}
	s.object.ResourceVersion = strconv.Itoa(version + 1)
}

func (s *server) patch(w http.ResponseWriter, r *http.Request) {
	assert.Equal(s.t, string(types.MergePatchType), r.Header.Get("Content-Type"))
	var p struct {
		Metadata struct {
			ResourceVersion string             `json:"resourceVersion"`
			UID             types.UID          `json:"uid"`
			Annotations     map[string]*string `json:"annotations"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&p))
	assert.Equal(s.t, s.object.UID, p.Metadata.UID)
	if s.conflicts > 0 {
		s.conflicts--
		s.bump()
	}
	if p.Metadata.ResourceVersion != s.object.ResourceVersion {
		kubetest.Refuse(s.t, w, http.StatusConflict, metav1.StatusReasonConflict, "Conflict")
		return
	}
	s.patches++
	for name, text := range p.Metadata.Annotations {
		if text == nil {
			delete(s.object.Annotations, name)
			continue
		}
		if s.object.Annotations == nil {
			s.object.Annotations = map[string]string{}
		}
		s.object.Annotations[name] = *text
	}
	for name, text := range p.Data {
		s.object.Data[name] = text
	}
	s.bump()
	kubetest.Answer(s.t, w, s.object)
}
