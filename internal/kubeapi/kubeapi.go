// Package kubeapi reaches the API server that a kubeconfig names: the part of client-go that reads one and speaks REST, with the types of
// the core group and of those that a user adds.
package kubeapi

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// callLimit bounds one call of the API server.
const callLimit = 20 * time.Second

// Cluster is where an API server is found.
type Cluster struct {
	// Kubeconfig is the content of a kubeconfig, and Context the name of a context in it; empty is the current one.
	Kubeconfig, Context string
}

// New returns a client of the core group, and the codec of its parameters, and calls no server. Its error holds nothing of the kubeconfig.
func New(cluster Cluster, more ...func(*runtime.Scheme) error) (rest.Interface, runtime.ParameterCodec, error) {
	loaded, err := clientcmd.Load([]byte(cluster.Kubeconfig))
	if err != nil {
		return nil, nil, errors.New("the kubeconfig cannot be read")
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: cluster.Context}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, overrides).ClientConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	for _, add := range append(more, corev1.AddToScheme) {
		if err := add(scheme); err != nil {
			return nil, nil, fmt.Errorf("preparing the client: %w", err)
		}
	}
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.Timeout = callLimit
	// Its users are slow enough, and the server has limits of its own.
	config.QPS = -1
	api, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the client: %w", err)
	}
	return api, runtime.NewParameterCodec(scheme), nil
}

// Passing says whether the same call may do better in a moment: nobody answered, or the server cannot just now.
func Passing(err error) bool {
	_, answered := errors.AsType[*apierrors.StatusError](err)
	return !answered || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err)
}
