// SPDX-License-Identifier: Apache-2.0

// s3load sends requests whose URLs were signed beforehand, on a number of connections that stay
// open, and tells how many were answered, in what time, and how long one took.
//
//	s3load -method GET|PUT -connections N -count N [-size BYTES] <URLS
//
// URLS: one a line, used in turn. Certificates are not verified: what is measured is the server.
// A first tenth of the requests, at least one for each connection, goes unmeasured; then it prints "ready" and
// waits for a line on standard input behind an empty one that ends the URLs.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	Answered int     `json:"answered"`
	Failed   int     `json:"failed"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Error    string  `json:"error,omitempty"`
}

type load struct {
	client *http.Client
	method string
	size   int
	body   []byte
	urls   []string
	next   atomic.Int64
}

func (l *load) one() error {
	url := l.urls[int(l.next.Add(1))%len(l.urls)]
	var body io.Reader
	if l.method == http.MethodPut {
		body = bytes.NewReader(l.body)
	}
	request, err := http.NewRequest(l.method, url, body)
	if err != nil {
		return err
	}
	answer, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.Copy(io.Discard, answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	if l.method == http.MethodGet && got != int64(l.size) {
		return fmt.Errorf("%d bytes of %d", got, l.size)
	}
	return nil
}

func (l *load) run(connections, count int) result {
	var wait sync.WaitGroup
	var left atomic.Int64
	var lock sync.Mutex
	var times []float64
	var out result
	left.Store(int64(count))
	start := time.Now()
	for i := 0; i < connections; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			mine := make([]float64, 0, count/connections+1)
			failed, text := 0, ""
			for left.Add(-1) >= 0 {
				began := time.Now()
				if err := l.one(); err != nil {
					failed++
					text = err.Error()
				} else {
					mine = append(mine, time.Since(began).Seconds()*1000)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			times = append(times, mine...)
			out.Failed += failed
			if text != "" {
				out.Error = text
			}
		}()
	}
	wait.Wait()
	out.Seconds = time.Since(start).Seconds()
	out.Answered = len(times)
	sort.Float64s(times)
	if len(times) > 0 {
		out.P50 = times[len(times)/2]
		out.P99 = times[len(times)*99/100]
	}
	return out
}

func main() {
	method := flag.String("method", "GET", "GET or PUT")
	connections := flag.Int("connections", 1, "open connections")
	count := flag.Int("count", 1000, "requests that are measured")
	size := flag.Int("size", 4096, "bytes of an object")
	flag.Parse()
	l := &load{method: *method, size: *size, body: bytes.Repeat([]byte("skyvol! "), *size/8+1)[:*size]}
	l.client = &http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: *connections, MaxConnsPerHost: *connections, DisableCompression: true,
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 1<<16), 1<<16)
	for input.Scan() && input.Text() != "" {
		l.urls = append(l.urls, input.Text())
	}
	if len(l.urls) == 0 {
		fmt.Fprintln(os.Stderr, "s3load: no URL on standard input")
		os.Exit(2)
	}
	warm := *count / 10
	if warm < *connections {
		warm = *connections
	}
	l.run(*connections, warm)
	fmt.Println("ready")
	input.Scan()
	out := l.run(*connections, *count)
	text, _ := json.Marshal(out)
	fmt.Println(string(text))
	if out.Failed > 0 {
		os.Exit(1)
	}
}
