package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRecapLine(t *testing.T) {
	t.Parallel()
	const (
		base       = "base trust=os hosts=10.0.0.12 port=30443 changed=ca,hosts,port"
		containerd = "containerd=1.7.36+berth.1 digest=sha256:0123456789abcdef0123456789abcdef restarts=1"
		want       = "containerd=1.7.36+berth.1 sha256:0123456789ab restarts=1 trust=os hosts=10.0.0.12 port=30443 changed=ca,hosts,port"
	)
	start, end, later := "2026-11-27T17:59:58Z", "2026-11-27T18:00:02Z", "soon"
	for name, test := range map[string]struct {
		base, containerd string
		start, end       *string
		want             string
	}{
		"all":                   {base, containerd, &start, &end, want + " pulled=4s"},
		"no times yet":          {base, containerd, &start, nil, want},
		"times of another kind": {base, containerd, &start, &later, want},
		"a chatty login shell":  {"Welcome!\n" + base + "\n", "Welcome!\n" + containerd, nil, nil, want},
		"nothing":               {"", "", nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, recapLine(test.base, test.containerd, test.start, test.end))
		})
	}
}
