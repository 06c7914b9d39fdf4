// Package config reads a stack's berth: settings, fills in the defaults and reports every mistake at once.
package config

// Config is a whole stack. What Load returns is valid and complete: every default is filled in.
//
// The tags carry the schema: key is the name in the stack file; required, values and range are checked when it is read;
// default is filled in by the decoder, computed by the completion after it; example is what a message proposes, and
// secret keeps a value out of every message. The README's table is made from the tags and the fields' comments.
type Config struct {
	Registry    Registry    `key:"registry"`
	Certificate Certificate `key:"certificate"`
	Access      Access      `key:"access"`
	Containerd  Containerd  `key:"containerd"`
	Kubernetes  Kubernetes  `key:"kubernetes"`
	SSH         SSH         `key:"ssh"`
	Rollout     Rollout     `key:"rollout"`
	Drain       Drain       `key:"drain"`
	Drift       Drift       `key:"drift"`
	Nodes       []Node      `key:"nodes" example:"nodes: [{name: worker1, address: 10.0.0.12, hostKey: ssh-ed25519 AAAA…}]"`
}

// Registry is the private registry and what the nodes and pods need to reach it.
type Registry struct {
	// Name under which images are pulled: a DNS name of two labels or more, without a port. Upper case is kept.
	Host string `key:"host" required:"true" example:"host: Yuan.com"`
	// Further names of the registry, under which every node pulls as it does under host. With hostsEntry: false DNS has to know them, too.
	Aliases []string `key:"aliases" computed:"none" example:"aliases: [images.example.com]"`
	// Port of the Service on every node, 30000-32767. A change moves the registry in place and restarts no containerd.
	NodePort int `key:"nodePort" default:"30443" range:"30000-32767" example:"nodePort: 30443"`
	// Node whose disk keeps the images, by its name in berth:nodes. It is served last.
	Node string `key:"node" required:"true" example:"node: worker1"`
	// Namespace of the registry. The default one is created; any other must exist and is used as it is.
	Namespace string `key:"namespace" default:"berth-registry" example:"namespace: berth-registry"`
	// Image of the registry itself, by its full name with a tag or digest.
	Image string `key:"image" default:"docker.io/library/registry:3.1.2" example:"image: docker.io/library/registry:3.1.2"`
	// OCI or docker archive with that image on the operator's machine, relative to the project; it is copied to the
	// registry's node and imported there. Without it the node pulls the image from where it pulls today.
	ImageArchive string `key:"imageArchive" example:"imageArchive: registry.tar"`
	// Absolute path on the registry's node where pushed images live. It outlives a destroy.
	ImagesPath string `key:"imagesPath" default:"/var/lib/berth-registry" example:"imagesPath: /var/lib/berth-registry"`
	// User of the registry's htpasswd login.
	Username string `key:"username" default:"berth" example:"username: berth"`
	// Password of that user, 8 to 72 bytes. Secret, held here as plain text: wrap it with pulumi.ToSecret.
	Password string `key:"password" required:"true" secret:"true" example:"pulumi config set --secret --path berth:registry.password"`
	// Virtual IP that the hosts entries point to, instead of each node's own InternalIP.
	Address string `key:"address" computed:"each node's internalIP" example:"address: 10.0.0.100"`
	// Whether nodes get a hosts entry for the name. Set it to false where DNS knows the name.
	HostsEntry bool `key:"hostsEntry" default:"true" example:"hostsEntry: false"`
	// Namespaces that get the imagePullSecret berth-pull; they must exist.
	PullSecrets []string `key:"pullSecrets" computed:"none" example:"pullSecrets: [default]"`
}

// Kinds of CA, algorithms and places of trust: what the certificate's settings may say.
const (
	CAGenerated = "generated"
	CAPEM       = "pem"
	CACluster   = "cluster"

	TrustOS         = "os"
	TrustContainerd = "containerd"

	AlgorithmECDSA = "ECDSA"
	AlgorithmRSA   = "RSA"
)

