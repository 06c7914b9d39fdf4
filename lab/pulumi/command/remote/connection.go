package remote

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Endpoint says how to log in to one SSH server.
type Endpoint struct {
	User               *string  `pulumi:"user,optional"`
	Password           *string  `pulumi:"password,optional"`
	Host               *string  `pulumi:"host"`
	Port               *float64 `pulumi:"port,optional"`
	PrivateKey         *string  `pulumi:"privateKey,optional"`
	PrivateKeyPassword *string  `pulumi:"privateKeyPassword,optional"`
	HostKey            *string  `pulumi:"hostKey,optional"`
	AgentSocketPath    *string  `pulumi:"agentSocketPath,optional"`
	// DialErrorLimit is the number of failed attempts after which one more is the last; -1 for no limit.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout is in seconds, for the TCP connection alone; 0 for none.
	PerDialTimeout *int `pulumi:"perDialTimeout,optional"`
}

func (e *Endpoint) defaults(a infer.Annotator) {
	a.SetDefault(&e.User, "root")
	a.SetDefault(&e.Port, 22)
	a.SetDefault(&e.DialErrorLimit, 10)
	a.SetDefault(&e.PerDialTimeout, 15)
}

// ProxyConnection is a bastion to go through.
type ProxyConnection struct{ Endpoint }

// Annotate sets the defaults.
func (c *ProxyConnection) Annotate(a infer.Annotator) { c.defaults(a) }

// Connection says how to reach a machine.
type Connection struct {
	Endpoint
	Proxy *ProxyConnection `pulumi:"proxy,optional"`
}

// Annotate sets the defaults.
func (c *Connection) Annotate(a infer.Annotator) { c.defaults(a) }

// Dial logs in, trying again after each failure, whatever it was: a refused port, a refused key, another host key.
func (c *Connection) Dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.config(ctx)
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		return attempt(ctx, "Dial", *c.DialErrorLimit, func() (*ssh.Client, error) {
			return ssh.Dial("tcp", c.address(), config)
		})
	}

	proxyConfig, err := c.Proxy.config(ctx)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	proxy, err := attempt(ctx, "Dial proxy", *c.Proxy.DialErrorLimit, func() (*ssh.Client, error) {
		return ssh.Dial("tcp", c.Proxy.address(), proxyConfig)
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	// PerDialTimeout does not reach this far: the proxy's own limit counts.
	stream, err := attempt(ctx, "Dial from proxy", *c.DialErrorLimit, func() (net.Conn, error) {
		return proxy.Dial("tcp", c.address())
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	// As published, a second attempt goes over the stream that the first one closed, and its EOF is what is reported.
	client, err := attempt(ctx, "Dial", *c.DialErrorLimit, func() (*ssh.Client, error) {
		conn, channels, requests, err := ssh.NewClientConn(stream, c.address(), config)
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(conn, channels, requests), nil
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return client, nil
}

func (e *Endpoint) address() string { return net.JoinHostPort(*e.Host, strconv.Itoa(int(*e.Port))) }

// config offers the key first, then the password, then the agent. x/crypto tries each method once, so the agent is no
// second try after a refused key.
func (e *Endpoint) config(ctx context.Context) (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{
		User:            *e.User,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // as published: no hostKey, no check
		Timeout:         time.Duration(*e.PerDialTimeout) * time.Second,
	}
	if e.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*e.HostKey)) //nolint:dogsled // the key alone counts
		if err != nil {
			return nil, fmt.Errorf("parsing the host key: %w", err)
		}
		config.HostKeyCallback = ssh.FixedHostKey(key)
		config.HostKeyAlgorithms = []string{key.Type()}
	}
	if e.PrivateKey != nil {
		signer, err := parseKey(*e.PrivateKey, e.PrivateKeyPassword)
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if e.Password != nil {
		config.Auth = append(config.Auth, ssh.Password(*e.Password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = *e.Password
				}
				return answers, nil
			}))
	}
	// A path that is given counts, also an empty one, which nothing answers.
	socket, given := os.Getenv("SSH_AUTH_SOCK"), e.AgentSocketPath != nil
	if given {
		socket = *e.AgentSocketPath
	}
	if given || socket != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil { // also where a key is given: a dead socket in the environment fails every connection
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	return config, nil
}

func parseKey(key string, password *string) (ssh.Signer, error) {
	if password != nil {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(key), []byte(*password))
	}
	return ssh.ParsePrivateKey([]byte(key))
}

// attempt calls dial until it succeeds, has failed limit+1 times, or ctx ends. The pauses between are those of
// Pulumi's retry package: 0.1 s, each 1.5 times the one before, at most 5 s.
func attempt[T any](ctx context.Context, what string, limit int, dial func() (T, error)) (T, error) {
	var result, none T
	ok, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(failed int, _ time.Duration) (bool, any, error) {
		var err error
		if result, err = dial(); err == nil {
			return true, nil, nil
		}
		if limit >= 0 && failed >= limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", failed, err)
		}
		of := strconv.Itoa(limit)
		if limit < 0 {
			of = "inf"
		}
		p.GetLogger(ctx).InfoStatusf("%s %d/%s failed: retrying", what, failed+1, of)
		return false, nil, nil
	}})
	switch {
	case err != nil:
		return none, err
	case !ok:
		return none, ctx.Err()
	}
	return result, nil
}
