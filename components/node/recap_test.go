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
	for name, test := range map[string]struct{ base, containerd, pulled, want string }{
		"all":                  {base, containerd, "663ms", want + " pulled=663ms"},
		"not pulled yet":       {base, containerd, "", want},
		"a chatty login shell": {"Welcome!\n" + base + "\n", "Welcome!\n" + containerd, "", want},
		"nothing":              {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, recapLine(test.base, test.containerd, test.pulled))
		})
	}
}