// Certificate is the registry's server certificate and the CA behind it.
type Certificate struct {
	// CA that signs: generated (berth makes one), pem (given as caCert and caKey), or cluster (the cluster's own; its key never leaves the node).
	CA string `key:"ca" default:"generated" values:"generated,pem,cluster" example:"ca: generated"`
	// Certificate of the CA in PEM form, for ca: pem.
	CACert string `key:"caCert" example:"pulumi config set --path berth:certificate.caCert <ca.crt"`
	// Key of the CA in PEM form, for ca: pem. Secret, held here as plain text: wrap it with pulumi.ToSecret.
	CAKey string `key:"caKey" secret:"true" example:"pulumi config set --secret --path berth:certificate.caKey <ca.key"`
	// Where nodes trust the CA: os (the system's store) or containerd (containerd alone).
	Trust string `key:"trust" computed:"os; containerd with ca: cluster" values:"os,containerd" example:"trust: os"`
	// Algorithm of the server key: ECDSA (P-256) or RSA.
	Algorithm string `key:"algorithm" default:"ECDSA" values:"ECDSA,RSA" example:"algorithm: ECDSA"`
	// Length of an RSA key in bits: 2048, 3072 or 4096.
	RSABits int `key:"rsaBits" default:"2048" values:"2048,3072,4096" example:"rsaBits: 2048"`
	// Life of the server certificate in days, 1-36500.
	ValidityDays int `key:"validityDays" default:"825" range:"1-36500" example:"validityDays: 825"`
	// DNS names to certify besides registry.host and the Service's names.
	DNSNames []string `key:"dnsNames" computed:"none" example:"dnsNames: [registry.example.com]"`
	// IP addresses to certify besides registry.address or the InternalIP of the registry's node.
	IPAddresses []string `key:"ipAddresses" computed:"none" example:"ipAddresses: [10.0.0.12]"`
	// Control-plane node that signs with ca: cluster, by its name in berth:nodes.
	SigningNode string `key:"signingNode" computed:"registry.node" example:"signingNode: master1"`
	// Number to raise when a certificate signed by the cluster's CA is to be issued anew.
	Generation int `key:"generation" default:"1" range:"1-1000000" example:"generation: 1"`
}

// Modes of access.
const (
	ModePatch     = "patch"
	ModeMirror    = "mirror"
	ModeClusterIP = "cluster-ip"
	ModePortRange = "port-range"
)

// Access is how a node comes from the registry's name, which has no port, to the registry.
type Access struct {
	// How nodes come from the name to the registry: patch (a containerd that dials nodePort), mirror (a certs.d entry of the
	// packaged containerd), cluster-ip (an address of the cluster that serves port 443) or, not recommended, port-range (API servers that
	// take 443 for a NodePort). A change is made in place.
	Mode string `key:"mode" default:"patch" values:"patch,mirror,cluster-ip,port-range" example:"mode: patch"`
	// Address of the registry's Service for mode: cluster-ip, a free one from the lower band of the cluster's Service range.
	ClusterIP string `key:"clusterIP" computed:"none; needed with mode: cluster-ip" example:"clusterIP: 10.96.0.43"`
}

// Places to build that are no node's name.
const (
	BuildOnOperator = "operator"
	BuildOnEach     = "each"
)

// Containerd is what the nodes are to run where access.mode is patch; in other modes they keep the containerd of their package.
type Containerd struct {
	// Upstream version to build and run, x.y.z in quotes.
	Version string `key:"version" computed:"required with access.mode: patch" example:"version: \"1.7.36\""`
	// Whether version may be of a later line (1.7, 2.0) than the containerd package of a node. Nothing goes to an earlier line, or below the package.
	AllowMinorUpgrade bool `key:"allowMinorUpgrade" default:"false" example:"allowMinorUpgrade: true"`
	// CVEs whose fixes the package of a node has, and version lacks, that are accepted; unknown accepts a package without a readable changelog.
	AcceptCVE []string `key:"acceptCVE" computed:"none" example:"acceptCVE: [CVE-2024-25621]"`
	// Where it is built: operator (the machine that runs pulumi), the name of a node in berth:nodes (for all nodes), or each
	// (every node for itself, and all have to give the same). A node that builds needs Go. A change restarts nothing.
	BuildOn string `key:"buildOn" default:"operator" example:"buildOn: worker1"`
}

