package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"berth/internal/kubeapi"
)

// list returns the pods on a node.
func (d *Drainer) list(ctx context.Context, node string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	options := &metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()}
	if err := d.api.Get().Resource("pods").VersionedParams(options, d.codec).MaxRetries(0).Do(ctx).Into(&pods); err != nil {
		return nil, fmt.Errorf("listing its pods: %w", err)
	}
	return pods.Items, nil
}

// choose returns the pods to evict, by uid, and fails with all those that may not be.
func (d *Drainer) choose(ctx context.Context, node string) (map[types.UID]bool, error) {
	pods, err := d.list(ctx, node)
	if err != nil {
		return nil, err
	}
	chosen := map[types.UID]bool{}
	var problems []string
	for i := range pods {
		pod := &pods[i]
		if d.stays(pod) {
			continue
		}
		chosen[pod.UID] = true
		if metav1.GetControllerOf(pod) == nil && !d.options.Force {
			problems = append(problems, name(pod)+" has no controller that would make it anew: delete it, or set berth:drain.force")
		}
		if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.EmptyDir != nil }) && !d.options.DeleteEmptyDirData {
			problems = append(problems, name(pod)+" would lose the data of its emptyDir volumes: delete it, or set berth:drain.deleteEmptyDirData")
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return nil, errors.New("nothing is changed:\n  " + strings.Join(problems, "\n  "))
	}
	return chosen, nil
}

// stays says whether a pod is left where it is: it has ended, or is tied to the node, or is spared.
func (d *Drainer) stays(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return true
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/") {
		return true
	}
	return len(d.options.Spare) > 0 && pod.Namespace == d.options.SpareNamespace &&
		labels.SelectorFromSet(d.options.Spare).Matches(labels.Set(pod.Labels))
}

// evictAll asks for the eviction of the pods until none of them is left. Pods that come later are not its business: one that
// tolerates the cordon would come back for ever. Still is asked before each round.
func (d *Drainer) evictAll(ctx context.Context, node string, chosen map[types.UID]bool, still func(context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, d.options.Timeout, fmt.Errorf("not within %s", d.options.Timeout))
	defer cancel()
	waiting, told := map[string]string{}, ""
	for {
		left, err := d.round(ctx, node, chosen, still)
		switch {
		case ctx.Err() != nil:
			return late(context.Cause(ctx), waiting)
		case errors.Is(err, errTaken) || err != nil && !kubeapi.Passing(err):
			return err
		case err != nil:
			left = maps.Clone(waiting)
			left["the API server"] = err.Error()
		case len(left) == 0:
			if len(chosen) > 0 {
				d.tell(node, fmt.Sprintf("is drained of %d pods after %s", len(chosen), time.Since(began).Round(time.Second)))
			}
			return nil
		}
		if waiting = left; told != list(waiting) {
			told = list(waiting)
			d.tell(node, "waits for "+told)
		}
		select {
		case <-ctx.Done():
			return late(context.Cause(ctx), waiting)
		case <-time.After(d.pause):
		}
	}
}

// round evicts once what is left of the pods, and returns for each why it is still there.
func (d *Drainer) round(
	ctx context.Context, node string, chosen map[types.UID]bool, still func(context.Context) error,
) (map[string]string, error) {
	if err := still(ctx); err != nil {
		return nil, err
	}
	pods, err := d.list(ctx, node)
	if err != nil {
		return nil, err
	}
	left := map[string]string{}
	for i := range pods {
		pod := &pods[i]
		if !chosen[pod.UID] || d.stays(pod) {
			continue
		}
		why := "is ending"
		if pod.DeletionTimestamp == nil {
			if why, err = d.evict(ctx, pod); err != nil {
				return nil, err
			}
		}
		left[name(pod)] = why
	}
	return left, nil
}

// evict asks once for a pod's eviction. What a PodDisruptionBudget forbids for now is no error.
func (d *Drainer) evict(ctx context.Context, pod *corev1.Pod) (string, error) {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	if d.options.GracePeriod > 0 {
		seconds := int64(d.options.GracePeriod.Seconds())
		eviction.DeleteOptions.GracePeriodSeconds = &seconds
	}
	err := d.api.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		MaxRetries(0).Body(eviction).Do(ctx).Error()
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// Not there any more, or another pod of that name is: the next look tells.
		return "is ending", nil
	case apierrors.IsTooManyRequests(err), apierrors.IsInternalError(err):
		// The server answers the latter for a pod with two budgets.
		return reason(err), nil
	case apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// It goes with its namespace.
		return reason(err), nil
	default:
		return "", fmt.Errorf("evicting %s: %w", name(pod), err)
	}
}

// reason is what the API server says of a refused eviction, with the budget that refused it.
func reason(err error) string {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return err.Error()
	}
	parts := []string{strings.TrimSpace(status.ErrStatus.Message)}
	if details := status.ErrStatus.Details; details != nil {
		for _, cause := range details.Causes {
			parts = append(parts, cause.Message)
		}
	}
	return strings.Join(parts, " ")
}

func late(cause error, waiting map[string]string) error {
	if len(waiting) == 0 {
		return cause
	}
	return fmt.Errorf("%w: %s", cause, list(waiting))
}

// list tells the pods and why each is still there.
func list(waiting map[string]string) string {
	var parts []string
	for _, pod := range slices.Sorted(maps.Keys(waiting)) {
		parts = append(parts, pod+" ("+waiting[pod]+")")
	}
	return strings.Join(parts, ", ")
}

func name(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
