// What programs of Go do to connect: net, its resolver, net/http, and children. Prints what comes of each.
//
// usage: clients POD
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const patience = 5 * time.Second

func say(what string, result any) {
	fmt.Printf("%s: %v\n", what, result)
}

// What an error is, without the ports and servers that its text may name.
func kind(err error) string {
	var name *net.DNSError
	var number syscall.Errno
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("no name %v, temporary %v", name.IsNotFound, name.IsTemporary)
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return fmt.Sprintf("%T", err)
}

func connect(address string, send string, limit time.Duration) string {
	connection, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return kind(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if send != "" {
		connection.Write([]byte(send))
		connection.(*net.TCPConn).CloseWrite()
	}
	received, err := io.ReadAll(connection)
	if err != nil {
		return kind(err)
	}
	return fmt.Sprintf("connected to %v, %q", connection.RemoteAddr(), received)
}

func fetched(url string, limit time.Duration) string {
	client := http.Client{Timeout: limit}
	response, err := client.Get(url)
	if err != nil {
		return kind(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return kind(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, strings.TrimSpace(string(body)))
}

func sorted(found []string, err error) any {
	if err != nil {
		return kind(err)
	}
	slices.Sort(found)
	return found
}

func connectedDatagrams(address string) string {
	connection, err := net.Dial("udp", address)
	if err != nil {
		return kind(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if _, err := connection.Write([]byte("hello")); err != nil {
		return kind(err)
	}
	buffer := make([]byte, 16)
	count, err := connection.Read(buffer)
	if err != nil {
		return kind(err)
	}
	return fmt.Sprintf("%q from %v", buffer[:count], connection.RemoteAddr())
}

func datagrams(addresses ...string) []string {
	socket, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return []string{kind(err)}
	}
	defer socket.Close()
	socket.SetDeadline(time.Now().Add(patience))
	var results []string
	buffer := make([]byte, 16)
	for _, address := range addresses {
		target, err := net.ResolveUDPAddr("udp", address)
		if err == nil {
			_, err = socket.WriteTo([]byte("hello"), target)
		}
		if err != nil {
			results = append(results, kind(err))
			continue
		}
		count, from, err := socket.ReadFrom(buffer)
		if err != nil {
			results = append(results, kind(err))
			continue
		}
		results = append(results, fmt.Sprintf("%q from %v", buffer[:count], from))
	}
	return results
}

func child(environment []string, name string, arguments ...string) string {
	command := exec.Command(name, arguments...)
	command.Env = environment
	output, err := command.Output()
	return fmt.Sprintf("%q %v", output, err)
}

// Runs a function so often, so many at once; counts what it returns.
func counted(times int, atOnce int, run func(int) string) map[string]int {
	var all sync.WaitGroup
	var lock sync.Mutex
	places := make(chan bool, atOnce)
	counts := map[string]int{}
	for number := range times {
		places <- true
		all.Go(func() {
			result := run(number)
			lock.Lock()
			counts[result]++
			lock.Unlock()
			<-places
		})
	}
	all.Wait()
	return counts
}

// Connects in a thread of its own, which ends with the function.
func inThread(address string) string {
	result := make(chan string)
	go func() {
		runtime.LockOSThread()
		result <- connect(address, "", patience)
	}()
	return <-result
}

func main() {
	if os.Args[1] == "child" {
		say("child", connect("echo:7005", "", patience))
		return
	}
	pod := os.Args[1]
	say("greeting", connect("echo:7005", "", patience))
	say("half-close", connect("10.96.10.3:7003", "four", patience))
	say("refused", connect(pod+":4444", "", patience))
	say("unroutable", connect("unroutable.external.test:7005", "", patience))
	say("silent", connect("silent.external.test:7005", "", time.Second/2))
	say("unknown", connect("missing.external.test:80", "", patience))
	say("local", connect("127.0.0.1:1", "", patience))
	say("http", fetched("http://web/", patience))
	say("http elsewhere", fetched("http://web.other.svc.cluster.local/", patience))
	say("http refused", fetched("http://"+pod+":4444/", patience))
	say("http silent", fetched("http://198.18.0.1/", time.Second/2))

	say("host", sorted(net.LookupHost("web.default")))
	say("hosts", sorted(net.LookupHost("db")))
	say("host unknown", sorted(net.LookupHost("missing")))
	say("host failed", sorted(net.LookupHost("anything.broken.test")))
	say("address", sorted(net.LookupAddr("10.96.10.1")))
	_, services, err := net.LookupSRV("http", "tcp", "web.default.svc.cluster.local")
	for _, service := range services {
		say("service", fmt.Sprintf("%+v", *service))
	}
	say("service", err)
	say("text", sorted(net.LookupTXT("missing.external.test")))
	file, err := os.ReadFile("/etc/resolv.conf")
	status, _ := os.Stat("/etc/resolv.conf")
	say("resolv.conf", fmt.Sprintf("%q %v %v", file, err, status.Size() == int64(len(file))))

	say("connected datagrams", connectedDatagrams("echo:7000"))
	say("refused datagrams", connectedDatagrams(pod+":4444"))
	say("datagrams", datagrams("echo:7000", pod+":7000"))

	own, _ := os.Executable()
	say("child", child(nil, own, "child"))
	say("child without environment", child([]string{}, own, "child"))
	say("shell", child(nil, "/bin/sh", "-c", "getent hosts web | tr -s ' '"))
	say("no child", child(nil, "/nonexistent/program"))
	say("greeting", connect("echo:7005", "", patience))

	// signals, collections of garbage and threads that end, meanwhile
	var profile bytes.Buffer
	say("profile", pprof.StartCPUProfile(&profile))
	say("many", counted(300, 50, func(number int) string {
		runtime.GC()
		if !strings.Contains(os.Getenv("GODEBUG"), "netdns=cgo") {
			// libc's own resolver reads the environment without a lock, in whatever program
			os.Setenv(fmt.Sprint("VARIABLE_", number), strings.Repeat("x", number))
		}
		switch number % 10 {
		case 0:
			return child(nil, "/bin/echo", "child")
		case 1, 2:
			return inThread("10.96.10.3:7005")
		}
		return fetched("http://web/", patience)
	}))
	pprof.StopCPUProfile()
	// each thread that ends had a stack for hooks
	mappings := countedMappings()
	say("one after the other", counted(200, 1, func(int) string { return inThread("10.96.10.3:7005") }))
	say("mappings stay", countedMappings() < mappings+100)
}

func countedMappings() int {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		panic(err)
	}
	return bytes.Count(maps, []byte("\n"))
}
