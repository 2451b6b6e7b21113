// Go's net and net/http, with names by cgo. usage: matrix net|http HOST PORT SECONDS
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	host, port := os.Args[2], os.Args[3]
	seconds, err := strconv.Atoi(os.Args[4])
	if err == nil {
		limit := time.Duration(seconds) * time.Second
		if os.Args[1] == "net" {
			err = talk(net.JoinHostPort(host, port), limit)
		} else {
			err = fetch("http://"+net.JoinHostPort(host, port)+"/", limit)
		}
	}
	if err != nil {
		fmt.Printf("%T %v\n", err, err)
	}
}

func talk(address string, limit time.Duration) error {
	connection, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return err
	}
	defer connection.Close()
	received, err := io.ReadAll(connection)
	fmt.Printf("connected to %v: %s", connection.RemoteAddr(), received)
	return err
}

func fetch(url string, limit time.Duration) error {
	client := http.Client{Timeout: limit}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Printf("%s %s", response.Status, body)
	return err
}
