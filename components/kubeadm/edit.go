package kubeadm

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// argument is the API server's, without its dashes, and usual is what it has where nobody gives it one.
const (
	argument = "service-node-port-range"
	usual    = "30000-32767"
)

// mapsOfArguments are the API versions in which extra arguments are a map; in later ones they are a list of names and values.
var mapsOfArguments = []string{"kubeadm.k8s.io/v1beta1", "kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3"}

var (
	errForm = errors.New("it is no ClusterConfiguration that can be read")
	ports   = regexp.MustCompile(`^([0-9]+)-([0-9]+)$`)
)

// wider is a range of ports with port in it: Kubernetes takes one range, not two.
func wider(of string, port int) (string, error) {
	m := ports.FindStringSubmatch(of)
	if m == nil {
		return "", fmt.Errorf("%s is %q: write it as FROM-TO", argument, of)
	}
	from, fromErr := strconv.Atoi(m[1])
	to, toErr := strconv.Atoi(m[2])
	if err := errors.Join(fromErr, toErr); err != nil {
		return "", fmt.Errorf("%s is %q: %w", argument, of, err)
	}
	return fmt.Sprintf("%d-%d", min(from, port), max(to, port)), nil
}

// configuration is a ClusterConfiguration.
type configuration struct {
	document yaml.Node
	root     *yaml.Node
}

func parse(text string) (*configuration, error) {
	c := &configuration{}
	if err := yaml.Unmarshal([]byte(text), &c.document); err != nil {
		return nil, fmt.Errorf("%w: %w", errForm, err)
	}
	if len(c.document.Content) != 1 || c.document.Content[0].Kind != yaml.MappingNode {
		return nil, errForm
	}
	c.root = c.document.Content[0]
	return c, nil
}

// value finds the value of a key in a mapping; nil where there is none.
func value(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// drop takes a key out of a mapping.
func drop(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return
		}
	}
}

// ensure returns the value of a key in a mapping, made with this kind where there is none or an empty one.
func ensure(mapping *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	node := value(mapping, key)
	if node == nil {
		node = &yaml.Node{}
		mapping.Content = append(mapping.Content, scalar(key), node)
	}
	if len(node.Content) == 0 {
		*node = yaml.Node{Kind: kind}
	}
	return node
}

func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// given is the node with the argument's value; nil where it has none. Of a list the last one counts, as on a command line.
func (c *configuration) given() *yaml.Node {
	arguments := value(value(c.root, "apiServer"), "extraArgs")
	if arguments == nil || arguments.Kind != yaml.SequenceNode {
		return value(arguments, argument)
	}
	for _, item := range slices.Backward(arguments.Content) {
		if name := value(item, "name"); name != nil && name.Value == argument {
			return value(item, "value")
		}
	}
	return nil
}

// portRange is the argument's value; "" where it has none.
func (c *configuration) portRange() string {
	if node := c.given(); node != nil {
		return node.Value
	}
	return ""
}

// set gives the argument a value; "" takes it out. All else stays, but for the form of the text.
func (c *configuration) set(to string) (string, error) {
	switch node := c.given(); {
	case to == "":
		c.remove()
	case node != nil:
		node.Value = to
	default:
		c.add(to)
	}
	var text bytes.Buffer
	out := yaml.NewEncoder(&text)
	// As kubeadm writes it.
	out.SetIndent(2)
	out.CompactSeqIndent()
	if err := errors.Join(out.Encode(&c.document), out.Close()); err != nil {
		return "", fmt.Errorf("writing the ClusterConfiguration: %w", err)
	}
	return text.String(), nil
}

func (c *configuration) add(to string) {
	version := value(c.root, "apiVersion")
	kind := yaml.SequenceNode
	if version != nil && slices.Contains(mapsOfArguments, version.Value) {
		kind = yaml.MappingNode
	}
	arguments := ensure(ensure(c.root, "apiServer", yaml.MappingNode), "extraArgs", kind)
	pair := []*yaml.Node{scalar(argument), scalar(to)}
	if arguments.Kind == yaml.SequenceNode {
		pair = []*yaml.Node{{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("name"), scalar(argument), scalar("value"), scalar(to)}}}
	}
	arguments.Content = append(arguments.Content, pair...)
}

func (c *configuration) remove() {
	server := value(c.root, "apiServer")
	arguments := value(server, "extraArgs")
	if arguments == nil {
		return
	}
	drop(arguments, argument)
	if arguments.Kind == yaml.SequenceNode {
		arguments.Content = slices.DeleteFunc(arguments.Content, func(item *yaml.Node) bool {
			name := value(item, "name")
			return name != nil && name.Value == argument
		})
	}
	if len(arguments.Content) == 0 {
		drop(server, "extraArgs")
	}
}

// says is a range for people.
func says(portRange string) string {
	if portRange == "" {
		return "none"
	}
	return portRange
}
