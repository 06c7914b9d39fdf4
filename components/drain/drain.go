// Package drain takes the pods off a Kubernetes node before its containerd is restarted, and lets the node be used again.
//
// It does what kubectl drain does, in its terms, through the API server: cordon, eviction with respect for
// PodDisruptionBudgets, a wait until the pods are gone. Three things are its own. All of it is bounded. The cordon is
// remembered on the Node, so that a node which somebody else had cordoned stays so, and one that a killed run left
// cordoned is found. And pods that must not move are spared by their label.
//
// The Kubernetes client is the part of client-go that reads a kubeconfig and speaks REST, with the types of two API groups:
// kubectl's own package for this would bring four times as many packages into the program.
package drain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"berth/internal/kubeapi"
)

// releaseLimit bounds an uncordon, which also runs when everything else has been given up.
const releaseLimit = time.Minute

// Cluster is the cluster whose nodes are drained.
type Cluster = kubeapi.Cluster

// Options are how nodes are drained. The zero value, but for Timeout, is the most careful.
type Options struct {
	// Timeout bounds the wait for the pods of one node.
	Timeout time.Duration
	// GracePeriod is how long a pod may take to end; 0 is what the pod says itself.
	GracePeriod time.Duration
	// Force also evicts pods without a controller, which nobody makes anew.
	Force bool
	// DeleteEmptyDirData also evicts pods with emptyDir volumes, whose data is lost.
	DeleteEmptyDirData bool
	// Spare are labels ("app") and their values; a pod of SpareNamespace that has all of them is left where it is.
	SpareNamespace string
	Spare          map[string]string
	// Tell is told what a drain waits for; nil tells nobody.
	Tell func(node, text string)
}

// Drainer drains nodes of one cluster. It may drain several at once.
type Drainer struct {
	api     rest.Interface
	codec   runtime.ParameterCodec
	options Options
	// run tells the cordons of this process from those of another.
	run string
	// pause is between two looks at a node's pods.
	pause time.Duration
}

// New prepares a Drainer and calls no server. Its error holds nothing of the kubeconfig.
func New(cluster Cluster, options Options) (*Drainer, error) {
	api, codec, err := kubeapi.New(cluster, policyv1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("preparing to drain nodes: %w", err)
	}
	return &Drainer{api: api, codec: codec, options: options, run: rand.Text()[:10], pause: time.Second}, nil
}

// Drain cordons a node, evicts its pods and waits until they are gone. Owner ("stack/node") is written on the Node with the
// cordon. The function that it returns uncordons the node if this Drain cordoned it, also after its context has ended.
//
// It fails for pods that may not be evicted, before anything is changed; for pods that are still there after the timeout, which
// it names; and where another run has taken the node over. The node is uncordoned then.
func (d *Drainer) Drain(ctx context.Context, node, owner string) (func(context.Context) error, error) {
	pods, err := d.choose(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("draining node %s: %w", node, err)
	}
	mark := owner + " " + d.run
	ours, err := d.cordon(ctx, node, mark)
	if err != nil {
		return nil, fmt.Errorf("cordoning node %s: %w", node, err)
	}
	release := func(ctx context.Context) error {
		if !ours {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
		defer cancel()
		if err := d.uncordon(ctx, node, mark); err != nil {
			return fmt.Errorf("uncordoning node %s, which stays cordoned until the next up or destroy: %w", node, err)
		}
		return nil
	}
	still := func(ctx context.Context) error {
		if !ours {
			return nil
		}
		return d.holds(ctx, node, mark)
	}
	if err := d.evictAll(ctx, node, pods, still); err != nil {
		return nil, errors.Join(fmt.Errorf("draining node %s: %w", node, err), release(ctx))
	}
	return release, nil
}

func (d *Drainer) tell(node, text string) {
	if d.options.Tell != nil {
		d.options.Tell(node, text)
	}
}
