package portmaptest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/remotes"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is one way in which hosts are configured.
type Config struct {
	Name string
	// Hosts returns the configuration as the registry of that name finds it.
	Hosts func(t *testing.T, host string) docker.RegistryHosts
	// Credentials says that User and Password are configured.
	Credentials bool
}

// Cells runs every name, and every kind of request, through the configurations.
func (l *Lab) Cells(t *testing.T, configs ...Config) {
	for _, config := range configs {
		config := config
		for host, want := range l.names() {
			host, want := host, want
			t.Run(config.Name+"/"+host, func(t *testing.T) {
				l.pull(t, config.resolver(t, host), host, "plain", want)
				l.log(t, config.Name+", "+host+": "+want)
			})
		}
		for _, host := range []string{First, Second} {
			host := host
			t.Run(config.Name+"/requests/"+host, func(t *testing.T) {
				away := "refused"
				if l.Mode == "HTTPS_PROXY" {
					away = "proxied"
				}
				l.pull(t, config.resolver(t, host), host, "token", "served")
				l.pull(t, config.resolver(t, host), host, "same", "served")
				l.pull(t, config.resolver(t, host), host, "second", "served")
				l.pull(t, config.resolver(t, host), host, "away", away)
				l.urls(t, config.resolver(t, host), host, away)
				if config.Credentials {
					l.pull(t, config.resolver(t, host), host, "basic", "served")
				}
				hosts, err := config.Hosts(t, host)(host)
				if err != nil {
					t.Fatal(err)
				}
				if hosts[0].Capabilities.Has(docker.HostCapabilityPush) {
					l.push(t, config.resolver(t, host), host)
				}
				l.log(t, config.Name+", "+host+": token, redirects, urls, push")
			})
		}
	}
}

// log reports a cell that holds.
func (l *Lab) log(t *testing.T, text string) {
	if !t.Failed() {
		t.Logf("cell %s: %s", l.Mode, text)
	}
}

func (c Config) resolver(t *testing.T, host string) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: c.Hosts(t, host)})
}

// names are hosts as they stand in image names, with what becomes of a request: it is served by the registry behind
// the mapping, or refused on port 443, or a proxy is asked. A loopback address never goes to a proxy, and by plain HTTP
// in some configurations.
func (l *Lab) names() map[string]string {
	stock, explicit, test := "refused", "served", "refused"
	switch l.Mode {
	case "HTTPS_PROXY":
		stock, explicit, test = "proxied", "proxied", "proxied"
	case "NO_PROXY":
		stock = "proxied"
	}
	return map[string]string{
		First:                  "served",
		"YUAN.test":            "served",
		Second:                 "served",
		First + ":443":         "served",
		First + ":" + l.Port:   explicit,
		"docker.io":            stock,
		"other.example":        stock,
		"other.test":           test,
		"sub." + First:         test,
		address:                "loopback",
		"192.0.2.1.other.test": test,
	}
}

func (l *Lab) pull(t *testing.T, resolver remotes.Resolver, host, repository, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l.Take()
	name, descriptor, err := resolver.Resolve(ctx, host+"/"+repository+":v1")
	if err == nil {
		var fetcher remotes.Fetcher
		if fetcher, err = resolver.Fetcher(ctx, name); err != nil {
			t.Fatal(err)
		}
		if descriptor.Digest != digest.FromString(Manifest) {
			t.Errorf("resolved to %s", descriptor.Digest)
		}
		err = fetch(ctx, fetcher, blob())
	}
	l.judge(t, host+"/"+repository, want, err)
}

func blob() ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(Blob), Size: int64(len(Blob)),
	}
}

func fetch(ctx context.Context, fetcher remotes.Fetcher, descriptor ocispec.Descriptor) error {
	content, err := fetcher.Fetch(ctx, descriptor)
	if err != nil {
		return err
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if string(text) != Blob {
		return fmt.Errorf("fetched %q", text)
	}
	return nil
}

// urls fetches a layer from the URLs of its descriptor.
func (l *Lab) urls(t *testing.T, resolver remotes.Resolver, host, away string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fetcher, err := resolver.Fetcher(ctx, host+"/plain:v1")
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{"https://" + Second + "/data": "served", "https://other.test/data": away} {
		descriptor := blob()
		descriptor.URLs = []string{url}
		l.Take()
		l.judge(t, url, want, fetch(ctx, fetcher, descriptor))
	}
}

func (l *Lab) push(t *testing.T, resolver remotes.Resolver, host string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l.Take()
	pusher, err := resolver.Pusher(ctx, host+"/push:v1")
	if err != nil {
		t.Fatal(err)
	}
	writer, err := pusher.Push(ctx, blob())
	if err == nil {
		defer writer.Close()
		if _, err = io.Copy(writer, bytes.NewReader([]byte(Blob))); err == nil {
			err = writer.Commit(ctx, int64(len(Blob)), digest.FromString(Blob))
		}
	}
	l.mu.Lock()
	var methods []string
	for _, request := range l.seen {
		methods = append(methods, request.Method)
	}
	l.mu.Unlock()
	if got := strings.Join(methods, " "); !strings.HasSuffix(got, "POST PUT") {
		t.Errorf("push to %s: %s", host, got)
	}
	l.judge(t, "push to "+host, "served", err)
}

// judge compares what became of a request for what with what should have.
func (l *Lab) judge(t *testing.T, what, want string, err error) {
	t.Helper()
	seen := l.Take()
	switch want {
	case "served":
		if err != nil {
			t.Errorf("%s: %v, want success", what, err)
		}
		if len(seen) == 0 {
			t.Errorf("%s: the registry saw nothing", what)
		}
	case "refused":
		if err == nil || !strings.Contains(err.Error(), "dial tcp "+address+":443: connect: connection refused") {
			t.Errorf("%s: %v, want port 443 refused", what, err)
		}
	case "loopback":
		if err == nil || !regexp.MustCompile("dial tcp "+regexp.QuoteMeta(address)+":(80|443): connect: connection refused").MatchString(err.Error()) {
			t.Errorf("%s: %v, want port 443 or 80 refused", what, err)
		}
	case "proxied":
		if err == nil || !strings.Contains(err.Error(), "proxyconnect tcp") {
			t.Errorf("%s: %v, want the proxy asked", what, err)
		}
	}
	for _, request := range seen {
		name, port, splitErr := net.SplitHostPort(request.Host)
		if splitErr != nil {
			name, port = request.Host, ""
		}
		// The mapping must not show in the name.
		if port != "" && !strings.Contains(what, name+":"+port) {
			t.Errorf("%s: the Host header is %q", what, request.Host)
		}
		if !strings.EqualFold(request.ServerName, name) {
			t.Errorf("%s: the TLS server name is %q, the Host header %q", what, request.ServerName, request.Host)
		}
	}
}
