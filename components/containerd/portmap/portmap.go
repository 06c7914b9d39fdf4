// Package portmap sends registry connections of chosen hosts to another TCP port.
//
// An image name without a port makes a registry client dial port 443. Where the registry is served by a NodePort, the
// dial has to go elsewhere while the name stays as it is: TLS server name, Host header and the match of pull
// credentials all depend on it. So only the dialled address changes, below HTTP and TLS.
//
// The package is copied into containerd's source tree. It uses the standard library alone and the Go language of the
// oldest go.mod among the supported releases.
package portmap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
)

// File is the path of the mapping file, set by the linker. Empty: nothing is ever redirected.
//
// The file has one "host port" pair a line; "#" starts a comment, hosts compare without regard to case, the last line
// of a host counts. It is read again when it changes. A missing file is an empty one, and so is an unreadable one,
// which is logged once.
var File string

// maxFileSize bounds what is read of the mapping file, in bytes.
const maxFileSize = 1 << 20

// DialFunc is the type of DialContext in http.Transport.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// ProxyFunc is the type of Proxy in http.Transport.
type ProxyFunc = func(*http.Request) (*url.URL, error)

// DefaultClient takes the place of http.DefaultClient for requests to registries.
var DefaultClient = &http.Client{Transport: defaultTransport()}

func defaultTransport() http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	transport := standard.Clone()
	transport.DialContext = DialContext(transport.DialContext)
	transport.Proxy = Proxy(transport.Proxy)
	return transport
}

// DialContext returns a dial function that calls next, with the mapped port where a mapped host is dialled on port 443.
func DialContext(next DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err == nil && port == "443" {
			if mapped, ok := shared.lookup(File, host); ok {
				address = net.JoinHostPort(host, mapped)
			}
		}
		return next(ctx, network, address)
	}
}

// Proxy returns a proxy function that calls next, and no proxy for what DialContext redirects: a proxy would be asked
// for port 443, and does not know the mapping.
func Proxy(next ProxyFunc) ProxyFunc {
	return func(r *http.Request) (*url.URL, error) {
		port := r.URL.Port()
		if port == "443" || (port == "" && r.URL.Scheme == "https") {
			if _, ok := shared.lookup(File, r.URL.Hostname()); ok {
				return nil, nil
			}
		}
		if next == nil {
			return nil, nil
		}
		return next(r)
	}
}

// shared keeps the parsed mapping file between dials.
var shared mapping

type mapping struct {
	mu    sync.Mutex
	path  string
	info  os.FileInfo
	ports map[string]string
	// failure is the text of the last logged error, so that a lasting one is logged once.
	failure string
}

// lookup returns the port on which host is to be dialled, reading the file at path again if it has changed.
func (m *mapping) lookup(path, host string) (string, bool) {
	if path == "" {
		return "", false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refresh(path); err != nil {
		m.info, m.ports = nil, nil
		if text := err.Error(); text != m.failure {
			m.failure = text
			log.Printf("port mapping is off: %v", err)
		}
		return "", false
	}
	m.failure = ""
	port, ok := m.ports[strings.ToLower(host)]
	return port, ok
}

func (m *mapping) refresh(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		m.info, m.ports = nil, nil
		return nil
	}
	if err != nil {
		return err
	}
	// Opening a pipe would block every pull.
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if m.info != nil && m.path == path && os.SameFile(m.info, info) &&
		m.info.ModTime().Equal(info.ModTime()) && m.info.Size() == info.Size() {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	// The name may stand for another file by now: remember the one that is read.
	if info, err = file.Stat(); err != nil {
		return err
	}
	ports, err := parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	m.path, m.info, m.ports = path, info, ports
	return nil
}

// parse reads a mapping file. One bad line makes the whole file bad, so that half a mapping is never in use.
func parse(r io.Reader) (map[string]string, error) {
	ports := make(map[string]string)
	lines := bufio.NewScanner(io.LimitReader(r, maxFileSize))
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d is not a host and a port", number)
		}
		if port, err := strconv.ParseUint(fields[1], 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("line %d: %q is not a port", number, fields[1])
		}
		ports[strings.ToLower(fields[0])] = fields[1]
	}
	return ports, lines.Err()
}
