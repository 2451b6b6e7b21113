// A program that has no use for a network.
package main

import "fmt"

func main() {
	fmt.Println("go")
}
