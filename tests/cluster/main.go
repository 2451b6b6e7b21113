// Every program of a one-node Kubernetes in one static binary.
//
// The name that it is called by chooses the program, as with busybox; called by any other name it takes the
// program's name as its first argument. The flags are the program's own:
//
//	ln -s cluster kubectl && ./kubectl get nodes
//	cluster kube-apiserver --etcd-servers http://127.0.0.1:2379 ...
//
// One binary instead of eight means one link step, one file to copy, and pages of code that the programs
// share in memory.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "github.com/coredns/coredns/core/plugin"
	"github.com/coredns/coredns/coremain"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps a name to what runs. Each ends the process itself, or returns when the program is over.
var programs = map[string]func(){
	"coredns": coremain.Run,
	"etcd":    func() { etcdmain.Main(os.Args) },

	"kube-apiserver":          func() { run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { run(controllers.NewControllerManagerCommand()) },
	"kube-proxy":              func() { run(proxy.NewProxyCommand()) },
	"kube-scheduler":          func() { run(scheduler.NewSchedulerCommand()) },
	"kubectl":                 func() { run(kubectl.NewDefaultKubectlCommand()) },
	"kubelet":                 func() { run(kubelet.NewKubeletCommand(context.Background())) },
}

// run executes one of the cobra commands and ends the process with its status.
func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func main() {
	if program, known := programs[filepath.Base(os.Args[0])]; known {
		program()
		return
	}
	if len(os.Args) < 2 {
		usage("a program's name is missing")
	}
	program, known := programs[os.Args[1]]
	if !known {
		usage(fmt.Sprintf("there is no program named %q", os.Args[1]))
	}
	os.Args = os.Args[1:]
	program()
}

// usage says what was wrong and which programs there are.
func usage(wrong string) {
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "cluster: %s\n\nhint: cluster %s [FLAG ...]\n", wrong, strings.Join(names, "|"))
	os.Exit(2)
}