// Kubernetes is the cluster.
type Kubernetes struct {
	// Content of a kubeconfig. Secret, held here as plain text: wrap it with pulumi.ToSecret. When it comes from the
	// default file, it is cut down to the chosen context and files named in it are taken in.
	Kubeconfig string `key:"kubeconfig" secret:"true" computed:"file of $KUBECONFIG or ~/.kube/config" example:"pulumi config set --secret --path berth:kubernetes.kubeconfig <~/.kube/config"` //nolint:lll // a tag cannot be broken
	// Context of the kubeconfig to use.
	Context string `key:"context" computed:"the current one" example:"context: kubernetes-admin@kubernetes"`
	// Name of the cluster that stays when its kubeconfig changes; another name means another cluster, and everything in it anew.
	ClusterIdentifier string `key:"clusterIdentifier" computed:"project/stack" example:"clusterIdentifier: production"`
}

// SSH is how nodes are reached.
type SSH struct {
	// User on the nodes: root, or one with sudo that asks for no password.
	User string `key:"user" default:"root" example:"user: root"`
	// Port of sshd on the nodes, 1-65535.
	Port  int `key:"port" default:"22" range:"1-65535" example:"port: 22"`
	Login `computed:"none; a key, a password or the agent is needed"`
	// Server that nodes are reached through; none where they are dialled directly.
	Bastion *Bastion `key:"bastion" example:"bastion: {address: 203.0.113.7, hostKey: ssh-ed25519 AAAA…}"`
}

// Login is what opens an SSH server. Key and password are offered both where both are given.
type Login struct {
	// Private key in OpenSSH or PEM form. Secret, held here as plain text without its passphrase and ending in one line feed:
	// wrap it with pulumi.ToSecret.
	PrivateKey string `key:"privateKey" secret:"true" example:"pulumi config set --secret --path berth:… <key"`
	// Passphrase of privateKey. Secret, empty here: Load opens the key with it.
	Passphrase string `key:"passphrase" secret:"true" example:"pulumi config set --secret --path berth:…"`
	// Password to log in with; sudo is not given it. Secret, held here as plain text: wrap it with pulumi.ToSecret.
	Password string `key:"password" secret:"true" example:"pulumi config set --secret --path berth:…"`
	// Whether the key comes from the agent of $SSH_AUTH_SOCK instead of privateKey.
	Agent bool `key:"agent" default:"false" example:"agent: true"`
}

// Bastion is an SSH server on the way to nodes.
type Bastion struct {
	// Address that SSH dials: an IP address or a DNS name.
	Address string `key:"address" required:"true" example:"address: 203.0.113.7"`
	// Public SSH host key, ed25519 or ecdsa, as one authorized_keys line. The comment is dropped.
	HostKey string `key:"hostKey" required:"true" example:"hostKey: ssh-ed25519 AAAA…"`
	// User on it. It needs no rights but to forward ports.
	User string `key:"user" computed:"ssh.user" example:"user: jump"`
	// Port of its sshd, 1-65535.
	Port  int `key:"port" default:"22" range:"1-65535" example:"port: 22"`
	Login `computed:"the key or the agent of ssh, never its password"`
}

// Rollout is the order in which nodes switch to another containerd. A wave starts when every node of the one before has
// pulled by plain name; the first failure leaves the rest untouched.
type Rollout struct {
	// Nodes that go first, by their names in berth:nodes.
	Canary []string `key:"canary" computed:"none" example:"canary: [worker1]"`
	// How many nodes go at once after the canaries: a number, or a percentage of all nodes that is rounded down but never
	// to 0, as Kubernetes does. Control-plane nodes follow one at a time; the registry's node is last.
	Batch string `key:"batch" default:"25%" number:"yes" example:"batch: 25%"`
}

