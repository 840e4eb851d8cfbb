// A yardstick: length-prefixed echo as Go does it, a goroutine and two bufio buffers for each connection.
//
// What is answered is flushed before a read would block, hence once for all frames that one read gave.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
)

const (
	header   = 4
	maxFrame = 1 << 20
)

// flushing is a connection that writes out its answers whenever it has nothing left to read.
type flushing struct {
	net.Conn
	answers *bufio.Writer
}

func (f *flushing) Read(into []byte) (int, error) {
	if err := f.answers.Flush(); err != nil {
		return 0, err
	}
	return f.Conn.Read(into)
}

func echo(connection net.Conn) {
	defer connection.Close()
	answers := bufio.NewWriter(connection)
	requests := bufio.NewReader(&flushing{connection, answers})
	frame := make([]byte, 256)
	for {
		if _, err := io.ReadFull(requests, frame[:header]); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(frame)
		if length > maxFrame {
			return
		}
		whole := header + int(length)
		if whole > len(frame) {
			frame = append(make([]byte, 0, whole), frame[:header]...)[:whole]
		}
		if _, err := io.ReadFull(requests, frame[header:whole]); err != nil {
			return
		}
		if _, err := answers.Write(frame[:whole]); err != nil {
			return
		}
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go echo(connection)
	}
}
