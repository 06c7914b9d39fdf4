package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// Annotation stands on a Node that is cordoned by berth: who cordoned it ("stack/node"), and in which run. Whoever wants the
// node to stay cordoned takes the annotation off.
const Annotation = "berth/cordoned"

var errTaken = errors.New("another run has taken the node over, or somebody took its annotation " + Annotation + " off")

// Leftovers lists the nodes that runs of a stack left cordoned.
func (d *Drainer) Leftovers(ctx context.Context, stack string) ([]string, error) {
	marks, err := d.marks(ctx, stack)
	if err != nil {
		return nil, fmt.Errorf("looking for nodes that an interrupted run left cordoned: %w", err)
	}
	var names []string
	for name := range marks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Heal uncordons the nodes that runs of a stack left cordoned, and returns their names. A run that is still at work on one of
// them finds that it has lost the node, and ends.
func (d *Drainer) Heal(ctx context.Context, stack string) ([]string, error) {
	marks, err := d.marks(ctx, stack)
	if err != nil {
		return nil, fmt.Errorf("looking for nodes that an interrupted run left cordoned: %w", err)
	}
	var healed []string
	var errs []error
	for name, mark := range marks {
		if err := d.uncordon(ctx, name, mark); err != nil {
			errs = append(errs, fmt.Errorf("uncordoning node %s, which an interrupted run left cordoned: %w", name, err))
			continue
		}
		healed = append(healed, name)
	}
	slices.Sort(healed)
	return healed, errors.Join(errs...)
}

// marks are the annotations of a stack, by node.
func (d *Drainer) marks(ctx context.Context, stack string) (map[string]string, error) {
	var nodes corev1.NodeList
	if err := d.api.Get().Resource("nodes").MaxRetries(0).Do(ctx).Into(&nodes); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, n := range nodes.Items {
		if mark := n.Annotations[Annotation]; strings.HasPrefix(mark, stack+"/") {
			found[n.Name] = mark
		}
	}
	return found, nil
}

// cordon marks the node as unschedulable and says whether that is ours to undo. What an earlier run left is taken over; a cordon
// of somebody else is left alone.
func (d *Drainer) cordon(ctx context.Context, node, mark string) (bool, error) {
	ours := false
	return ours, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := d.node(ctx, node)
		if err != nil {
			return err
		}
		if ours = !now.Spec.Unschedulable || now.Annotations[Annotation] != ""; !ours {
			d.tell(node, "is cordoned already, and will stay so")
			return nil
		}
		return d.patch(ctx, now, true, mark)
	})
}

// uncordon takes back a cordon with that mark. Where there is another mark, or none, it does nothing: the node is somebody else's
// then, or is no more.
func (d *Drainer) uncordon(ctx context.Context, node, mark string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := d.node(ctx, node)
		if apierrors.IsNotFound(err) || err == nil && now.Annotations[Annotation] != mark {
			return nil
		}
		if err != nil {
			return err
		}
		return d.patch(ctx, now, nil, nil)
	})
}

// holds fails where the node's cordon is no longer the one with that mark.
func (d *Drainer) holds(ctx context.Context, node, mark string) error {
	now, err := d.node(ctx, node)
	if err != nil {
		return err
	}
	if now.Annotations[Annotation] != mark {
		return errTaken
	}
	return nil
}

func (d *Drainer) node(ctx context.Context, name string) (*corev1.Node, error) {
	var n corev1.Node
	return &n, d.api.Get().Resource("nodes").Name(name).MaxRetries(0).Do(ctx).Into(&n)
}

// patch changes cordon and mark together, and only the Node that was looked at.
func (d *Drainer) patch(ctx context.Context, n *corev1.Node, unschedulable, mark any) error {
	change, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "uid": n.UID, "annotations": map[string]any{Annotation: mark}},
		"spec":     map[string]any{"unschedulable": unschedulable},
	})
	if err != nil {
		return fmt.Errorf("encoding the change: %w", err)
	}
	return d.api.Patch(types.MergePatchType).Resource("nodes").Name(n.Name).MaxRetries(0).Body(change).Do(ctx).Error()
}
