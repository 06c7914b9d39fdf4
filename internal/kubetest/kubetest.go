// Package kubetest is what the stand-ins for an API server in tests have in common: how one answers, refuses and is found.
package kubetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Serve serves one request after the other, with mu held, until the test ends, and returns the URL.
func Serve(t *testing.T, mu *sync.Mutex, mux *http.ServeMux) string {
	t.Helper()
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	// A watch that is still open would not let it close.
	t.Cleanup(func() {
		served.CloseClientConnections()
		served.Close()
	})
	return served.URL
}

// Kubeconfig names the server at url in the context "test", which is not the current one.
func Kubeconfig(url string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"other",
"contexts":[{"name":"other","context":{"cluster":"no","user":"u"}},{"name":"test","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":%q}},{"name":"no","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"u","user":{}}]}`, url)
}

// Answer sends an object.
func Answer(t *testing.T, w http.ResponseWriter, object any) {
	t.Helper()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(object); err != nil {
		t.Error(err)
	}
}

// Refuse sends a Status of failure.
func Refuse(t *testing.T, w http.ResponseWriter, code int32, why metav1.StatusReason, message string, causes ...metav1.StatusCause) {
	t.Helper()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(code))
	if err := json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: why,
		Message: message, Details: &metav1.StatusDetails{Causes: causes},
	}); err != nil {
		t.Error(err)
	}
}
