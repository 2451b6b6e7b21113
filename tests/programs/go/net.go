// A program that could connect.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		_, err := net.Dial("tcp", os.Args[1])
		fmt.Println(err)
	}
	fmt.Println("go")
}
