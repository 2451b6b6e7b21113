// The Go client of Kubernetes, with the container's own identity.
package main

import (
	"context"
	"fmt"
	"os"

	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	fmt.Println(config.Host, config.CAFile, config.BearerTokenFile)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	namespace := os.Getenv("POD_NAMESPACE")
	pods, err := client.CoreV1().Pods(namespace).List(ctx, meta.ListOptions{LabelSelector: "app=app"})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			fmt.Println(container.Name)
		}
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(ctx, &authentication.SelfSubjectReview{}, meta.CreateOptions{})
	if err != nil {
		return err
	}
	fmt.Println(review.Status.UserInfo.Username)
	_, err = client.CoreV1().Secrets(namespace).List(ctx, meta.ListOptions{})
	fmt.Println("secrets:", errors.IsForbidden(err))
	watcher, err := client.CoreV1().ConfigMaps(namespace).Watch(ctx, meta.SingleObject(meta.ObjectMeta{Name: "settings"}))
	if err != nil {
		return err
	}
	defer watcher.Stop()
	fmt.Println((<-watcher.ResultChan()).Type)
	return nil
}
