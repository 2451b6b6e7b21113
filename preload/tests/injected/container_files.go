package main

// #include <stdlib.h>
import "C"
import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	C.free(nil)
	d, err := os.ReadFile("/srv/config/key")
	fmt.Printf("%q %v\n", d, err)
	fmt.Println(os.WriteFile("/srv/config/key", nil, 0o600))
	fmt.Println(os.Mkdir("/srv/config/x", 0o700), os.Remove("/srv/config/key"))
	fmt.Println(os.Rename("/srv/config/key", "/srv/config/b"))
	e, err := os.ReadDir("/srv/config")
	fmt.Println(e, err)
	fmt.Println(os.Chdir("/srv/config"))
	fmt.Println(os.Getwd())
	fmt.Println(filepath.EvalSymlinks("/srv/config/key"))
	l, err := os.Readlink("/srv/config/key")
	fmt.Println(l, err)
	fmt.Println(os.WriteFile("/srv/cache/f", []byte("x"), 0o600), os.RemoveAll("/srv/cache/f"))
	fmt.Println(filepath.Glob("/srv/config/*"))
	s, err := os.Stat("key")
	fmt.Println(s.Size(), err)
	os.Setenv("PWD", "")
	fmt.Println(os.Getwd())
}
