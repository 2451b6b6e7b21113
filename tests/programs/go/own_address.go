// A program that listens at its own address and connects to itself there.
//
// usage: own_address NAME_SERVER ECHO
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(0)
	}
}

func main() {
	probe, err := net.Dial("udp", os.Args[1])
	check(err)
	own := probe.LocalAddr().(*net.UDPAddr).IP
	is_own := func(address net.Addr) bool {
		host, _, err := net.SplitHostPort(address.String())
		return err == nil && host == own.String()
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(own.String(), "0"))
	check(err)
	fmt.Println("listens at the own address:", is_own(listener.Addr()))
	go func() {
		accepted, err := listener.Accept()
		check(err)
		fmt.Fprintf(accepted, "from the own address: %v, at it: %v", is_own(accepted.RemoteAddr()), is_own(accepted.LocalAddr()))
		accepted.Close()
	}()
	client, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
	check(err)
	said, err := io.ReadAll(client)
	check(err)
	fmt.Println(string(said))
	packets, err := net.ListenPacket("udp", net.JoinHostPort(own.String(), "0"))
	check(err)
	packets.SetDeadline(time.Now().Add(10 * time.Second))
	echo, err := net.ResolveUDPAddr("udp", os.Args[2])
	check(err)
	_, err = packets.WriteTo([]byte("hello"), echo)
	check(err)
	buffer := make([]byte, 100)
	count, from, err := packets.ReadFrom(buffer)
	check(err)
	fmt.Println("received", string(buffer[:count]), "from", from)
}
