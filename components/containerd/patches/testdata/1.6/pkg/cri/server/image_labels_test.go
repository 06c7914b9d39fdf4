package server

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImageLabelsAreNoOrders(t *testing.T) {
	got := buildLabels(
		map[string]string{"containerd.io/from": "kubelet"},
		map[string]string{
			"containerd.io/restart.loguri": "binary:///bin/sh", "io.cri-containerd.kind": "sandbox", "maintainer": "somebody",
			"not-containerd.io/x": "kept",
		}, "container")
	require.Equal(t, map[string]string{
		"containerd.io/from": "kubelet", "io.cri-containerd.kind": "container", "maintainer": "somebody", "not-containerd.io/x": "kept",
	}, got)
}
