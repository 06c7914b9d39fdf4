package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/containerd/containerd"
	containerdio "github.com/containerd/containerd/cio"
	cio "github.com/containerd/containerd/pkg/cri/io"
	containerstore "github.com/containerd/containerd/pkg/cri/store/container"
	"github.com/containerd/containerd/pkg/cri/streaming"
	cioutil "github.com/containerd/containerd/pkg/ioutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tooLong is after how long something counts as never happening.
const tooLong = 30 * time.Second

// TestAttachEndsWithItsClient leaves containers that write nothing any more, whose streams nothing else would end.
func TestAttachEndsWithItsClient(t *testing.T) {
	for _, client := range []struct {
		name string
		// attach returns what the client hears of the container, and how it leaves.
		attach func(t *testing.T, endpoint *url.URL, request *runtime.AttachRequest) (output io.Reader, leave func() error)
	}{
		{"SPDY that closes", func(t *testing.T, endpoint *url.URL, request *runtime.AttachRequest) (io.Reader, func() error) {
			client := dialSPDY(t, endpoint, request)
			return client.streams["stdout"], client.Close
		}},
		{"SPDY that is cut off", func(t *testing.T, endpoint *url.URL, request *runtime.AttachRequest) (io.Reader, func() error) {
			client := dialSPDY(t, endpoint, request)
			return client.streams["stdout"], client.raw.Close
		}},
		{"WebSocket", func(t *testing.T, endpoint *url.URL, _ *runtime.AttachRequest) (io.Reader, func() error) {
			conn, err := websocket.Dial("ws://"+endpoint.Host+endpoint.Path, "v4.channel.k8s.io", "http://localhost")
			require.NoError(t, err)
			return conn, conn.Close
		}},
	} {
		for _, request := range []*runtime.AttachRequest{
			{Stdout: true, Stderr: true},
			{Stdin: true, Stdout: true, Stderr: true},
			{Stdin: true, Stdout: true, Tty: true},
		} {
			t.Run(fmt.Sprintf("%s, stdin %v, tty %v", client.name, request.Stdin, request.Tty), func(t *testing.T) {
				lab := newAttachLab(t, request.Tty)
				output, leave := client.attach(t, lab.endpoint(t, request), request)
				lab.speak(t, output)
				require.NoError(t, leave())
				lab.waitForEnd(t)
				if request.Stdin && !request.Tty {
					require.NoError(t, <-lab.task.stdinClosed, "the container's stdin is closed with a context that is over")
				}
			})
		}
	}
}

// TestAttachOutlivesItsStdin is "echo input | kubectl attach -i": the client has no more to say and still listens.
func TestAttachOutlivesItsStdin(t *testing.T) {
	request := &runtime.AttachRequest{Stdin: true, Stdout: true}
	lab := newAttachLab(t, false)
	client := dialSPDY(t, lab.endpoint(t, request), request)
	lab.speak(t, client.streams["stdout"])
	require.NoError(t, client.streams["stdin"].Close())
	require.NoError(t, <-lab.task.stdinClosed)
	lab.speak(t, client.streams["stdout"])
	require.NoError(t, client.Close())
	lab.waitForEnd(t)
}

// attachLab is a running container behind a streaming server that serves one attach.
type attachLab struct {
	streams streaming.Server
	address string
	// ended is closed when the attach is over.
	ended chan struct{}
	task  *attachedTask
	// stdout is the container's side.
	stdout *os.File
}

