// What the tests of the cluster itself run in pods: a server that tells which pod answered, and a client for it.
//
//	probe serve           HTTP on 8080 and a UDP echo on 5683, both naming the host
//	probe burn            use a CPU until killed
//	probe get URL...      GET each; print the bodies
//	probe udp HOST:PORT   send one datagram; print the answer
//	probe lookup NAME     resolve; print the addresses
//	probe write FILE TEXT | probe read FILE
//
// Exit code 1 with a sentence when something fails; a request waits two seconds at most.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const wait = 2 * time.Second

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 1 && arguments[0] == "serve":
		err = serve()
	case len(arguments) == 1 && arguments[0] == "burn":
		burn()
	case len(arguments) >= 2 && arguments[0] == "get":
		err = get(arguments[1:])
	case len(arguments) == 2 && arguments[0] == "udp":
		err = udp(arguments[1])
	case len(arguments) == 2 && arguments[0] == "lookup":
		err = lookup(arguments[1])
	case len(arguments) == 3 && arguments[0] == "write":
		err = os.WriteFile(arguments[1], []byte(arguments[2]), 0o600)
	case len(arguments) == 2 && arguments[0] == "read":
		err = read(arguments[1])
	default:
		err = errors.New("usage: probe serve | burn | get URL... | udp HOST:PORT | lookup NAME | write FILE TEXT | read FILE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers until it is told to end; requests under way are finished first.
func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	socket, err := net.ListenPacket("udp", ":5683")
	if err != nil {
		return err
	}
	go echo(socket, name)
	routes := http.NewServeMux()
	routes.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, name) })
	server := &http.Server{Addr: ":8080", Handler: routes, ReadHeaderTimeout: wait}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-told
		server.Shutdown(context.Background()) //nolint:errcheck
	}()
	log.Println("serving as", name)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func echo(socket net.PacketConn, name string) {
	buffer := make([]byte, 1500)
	for {
		size, from, err := socket.ReadFrom(buffer)
		if err != nil {
			log.Fatalln(err)
		}
		socket.WriteTo([]byte(name+" "+string(buffer[:size])), from) //nolint:errcheck
	}
}

func burn() {
	for {
	}
}

func get(addresses []string) error {
	// A connection for each request, so that a Service chooses anew.
	client := http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, address := range addresses {
		answer, err := client.Get(address)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", address, answer.Status)
		}
	}
	return nil
}

func udp(address string) error {
	socket, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer socket.Close()
	socket.SetDeadline(time.Now().Add(wait)) //nolint:errcheck
	if _, err := socket.Write([]byte("hello")); err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	size, err := socket.Read(buffer)
	if err != nil {
		return err
	}
	fmt.Println(string(buffer[:size]))
	return nil
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	return nil
}

func read(path string) error {
	text, err := os.ReadFile(path)
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}
