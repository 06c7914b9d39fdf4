package verification

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"berth/internal/kubeapi"
)

// The kubelet's words for what happens to a container, in the reason of an event.
const (
	reasonPulled  = "Pulled"
	reasonBackOff = "BackOff"
)

// harmless are the reasons of warnings about pods that run all the same.
var harmless = []string{reasonBackOff, "MissingClusterDNS", "DNSConfigForming"}

// remedy ends the error of a pod that proved nothing.
const remedy = `mend that and run pulumi up again (README.md, "A node does not pull")`

// success is how the kubelet says that it pulled, and how long: `Successfully pulled image "…" in 663ms (663ms including waiting). …`.
// Of an image that it did not have to pull it says something else.
var success = regexp.MustCompile(`^Successfully pulled image .* in ([0-9][^ ]*s)\b`)

// watcher watches the pod of one Job until the images of all its containers are pulled. Before the first pull the kubelet has had
// containerd start the pod's sandbox; that a container starts then proves no more of the node.
type watcher struct {
	api   rest.Interface
	codec runtime.ParameterCodec
	job   *batchv1.Job
	tell  func(node, text string)
	pause time.Duration

	// pod is the one that is watched, and pulled those of its containers whose image is known to be pulled.
	pod    types.UID
	pulled map[string]bool
	// longest is the longest pull of which the kubelet told.
	longest time.Duration
	// complaint is what the kubelet said last of what keeps it from pulling.
	complaint string
}

// wait watches the pod, and anew where a watch ends.
func (w *watcher) wait(ctx context.Context) error {
	var lost error
	for {
		done, err := w.follow(ctx)
		if done || err != nil && !kubeapi.Passing(err) {
			return err
		}
		if ctx.Err() == nil {
			lost = err
		}
		if !sleep(ctx, w.pause) {
			return errors.Join(w.ended(context.Cause(ctx).Error()), lost)
		}
	}
}

// follow reads one watch of the pod, and one of its events, until either ends, and says whether the pod has come to its end. Without a
// version, a watch begins with what is there.
func (w *watcher) follow(ctx context.Context) (bool, error) {
	pods, err := w.watch(ctx, "pods", metav1.ListOptions{LabelSelector: labels.Set{"job-name": w.job.Name}.String()})
	if err != nil {
		return false, fmt.Errorf("watching the pod of Job %s: %w", w.job.Name, err)
	}
	defer pods.Stop()
	var events watch.Interface
	var told <-chan watch.Event
	defer func() {
		if events != nil {
			events.Stop()
		}
	}()
	for {
		var event watch.Event
		var open bool
		select {
		case event, open = <-pods.ResultChan():
		case event, open = <-told:
		}
		if !open {
			return false, nil
		}
		if event.Type == watch.Error {
			return false, apierrors.FromObject(event.Object)
		}
		switch object := event.Object.(type) {
		case *corev1.Pod:
			if events == nil {
				// Who may not read events sees the pod's status, which is a second later.
				selector := fields.OneTermEqualSelector("involvedObject.uid", string(object.UID)).String()
				if events, err = w.watch(ctx, "events", metav1.ListOptions{FieldSelector: selector}); err == nil {
					told = events.ResultChan()
				}
			}
			err = w.seePod(object, event.Type == watch.Deleted)
		case *corev1.Event:
			w.hear(object)
		}
		if err != nil || w.all() {
			return true, err
		}
	}
}

func (w *watcher) watch(ctx context.Context, resource string, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return w.api.Get().Namespace(w.job.Namespace).Resource(resource).VersionedParams(&options, w.codec).MaxRetries(0).Watch(ctx)
}

// all says whether the image of every container is pulled.
func (w *watcher) all() bool {
	for _, container := range w.job.Spec.Template.Spec.Containers {
		if !w.pulled[container.Name] {
			return false
		}
	}
	return true
}

// seePod reads a pod's status. It fails where the pod has come to an end that proves nothing.
func (w *watcher) seePod(pod *corev1.Pod, deleted bool) error {
	if w.pod != pod.UID {
		w.pod, w.pulled = pod.UID, map[string]bool{}
	}
	for i := range pod.Status.ContainerStatuses {
		switch state := &pod.Status.ContainerStatuses[i].State; {
		case state.Running != nil, state.Terminated != nil && state.Terminated.ExitCode == 0:
			w.pulled[pod.Status.ContainerStatuses[i].Name] = true
		case state.Terminated != nil:
			return w.ended(fmt.Sprintf("the container ended with %d, %s", state.Terminated.ExitCode, state.Terminated.Reason))
		case state.Waiting != nil && w.complaint == "" && state.Waiting.Message != "":
			w.complain(state.Waiting.Message)
		}
	}
	switch {
	case w.all():
		return nil
	case pod.Status.Phase == corev1.PodFailed:
		return w.ended(strings.TrimSpace("its pod failed: " + pod.Status.Reason + " " + pod.Status.Message))
	case deleted || pod.DeletionTimestamp != nil:
		return w.ended("its pod was deleted")
	}
	return nil
}

// hear reads what the kubelet tells of the pod.
func (w *watcher) hear(event *corev1.Event) {
	switch {
	case event.InvolvedObject.UID != w.pod:
	case event.Reason == reasonPulled:
		if said := success.FindStringSubmatch(event.Message); said != nil {
			// "spec.containers{verify-0}"
			_, name, _ := strings.Cut(strings.TrimSuffix(event.InvolvedObject.FieldPath, "}"), "{")
			w.pulled[name] = true
			// What is no duration is none.
			took, _ := time.ParseDuration(said[1])
			w.longest = max(w.longest, took)
		}
	case event.Type == corev1.EventTypeWarning && !slices.Contains(harmless, event.Reason) && !strings.HasPrefix(event.Message, "Error: "):
		w.complain(event.Message)
	}
}

func (w *watcher) complain(text string) {
	text = strings.Join(strings.Fields(text), " ")
	if text == w.complaint {
		return
	}
	w.complaint = text
	if w.tell != nil {
		w.tell(w.job.Spec.Template.Spec.NodeName, "the kubelet tries again: "+text)
	}
}

// ended is the error for a pod that proved nothing.
func (w *watcher) ended(how string) error {
	if w.complaint != "" {
		how += ": " + w.complaint
	}
	return fmt.Errorf("the kubelet did not pull: %s; %s", how, remedy)
}
