// Package verification has a node's kubelet pull, and sees that it did.
//
// The pod of a Job pulls by the registry's plain name. A Job is said to be complete some three seconds after its container has ended: the
// kubelet looks at its containers once a second, here twice, and the Job controller gathers what it sees for another second. But of a
// pull the kubelet tells at once, by an event. So the pod is watched in place of the Job, which also brings the kubelet's own words
// where it cannot pull.
package verification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"berth/internal/kubeapi"
)

const (
	// PulledAnnotation stands on a Job that has proved its node: how long the kubelet pulled.
	PulledAnnotation = "berth/pulled"
	// FieldManager owns the Job's fields. Who applies the Job under that name, too, is in no conflict, and takes lifetime off it.
	FieldManager = "berth"
)

const (
	// lifetime is how long a Job stays that has ended and of which nobody else knows, since the run behind it was killed, in seconds.
	lifetime = 600
	// grace is what the cluster gets, beyond a Job's own deadline, to tell how it ended.
	grace = 15 * time.Second
	// cleanupLimit bounds the deletion of a Job that proved nothing, which is also done when everything else is given up.
	cleanupLimit = 20 * time.Second
)

// Options are how nodes are verified.
type Options struct {
	// Tell is told what keeps a kubelet from pulling, while it tries again; nil tells nobody.
	Tell func(node, text string)
}

// Verifier verifies nodes of one cluster. It may verify several at once.
type Verifier struct {
	api     rest.Interface
	codec   runtime.ParameterCodec
	options Options
	// pause is before a call that was not answered is made again.
	pause time.Duration
}

// New prepares a Verifier and calls no server. Its error holds nothing of the kubeconfig.
func New(cluster kubeapi.Cluster, options Options) (*Verifier, error) {
	api, codec, err := kubeapi.New(cluster, batchv1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("preparing to verify nodes: %w", err)
	}
	return &Verifier{api: api, codec: codec, options: options, pause: time.Second}, nil
}

// Verify applies the Job, and returns when the images of its pod are pulled and PulledAnnotation is on it. A Job that proves nothing is
// deleted again; the error then has the kubelet's last words. Who applies the Job once more keeps it: it has a lifetime otherwise.
func (v *Verifier) Verify(ctx context.Context, manifest []byte) error {
	var job batchv1.Job
	if err := json.Unmarshal(manifest, &job); err != nil {
		return fmt.Errorf("reading the Job of a verification: %w", err)
	}
	shortLived, err := withLifetime(manifest)
	if err != nil {
		return fmt.Errorf("reading the Job of a verification: %w", err)
	}
	bound := grace
	if seconds := job.Spec.ActiveDeadlineSeconds; seconds != nil {
		bound += time.Duration(*seconds) * time.Second
	}
	bounded, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no end within %s", bound))
	defer cancel()
	if err := v.prove(bounded, &job, shortLived); err != nil {
		v.delete(ctx, &job)
		return fmt.Errorf("node %s: %w", job.Spec.Template.Spec.NodeName, err)
	}
	return nil
}

// withLifetime leaves all else of the Job as it is written, which the types of this Go module may not know.
func withLifetime(manifest []byte) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(manifest, &object); err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(object, int64(lifetime), "spec", "ttlSecondsAfterFinished"); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

func (v *Verifier) prove(ctx context.Context, job *batchv1.Job, manifest []byte) error {
	began := time.Now()
	if err := v.patch(ctx, job, types.ApplyPatchType, manifest); err != nil {
		return fmt.Errorf("creating Job %s: %w", job.Name, err)
	}
	w := &watcher{api: v.api, codec: v.codec, job: job, tell: v.options.Tell, pause: v.pause}
	if err := w.wait(ctx); err != nil {
		return err
	}
	took := w.longest
	if took == 0 {
		// The event was lost, and the pod's status told.
		took = time.Since(began)
	}
	notes := map[string]string{PulledAnnotation: took.Round(time.Millisecond).String()}
	change, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": notes}})
	if err != nil {
		return fmt.Errorf("encoding the annotation: %w", err)
	}
	if err := v.patch(ctx, job, types.MergePatchType, change); err != nil {
		return fmt.Errorf("writing %s on Job %s: %w", PulledAnnotation, job.Name, err)
	}
	return nil
}

// patch changes the Job until that is answered, or ctx ends.
func (v *Verifier) patch(ctx context.Context, job *batchv1.Job, kind types.PatchType, change []byte) error {
	for {
		request := v.jobs(v.api.Patch(kind), job.Namespace).Name(job.Name).Body(change)
		if kind == types.ApplyPatchType {
			request.Param("fieldManager", FieldManager)
		}
		err := request.Do(ctx).Error()
		if err == nil || !kubeapi.Passing(err) {
			return err
		}
		if !sleep(ctx, v.pause) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// delete takes a Job away with its pod, also after ctx has ended. One that stays ends at its deadline, and goes after its lifetime.
func (v *Verifier) delete(ctx context.Context, job *batchv1.Job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	background := metav1.DeletePropagationBackground
	_ = v.jobs(v.api.Delete(), job.Namespace).Name(job.Name).Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Error()
}

// jobs has a request go to the Jobs of a namespace, which are not in the core group.
func (v *Verifier) jobs(request *rest.Request, namespace string) *rest.Request {
	return request.AbsPath("/apis/batch/v1").Namespace(namespace).Resource("jobs").MaxRetries(0)
}

// sleep says whether ctx is still going on afterwards.
func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
