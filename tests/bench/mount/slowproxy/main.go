// SPDX-License-Identifier: Apache-2.0

// slowproxy is a network of a known length between a client and a store: a TCP proxy that hands every
// chunk on after a delay, and no more than so many bytes a second per connection and direction.
//
//	slowproxy -listen 127.0.0.1:8070 -target 127.0.0.1:7070 -delay 10ms -rate 90
//
// Setting up a connection costs a round trip (2 x delay), as a TCP handshake does.
package main

import (
	"flag"
	"log"
	"net"
	"time"
)

const (
	chunkSize = 64 << 10
	inFlight  = 4096                 // chunks a direction: never what limits at these delays
	ahead     = 5 * time.Millisecond // so much may be read before its time by the rate
)

type chunk struct {
	bytes []byte
	due   time.Time
}

func take(src net.Conn, queue chan<- chunk, delay time.Duration, rate float64, next time.Time) {
	defer close(queue)
	for {
		b := make([]byte, chunkSize)
		n, err := src.Read(b)
		if n > 0 {
			if now := time.Now(); next.Before(now) {
				next = now
			}
			if rate > 0 {
				next = next.Add(time.Duration(float64(n) / rate * 1e9))
				if d := time.Until(next); d > ahead {
					time.Sleep(d - ahead)
				}
			}
			queue <- chunk{b[:n], next.Add(delay)}
		}
		if err != nil {
			return
		}
	}
}

func pipe(dst, src net.Conn, delay time.Duration, rate float64, start time.Time) {
	queue := make(chan chunk, inFlight)
	go take(src, queue, delay, rate, start)
	for c := range queue {
		if d := time.Until(c.due); d > 0 {
			time.Sleep(d)
		}
		if _, err := dst.Write(c.bytes); err != nil {
			src.Close()
			for range queue {
			}
			break
		}
	}
	if t, ok := dst.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8070", "where clients connect")
	target := flag.String("target", "127.0.0.1:7070", "the store")
	delay := flag.Duration("delay", 10*time.Millisecond, "one-way delay")
	rate := flag.Float64("rate", 0, "limit per connection and direction in MB/s (10^6 bytes); 0: none")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			store, err := net.Dial("tcp", *target)
			if err != nil {
				log.Print(err)
				return
			}
			defer store.Close()
			done := make(chan bool, 2)
			go func() {
				pipe(store, client, *delay, *rate*1e6, time.Now().Add(2**delay))
				done <- true
			}()
			go func() {
				pipe(client, store, *delay, *rate*1e6, time.Time{})
				done <- true
			}()
			<-done
			<-done
		}()
	}
}
