package cluster

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"berth/lab/build"
)

// registration is the part of kubeadm's configuration that every node has.
func registration(n Node) string {
	return fmt.Sprintf(`nodeRegistration:
  name: %s
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: IfNotPresent
  kubeletExtraArgs:
    - {name: node-ip, value: %s}
`, n.Name, n.Address)
}

// initConfig is kubeadm's configuration for the control-plane node n.
func initConfig(n Node, token string) string {
	return fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
  - token: %s
localAPIEndpoint: {advertiseAddress: %s, bindPort: 6443}
%s---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: berth-lab
kubernetesVersion: %s
networking: {podSubnet: %s, serviceSubnet: %s}
controllerManager:
  extraArgs:
    # Each node's pods have their subnet from the lab, so that nodes may join in any order.
    - {name: allocate-node-cidrs, value: "false"}
etcd:
  local:
    dataDir: /var/lib/etcd
    extraArgs:
      # The cluster is thrown away, not restored.
      - {name: unsafe-no-fsync, value: "true"}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
# A machine of the lab may not set the host's sysctls nor lower its own score with the out-of-memory killer.
featureGates: {KubeletInUserNamespace: true}
# The disk is the host's: its being full is no reason to evict.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
# No DNS service is installed.
clusterDNS: []
resolvConf: ""
`, token, n.Address, registration(n), build.KubernetesVersion, podSubnet, serviceSubnet)
}

// joinConfig is kubeadm's configuration for the worker n, which trusts the control plane by the hash of its CA.
func joinConfig(n, controlPlane Node, token, caHash string) string {
	return fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: %s:6443
    token: %s
    caCertHashes: [%s]
%s`, controlPlane.Address, token, caHash, registration(n))
}

// cniConfig is the pod network of the node n: a bridge with its subnet; routes between the nodes do the rest.
func cniConfig(n Node) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, n.PodCIDR)
}

// newToken makes a bootstrap token.
func newToken() string {
	return randomText(6) + "." + randomText(16)
}

// randomText returns n random lower-case letters and digits.
func randomText(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // The system's random source does not fail.
		}
		b.WriteByte(alphabet[i.Int64()])
	}
	return b.String()
}

// caHash returns the hash of a CA's public key in kubeadm's form.
func caHash(caPEM []byte) (string, error) {
	block, _ := pem.Decode(caPEM)
	if block == nil {
		return "", errors.New("reading the cluster's CA: no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("reading the cluster's CA: %w", err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
