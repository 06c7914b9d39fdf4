package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"berth/components/remote/target"
)

// Dialer opens connections. Those through one bastion share a connection to it, since sshd drops logins where many begin at
// once (MaxStartups). The zero value is ready for use.
type Dialer struct {
	mu       sync.Mutex
	bastions map[target.Target]func() (*Client, error)
}

// Dial opens a connection. Connecting and logging in take at most timeout, and the same again where a bastion is on the way;
// the connection is closed at the latest when ctx ends. No error holds anything of the private key or the password.
func (d *Dialer) Dial(ctx context.Context, to target.Target, timeout time.Duration) (*Client, error) {
	if to.Bastion == nil {
		client, err := dial(ctx, &net.Dialer{}, to, timeout)
		if err != nil {
			return nil, fmt.Errorf("connecting to %s by SSH: %w", to.Address(), err)
		}
		return client, nil
	}
	bastion, err := d.bastion(ctx, *to.Bastion, timeout)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s by SSH: its bastion %s: %w", to.Address(), to.Bastion.Address(), err)
	}
	client, err := dial(ctx, bastion, to, timeout)
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok && refused.Reason == ssh.Prohibited {
		err = fmt.Errorf("sshd there forbids port forwarding (AllowTcpForwarding): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to %s by SSH through the bastion %s: %w", to.Address(), to.Bastion.Address(), err)
	}
	return client, nil
}

// bastion returns the one connection to a bastion, which ends with the ctx of whoever asked first.
func (d *Dialer) bastion(ctx context.Context, to target.Target, timeout time.Duration) (*Client, error) {
	d.mu.Lock()
	connect, known := d.bastions[to]
	if !known {
		connect = sync.OnceValues(func() (*Client, error) { return dial(ctx, &net.Dialer{}, to, timeout) })
		if d.bastions == nil {
			d.bastions = map[target.Target]func() (*Client, error){}
		}
		d.bastions[to] = connect
	}
	d.mu.Unlock()
	return connect()
}

// Close closes the connections to bastions, and with them all that go through one.
func (d *Dialer) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, connect := range d.bastions {
		if bastion, err := connect(); err == nil {
			_ = bastion.Close()
		}
	}
}

// contextDialer is this machine's network or a bastion's.
type contextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

func dial(ctx context.Context, from contextDialer, to target.Target, timeout time.Duration) (*Client, error) {
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	config, done, err := clientConfig(limited, to)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := from.DialContext(limited, "tcp", to.Address())
	if err != nil {
		return nil, orLate(limited, err)
	}
	// A deadline would do for a socket; a stream through a bastion takes none.
	stop := context.AfterFunc(limited, func() { _ = conn.Close() })
	transport, channels, requests, err := ssh.NewClientConn(conn, to.Address(), config)
	if !stop() || err != nil {
		_ = conn.Close()
		return nil, orLate(limited, err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return &Client{ssh.NewClient(transport, channels, requests)}, nil
}

// orLate is why a dial failed: the time where that was up, since the error then is only about what closed the connection.
func orLate(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