// Drain is what happens to the pods of a node before its containerd is restarted, in the terms of kubectl drain.
type Drain struct {
	// Whether a node is cordoned and drained before its containerd is restarted, and uncordoned after it. Pods outlive a
	// restart of containerd; this is for those that must not be there.
	Enabled bool `key:"enabled" default:"false" example:"enabled: true"`
	// How long the pods of a node may take to leave, as 90s or 5m. After that the node is left as it was, and the rollout stops.
	Timeout string `key:"timeout" default:"5m" example:"timeout: 5m"`
	// How long a pod may take to end, as 30s or 2m.
	GracePeriod string `key:"gracePeriod" computed:"what each pod says" example:"gracePeriod: 30s"`
	// Whether pods without a controller, which nobody makes anew, are evicted too; else they stop the drain before it begins.
	Force bool `key:"force" default:"false" example:"force: true"`
	// Whether pods with emptyDir volumes are evicted too, whose data is lost; else they stop the drain before it begins.
	DeleteEmptyDirData bool `key:"deleteEmptyDirData" default:"false" example:"deleteEmptyDirData: true"`
}

// Drift is the look at the nodes in front of every plan.
type Drift struct {
	// Whether preview and up compare each node, over SSH and without changing it, with what was installed there, and plan the repair of what differs.
	Check bool `key:"check" default:"true" example:"check: false"`
}

// Architectures that a node may have.
const (
	ArchAMD64 = "amd64"
	ArchARM64 = "arm64"
)

// Node is one node of the cluster.
type Node struct {
	// Name of the Kubernetes Node. It is the node's identity: another name is another node.
	Name string `key:"name" required:"true" example:"name: worker1"`
	// Address that SSH dials: an IP address or a DNS name.
	Address string `key:"address" required:"true" example:"address: 10.0.0.12"`
	// Public SSH host key of the node, ed25519 or ecdsa, as one authorized_keys line. The comment is dropped.
	HostKey string `key:"hostKey" required:"true" example:"hostKey: ssh-ed25519 AAAA…"`
	// InternalIP of the Kubernetes Node: where the node reaches its own NodePort.
	InternalIP string `key:"internalIP" computed:"address, when it is an IP address" example:"internalIP: 10.0.0.12"`
	// Architecture: amd64 or arm64.
	Arch string `key:"arch" default:"amd64" values:"amd64,arm64" example:"arch: amd64"`
	// Whether it is a control-plane node: these are switched one at a time, after the others.
	ControlPlane bool `key:"controlPlane" default:"false" example:"controlPlane: true"`
	// Whether systemd may be reloaded although the node has NVIDIA GPUs, which takes them from running pods: set drain.enabled,
	// or drain the node before each change of its containerd.
	ReloadWithGPU bool `key:"reloadWithGPU" default:"false" example:"reloadWithGPU: true"`
	// SSH user on this node.
	User string `key:"user" computed:"ssh.user" example:"user: root"`
	// SSH port of this node, 1-65535.
	Port  int `key:"port" computed:"ssh.port" range:"1-65535" example:"port: 22"`
	Login `computed:"all of the login of ssh, unless the node has a key, a password or the agent of its own"`
	// Bastion of this node. An empty map, bastion: {}, is none; what it lacks comes from ssh, and nothing from ssh.bastion.
	Bastion *Bastion `key:"bastion" computed:"ssh.bastion" example:"bastion: {}"`
	// Upstream containerd version for this node, x.y.z in quotes: a cluster may hold nodes of several lines.
	ContainerdVersion string `key:"containerdVersion" computed:"containerd.version" example:"containerdVersion: \"1.6.38\""`
	// Whether the node is dead or gone: nothing is run on it any more, and it can be taken out of the list afterwards.
	Retired bool `key:"retired" default:"false" example:"retired: true"`
}
