package portmap

import _ "embed"

// Source is portmap.go, the one file that is copied into containerd's tree.
//
//go:embed portmap.go
var Source []byte
