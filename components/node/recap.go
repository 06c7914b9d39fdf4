package node

import (
	"fmt"
	"strings"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// shortDigest is how much of a digest a person compares.
const shortDigest = len("sha256:") + 12

// recap makes the line that an operator reads when an up is over. It is made of what the steps said when they ran last, so an up
// that runs nothing shows the same line, and the engine marks those that are new. The pull's time is the Job's own, from its start
// to its end in whole seconds: it stays as long as the Job does. The kubelet's event has fractions, but is gone after an hour.
func recap(base, containerd pulumi.StringOutput, job *batchv1.Job) pulumi.StringOutput {
	return pulumi.All(base, containerd, job.Status.StartTime(), job.Status.CompletionTime()).ApplyT(func(v []any) string {
		start, _ := v[2].(*string)
		end, _ := v[3].(*string)
		return recapLine(v[0].(string), v[1].(string), start, end)
	}).(pulumi.StringOutput)
}

func recapLine(base, containerd string, start, end *string) string {
	var said []string
	for _, text := range []string{containerd, base} {
		// A login shell may have said something before.
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for _, word := range strings.Fields(lines[len(lines)-1]) {
			if digest, ok := strings.CutPrefix(word, "digest="); ok {
				word = digest[:min(len(digest), shortDigest)]
			}
			if word != stepBase {
				said = append(said, word)
			}
		}
	}
	if took, ok := between(start, end); ok {
		said = append(said, fmt.Sprintf("pulled=%s", took))
	}
	return strings.Join(said, " ")
}

// between is the time from start to end, where both are known.
func between(start, end *string) (time.Duration, bool) {
	if start == nil || end == nil {
		return 0, false
	}
	from, err := time.Parse(time.RFC3339, *start)
	if err != nil {
		return 0, false
	}
	to, err := time.Parse(time.RFC3339, *end)
	return to.Sub(from), err == nil
}
