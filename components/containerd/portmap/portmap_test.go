package portmap

import (
	"bytes"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "portmap")
	if err != nil {
		log.Fatal(err)
	}
	File = filepath.Join(dir, "ports")
	text := "# names\nRegistry.Example 30443\n\n  second.example\t5000 # spaces\n"
	if err := os.WriteFile(File, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestDialContext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ address, want string }{
		{"registry.example:443", "registry.example:30443"},
		{"REGISTRY.EXAMPLE:443", "REGISTRY.EXAMPLE:30443"},
		{"second.example:443", "second.example:5000"},
		{"registry.example:30443", "registry.example:30443"},
		{"registry.example:80", "registry.example:80"},
		{"sub.registry.example:443", "sub.registry.example:443"},
		{"registry-1.docker.io:443", "registry-1.docker.io:443"},
		{"192.0.2.1:443", "192.0.2.1:443"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"not an address", "not an address"},
	} {
		dialled := errors.New("dialled")
		var got string
		dial := DialContext(func(_ context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" {
				t.Errorf("network = %q", network)
			}
			got = address
			return nil, dialled
		})
		if _, err := dial(context.Background(), "tcp", test.address); !errors.Is(err, dialled) {
			t.Errorf("%s: err = %v", test.address, err)
		}
		if got != test.want {
			t.Errorf("dial %s went to %s, want %s", test.address, got, test.want)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	site := &url.URL{Scheme: "http", Host: "proxy.example:3128"}
	proxy := Proxy(func(*http.Request) (*url.URL, error) { return site, nil })
	for _, test := range []struct {
		url     string
		proxied bool
	}{
		{"https://registry.example/v2/", false},
		{"https://REGISTRY.example:443/v2/", false},
		{"https://registry.example:30443/v2/", true},
		{"http://registry.example/v2/", true},
		{"https://registry-1.docker.io/v2/", true},
		{"https://192.0.2.1/v2/", true},
	} {
		request, err := http.NewRequest(http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := proxy(request)
		if err != nil || (got != nil) != test.proxied {
			t.Errorf("%s: proxy = %v, %v; want a proxy: %t", test.url, got, err, test.proxied)
		}
	}
	request, _ := http.NewRequest(http.MethodGet, "https://other.example/", nil)
	if got, err := Proxy(nil)(request); got != nil || err != nil {
		t.Errorf("without a proxy function: %v, %v", got, err)
	}
}

func TestDefaultClient(t *testing.T) {
	t.Parallel()
	transport, ok := DefaultClient.Transport.(*http.Transport)
	if !ok || transport == http.DefaultTransport {
		t.Fatalf("transport = %T, want one of its own", DefaultClient.Transport)
	}
	// Nothing listens at the port that the file gives for this name, which is asked by its mapped port.
	_, err := transport.DialContext(cancelled(), "tcp", "second.example:443")
	if operation := (*net.OpError)(nil); !errors.As(err, &operation) {
		t.Errorf("err = %v, want a dial error", err)
	}
	request, _ := http.NewRequest(http.MethodGet, "https://registry.example/", nil)
	if got, err := transport.Proxy(request); got != nil || err != nil {
		t.Errorf("proxy = %v, %v", got, err)
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestLookupFollowsTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ports")
	var m mapping
	expect := func(step, want string) {
		t.Helper()
		if got, ok := m.lookup(path, "a.example"); got != want || ok != (want != "") {
			t.Errorf("%s: lookup = %q, %t; want %q", step, got, ok, want)
		}
	}
	write := func(text string) {
		t.Helper()
		temporary := path + ".new"
		if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, path); err != nil {
			t.Fatal(err)
		}
	}
	expect("no file", "")
	write("a.example 30443\n")
	expect("written", "30443")
	write("a.example 30444\n")
	expect("replaced by one of the same size", "30444")
	if err := os.WriteFile(path, []byte("a.example 1\na.example 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("rewritten, the last line counts", "2")
	// In place and of the same size: the time alone tells.
	if err := os.WriteFile(path, []byte("a.example 1\na.example 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	expect("rewritten in place", "3")
	write("")
	expect("emptied", "")
	write("a.example 30443\n")
	expect("written again", "30443")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", "")
	if _, ok := m.lookup("", "a.example"); ok {
		t.Error("a lookup without a path found something")
	}
}

// It is not parallel: it looks at what the standard logger writes.
//
//nolint:paralleltest // swaps the logger's output
func TestBadFileIsStockAndLoggedOnce(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"one field", "a.example 30443\nb.example\n", "line 2 is not a host and a port"},
		{"three fields", "a.example 30443 tcp\n", "line 1 is not"},
		{"no number", "a.example 30443\na.example https\n", `"https" is not a port`},
		{"zero", "a.example 0\n", `"0" is not a port`},
		{"too large", "a.example 65536\n", `"65536" is not a port`},
		{"negative", "a.example -1\n", `"-1" is not a port`},
		{"a folder", "", "not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ports")
			var err error
			if test.text == "" {
				err = os.Mkdir(path, 0o700)
			} else {
				err = os.WriteFile(path, []byte(test.text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			var logged bytes.Buffer
			log.SetOutput(&logged)
			defer log.SetOutput(os.Stderr)
			var m mapping
			for range [3]int{} {
				if port, ok := m.lookup(path, "a.example"); ok {
					t.Errorf("lookup = %q", port)
				}
			}
			if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) {
				t.Errorf("logged %q, want one line with %q", got, test.want)
			}
			// Repaired, it is used again.
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("a.example 30443\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if port, _ := m.lookup(path, "a.example"); port != "30443" {
				t.Errorf("after the repair: %q", port)
			}
		})
	}
}