func newAttachLab(t *testing.T, tty bool) *attachLab {
	lab := &attachLab{ended: make(chan struct{}), task: &attachedTask{stdinClosed: make(chan error, 1)}}
	containerIO, err := cio.NewContainerIO("container", cio.WithNewFIFOs(t.TempDir(), tty, true))
	require.NoError(t, err)
	t.Cleanup(func() { containerIO.Cancel(); containerIO.Close() })
	log := cioutil.NewNopWriteCloser(io.Discard)
	containerIO.AddOutput("log", log, log)
	containerIO.Pipe()
	lab.stdout, err = os.OpenFile(containerIO.Config().Stdout, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { lab.stdout.Close() })

	service := newTestCRIService()
	container, err := containerstore.NewContainer(
		containerstore.Metadata{ID: "container", Config: &runtime.ContainerConfig{StdinOnce: true}},
		containerstore.WithContainer(attachedContainer{task: lab.task}),
		containerstore.WithContainerIO(containerIO),
		containerstore.WithFakeStatus(containerstore.Status{Pid: 1, CreatedAt: 1, StartedAt: 1}),
	)
	require.NoError(t, err)
	require.NoError(t, service.containerStore.Add(container))
	lab.streams, err = newStreamServer(service, "127.0.0.1", "0", "")
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(lab.ended)
		lab.streams.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	lab.address = server.Listener.Addr().String()
	return lab
}

// endpoint is where a client may make the request.
func (l *attachLab) endpoint(t *testing.T, request *runtime.AttachRequest) *url.URL {
	asked := *request
	asked.ContainerId = "container"
	response, err := l.streams.GetAttach(&asked)
	require.NoError(t, err)
	endpoint, err := url.Parse(response.Url)
	require.NoError(t, err)
	endpoint.Host = l.address
	return endpoint
}

// speak lets the container write until the client hears it. When it returns, nothing is under way.
func (l *attachLab) speak(t *testing.T, output io.Reader) {
	client, heard := bufio.NewReader(output), make(chan error, 1)
	hear := func(mark byte) {
		_, err := client.ReadBytes(mark)
		heard <- err
	}
	go hear('x')
	for late, again := time.After(tooLong), true; again; {
		_, err := l.stdout.WriteString("x")
		require.NoError(t, err)
		select {
		case err := <-heard:
			require.NoError(t, err)
			again = false
		case <-late:
			t.Fatal("the client never hears the container")
		case <-time.After(10 * time.Millisecond): // not attached yet
		}
	}
	_, err := l.stdout.WriteString("z")
	require.NoError(t, err)
	hear('z')
	require.NoError(t, <-heard)
}

func (l *attachLab) waitForEnd(t *testing.T) {
	select {
	case <-l.ended:
	case <-time.After(tooLong):
		t.Fatal("the attach outlives its client")
	}
}

// attachedTask is a task of which only what an attach calls works.
type attachedTask struct {
	containerd.Task
	// stdinClosed gets the error of the context with which the container's stdin was closed.
	stdinClosed chan error
}

func (a *attachedTask) CloseIO(ctx context.Context, _ ...containerd.IOCloserOpts) error {
	a.stdinClosed <- ctx.Err()
	return nil
}

type attachedContainer struct {
	containerd.Container
	task containerd.Task
}

func (a attachedContainer) Task(context.Context, containerdio.Attach) (containerd.Task, error) {
	return a.task, nil
}

type spdyClient struct {
	httpstream.Connection
	raw     net.Conn
	streams map[string]httpstream.Stream
}

func dialSPDY(t *testing.T, endpoint *url.URL, request *runtime.AttachRequest) *spdyClient {
	raw, err := net.Dial("tcp", endpoint.Host)
	require.NoError(t, err)
	t.Cleanup(func() { raw.Close() })
	_, err = fmt.Fprintf(raw, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"+
		"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n", endpoint.Path, endpoint.Host)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(raw), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	client := &spdyClient{raw: raw, streams: map[string]httpstream.Stream{}}
	client.Connection, err = spdy.NewClientConnection(raw)
	require.NoError(t, err)
	for name, wanted := range map[string]bool{
		"error": true, "stdin": request.Stdin, "stdout": request.Stdout, "stderr": request.Stderr, "resize": request.Tty,
	} {
		if wanted {
			client.streams[name], err = client.CreateStream(http.Header{"Streamtype": {name}})
			require.NoError(t, err)
		}
	}
	return client
}
