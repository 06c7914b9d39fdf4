// Package kubeadm keeps a wider range of NodePorts in what kubeadm remembers of a cluster, the ClusterConfiguration in its ConfigMap: an
// upgrade writes the manifests of the API servers anew from there.
package kubeadm

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"berth/internal/kubeapi"
)

// Annotation stands on the ConfigMap while berth's range is in it: which, whose, and what was there before, as JSON. kubeadm leaves
// annotations of others alone.
const Annotation = "berth/node-ports"

const (
	namespace = "kube-system"
	name      = "kubeadm-config"
	key       = "ClusterConfiguration"
)

// memo is the content of Annotation.
type memo struct {
	Stack string `json:"stack"`
	// Range is what berth has written.
	Range string `json:"range"`
	// Before is the whole ClusterConfiguration as it was.
	Before string `json:"before"`
}

// Config is the ConfigMap of one cluster, on behalf of a stack.
type Config struct {
	api   rest.Interface
	stack string
}

// New calls no server. Its error holds nothing of the kubeconfig.
func New(cluster kubeapi.Cluster, stack string) (*Config, error) {
	api, _, err := kubeapi.New(cluster)
	if err != nil {
		return nil, fmt.Errorf("preparing to write %s: %w", name, err)
	}
	return &Config{api: api, stack: stack}, nil
}

// Widen writes a range with port in it, and says what it did. A range that has the port already is somebody else's and stays so. A
// cluster without the ConfigMap is none of kubeadm's, and nothing is done.
func (c *Config) Widen(ctx context.Context, port int) (string, error) {
	return c.edit(ctx, func(m *corev1.ConfigMap, config *configuration, held memo) (change, error) {
		now := config.portRange()
		from := now
		if from == "" {
			from = usual
		}
		want, err := wider(from, port)
		if err != nil {
			return change{}, err
		}
		switch {
		case want == now && held.Range == now:
			return change{said: "has " + now}, nil
		case want == now:
			// What may have been ours is theirs now.
			return change{said: "has " + now + ", which is not berth's", forget: held.Stack != ""}, nil
		}
		text, err := config.set(want)
		return change{
			said: fmt.Sprintf("gets %s in place of %s", want, says(now)),
			text: text, held: &memo{Stack: c.stack, Range: want, Before: m.Data[key]},
		}, err
	})
}

// Restore takes the range out again, and says what it did: where nobody has changed the ClusterConfiguration since, it is what it was to
// the byte. A range that somebody else has written since stays.
func (c *Config) Restore(ctx context.Context) (string, error) {
	return c.edit(ctx, func(m *corev1.ConfigMap, config *configuration, held memo) (change, error) {
		if held.Stack == "" {
			return change{said: "has nothing of this stack"}, nil
		}
		before, err := parse(held.Before)
		if err != nil {
			return change{}, fmt.Errorf("annotation %s: %w", Annotation, err)
		}
		was := before.portRange()
		if now := config.portRange(); now != held.Range {
			return change{said: fmt.Sprintf("has %s, which is not berth's %s: it stays", says(now), held.Range), forget: true}, nil
		}
		done := change{said: fmt.Sprintf("gets %s back in place of %s", says(was), held.Range), forget: true}
		ours, err := before.set(held.Range)
		if err == nil && ours == m.Data[key] {
			done.text = held.Before
			return done, nil
		}
		done.text, err = config.set(was)
		return done, err
	})
}

// change is what to do with the ConfigMap.
type change struct {
	said string
	// text is the new ClusterConfiguration; empty leaves it as it is.
	text string
	// held is what the annotation is to be; forget takes it off.
	held   *memo
	forget bool
}

// edit has decide say what is to be changed, and does it unless somebody else was faster; then it asks again.
func (c *Config) edit(ctx context.Context, decide func(*corev1.ConfigMap, *configuration, memo) (change, error)) (string, error) {
	said := ""
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var m corev1.ConfigMap
		err := c.api.Get().Namespace(namespace).Resource("configmaps").Name(name).MaxRetries(0).Do(ctx).Into(&m)
		if apierrors.IsNotFound(err) || err == nil && m.Data[key] == "" {
			said = "is not there: this cluster is none of kubeadm's, or its ClusterConfiguration is elsewhere"
			return nil
		}
		if err != nil {
			return err
		}
		config, err := parse(m.Data[key])
		if err != nil {
			return err
		}
		done, err := decide(&m, config, c.memo(&m))
		if err != nil {
			return err
		}
		said = done.said
		return c.write(ctx, &m, done)
	})
	if err != nil {
		return "", fmt.Errorf("ConfigMap %s in %s: %w", name, namespace, err)
	}
	return fmt.Sprintf("ConfigMap %s in %s %s", name, namespace, said), nil
}

// memo is what this stack has noted; the zero value where that is nothing.
func (c *Config) memo(m *corev1.ConfigMap) memo {
	var held memo
	if json.Unmarshal([]byte(m.Annotations[Annotation]), &held) != nil || held.Stack != c.stack {
		return memo{}
	}
	return held
}

// write changes text and annotation together, and only the ConfigMap that was looked at.
func (c *Config) write(ctx context.Context, m *corev1.ConfigMap, done change) error {
	metadata := map[string]any{"resourceVersion": m.ResourceVersion, "uid": m.UID}
	patch := map[string]any{"metadata": metadata}
	switch {
	case done.held != nil:
		note, err := json.Marshal(done.held)
		if err != nil {
			return fmt.Errorf("encoding the annotation: %w", err)
		}
		metadata["annotations"] = map[string]any{Annotation: string(note)}
	case done.forget:
		metadata["annotations"] = map[string]any{Annotation: nil}
	}
	if done.text != "" {
		patch["data"] = map[string]any{key: done.text}
	}
	if len(metadata) == 2 && len(patch) == 1 {
		return nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding the change: %w", err)
	}
	return c.api.Patch(types.MergePatchType).Namespace(namespace).Resource("configmaps").Name(name).MaxRetries(0).Body(body).Do(ctx).Error()
}
