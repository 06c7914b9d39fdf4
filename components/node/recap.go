package node

import (
	"strings"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"berth/components/verification"
)

// shortDigest is how much of a digest a person compares.
const shortDigest = len("sha256:") + 12

// recap makes the line that an operator reads when an up is over. It is made of what the steps said when they ran last, so an up
// that runs nothing shows the same line, and the engine marks those that are new.
func recap(base, containerd pulumi.StringOutput, job *batchv1.Job) pulumi.StringOutput {
	return pulumi.All(base, containerd, job.Metadata.Annotations()).ApplyT(func(v []any) string {
		notes, _ := v[2].(map[string]string)
		return recapLine(v[0].(string), v[1].(string), notes[verification.PulledAnnotation])
	}).(pulumi.StringOutput)
}

func recapLine(base, containerd, pulled string) string {
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
	if pulled != "" {
		said = append(said, "pulled="+pulled)
	}
	return strings.Join(said, " ")
}
