package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The first word of the summary says what to do: a deletion has no other way to tell.
func TestTheVerbDecides(t *testing.T) {
	t.Parallel()
	const object = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kubeadm-config"},"data":{"ClusterConfiguration":"apiServer: {}\n"}}`
	for summary, want := range map[string]struct{ said, patched string }{
		"widen the range of NodePorts to 443 in ConfigMap kubeadm-config": {"gets 443-32767 in place of none", "value: 443-32767"},
		"restore the range of NodePorts in ConfigMap kubeadm-config":      {"has nothing of this stack", ""},
	} {
		t.Run(strings.Fields(summary)[0], func(t *testing.T) {
			t.Parallel()
			patched := ""
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPatch {
					body, _ := io.ReadAll(r.Body)
					patched = string(body)
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, object)
			}))
			defer api.Close()
			kubeconfig := `{"clusters":[{"name":"c","cluster":{"server":"` + api.URL + `"}}],"contexts":[{"name":"x","context":{"cluster":"c"}}]}`
			var out strings.Builder
			// A later berth may have written more.
			request := fmt.Sprintf(`{"kubeconfig":%q,"context":"x","stack":"dev","port":"443","more":1}`, kubeconfig)
			require.NoError(t, run(t.Context(), summary, strings.NewReader(request), &out))
			assert.Equal(t, "ConfigMap kubeadm-config in kube-system "+want.said+"\n", out.String())
			if want.patched == "" {
				assert.Empty(t, patched)
			}
			assert.Contains(t, patched, want.patched)
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		"{":                          "reading the request: unexpected EOF",
		`{"kubeconfig":"secret: ["}`: "preparing to write kubeadm-config: the kubeconfig cannot be read",
	} {
		require.EqualError(t, run(t.Context(), "widen", strings.NewReader(request), io.Discard), want)
	}
}
