// SPDX-License-Identifier: Apache-2.0

// rawclient is what a store and a network allow without a file system: parallel S3 requests and nothing else.
//
//	AWS_ACCESS_KEY_ID=.. AWS_SECRET_ACCESS_KEY=.. rawclient -endpoint URL -bucket B [flags] OPERATION
//
// It prints one line of JSON: {"seconds": .., "requests": .., "bytes": .., "objects": ..}. Plans are files
// with a line "KEY SIZE" for each object.
package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const userAgent = "skyvol-bench" // the driver does not count these requests

type object struct {
	key  string
	size int64
}

var (
	endpoint, bucket, key, prefix, to, plan string
	conns                                   int
	size, part, count                       int64
	duration                                time.Duration
	client                                  *http.Client
	signed                                  bool
	requests, moved                         int64
	objects                                 int64
)

func die(v ...interface{}) {
	fmt.Fprintln(os.Stderr, v...)
	os.Exit(1)
}

func mac(k []byte, s string) []byte {
	m := hmac.New(sha256.New, k)
	m.Write([]byte(s))
	return m.Sum(nil)
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func escapePath(s string) string { return strings.ReplaceAll(escape(s), "%2F", "/") }

// sign adds the headers of AWS signature version 4.
func sign(r *http.Request, path, query string, body []byte) {
	payload := "UNSIGNED-PAYLOAD"
	if signed {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	r.Header.Set("x-amz-date", stamp)
	r.Header.Set("x-amz-content-sha256", payload)
	names := []string{"host"}
	for name := range r.Header {
		if l := strings.ToLower(name); strings.HasPrefix(l, "x-amz-") {
			names = append(names, l)
		}
	}
	sort.Strings(names)
	var lines strings.Builder
	for _, name := range names {
		value := r.URL.Host
		if name != "host" {
			value = r.Header.Get(name)
		}
		lines.WriteString(name + ":" + value + "\n")
	}
	those := strings.Join(names, ";")
	sum := sha256.Sum256([]byte(r.Method + "\n" + path + "\n" + query + "\n" + lines.String() + "\n" + those + "\n" +
		payload))
	scope := day + "/us-east-1/s3/aws4_request"
	k := mac(mac(mac(mac([]byte("AWS4"+os.Getenv("AWS_SECRET_ACCESS_KEY")), day), "us-east-1"), "s3"), "aws4_request")
	signature := hex.EncodeToString(mac(k, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+os.Getenv("AWS_ACCESS_KEY_ID")+"/"+scope+
		",SignedHeaders="+those+",Signature="+signature)
}

func send(method, k string, q map[string]string, body []byte, header map[string]string) *http.Response {
	path := "/" + bucket
	if k != "" {
		path += "/" + escapePath(k)
	}
	var parts []string
	for name, value := range q {
		parts = append(parts, escape(name)+"="+escape(value))
	}
	sort.Strings(parts)
	query := strings.Join(parts, "&")
	target := endpoint + path
	if query != "" {
		target += "?" + query
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequest(method, target, reader)
	if err != nil {
		die(err)
	}
	r.Header.Set("User-Agent", userAgent)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	sign(r, path, query, body)
	atomic.AddInt64(&requests, 1)
	atomic.AddInt64(&moved, int64(len(body)))
	answer, err := client.Do(r)
	if err != nil {
		die(method, k, err)
	}
	return answer
}

var buffers = sync.Pool{New: func() interface{} { b := make([]byte, 1<<20); return &b }}

// drop reads an answer to its end and forgets it.
func drop(answer *http.Response) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := answer.Body.Read(*b)
		atomic.AddInt64(&moved, int64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			die(err)
		}
	}
	answer.Body.Close()
	if answer.StatusCode >= 300 {
		die(answer.Request.Method, answer.Request.URL, answer.Status)
	}
}

func whole(method, k string, q map[string]string, body []byte, header map[string]string) []byte {
	answer := send(method, k, q, body, header)
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode >= 300 {
		die(method, k, answer.Status, string(text), err)
	}
	return text
}

func parallel(n int, f func(i int)) {
	var next int64 = -1
	var group sync.WaitGroup
	for c := 0; c < conns; c++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				i := int(atomic.AddInt64(&next, 1))
				if i >= n {
					return
				}
				f(i)
			}
		}()
	}
	group.Wait()
}

type listing struct {
	Contents []struct {
		Key  string
		Size int64
	}
	IsTruncated           bool
	NextContinuationToken string
}

func list() []object {
	var found []object
	token := ""
	for {
		q := map[string]string{"list-type": "2", "prefix": prefix}
		if token != "" {
			q["continuation-token"] = token
		}
		var page listing
		if err := xml.Unmarshal(whole("GET", "", q, nil, nil), &page); err != nil {
			die(err)
		}
		for _, c := range page.Contents {
			found = append(found, object{c.Key, c.Size})
			if !strings.HasSuffix(c.Key, "/") {
				objects++
				moved += c.Size
			}
		}
		if !page.IsTruncated {
			return found
		}
		token = page.NextContinuationToken
	}
}

func readPlan() []object {
	f, err := os.Open(plan)
	if err != nil {
		die(err)
	}
	defer f.Close()
	var all []object
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var o object
		if _, err := fmt.Sscan(lines.Text(), &o.key, &o.size); err != nil {
			die(err)
		}
		all = append(all, o)
	}
	return all
}

func deleteAll(all []object) {
	const batch = 1000
	parallel((len(all)+batch-1)/batch, func(i int) {
		end := (i + 1) * batch
		if end > len(all) {
			end = len(all)
		}
		var body bytes.Buffer
		body.WriteString("<Delete><Quiet>true</Quiet>")
		for _, o := range all[i*batch : end] {
			body.WriteString("<Object><Key>" + o.key + "</Key></Object>")
		}
		body.WriteString("</Delete>")
		sum := md5.Sum(body.Bytes())
		whole("POST", "", map[string]string{"delete": ""}, body.Bytes(),
			map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])})
	})
}

func content(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func multipart(k string) {
	var begun struct{ UploadId string }
	if err := xml.Unmarshal(whole("POST", k, map[string]string{"uploads": ""}, nil, nil), &begun); err != nil {
		die(err)
	}
	n := int((size + part - 1) / part)
	tags := make([]string, n)
	data := content(part)
	parallel(n, func(i int) {
		length := part
		if rest := size - int64(i)*part; rest < length {
			length = rest
		}
		answer := send("PUT", k, map[string]string{"partNumber": fmt.Sprint(i + 1), "uploadId": begun.UploadId},
			data[:length], nil)
		tags[i] = answer.Header.Get("ETag")
		drop(answer)
	})
	var body bytes.Buffer
	body.WriteString("<CompleteMultipartUpload>")
	for i, tag := range tags {
		fmt.Fprintf(&body, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, tag)
	}
	body.WriteString("</CompleteMultipartUpload>")
	whole("POST", k, map[string]string{"uploadId": begun.UploadId}, body.Bytes(), nil)
}

func getRange(k string, from, n int64) {
	drop(send("GET", k, nil, nil, map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", from, from+n-1)}))
}

// getRanges fetches each key named in -key (with commas) whole, in ranges of -part.
func getRanges() {
	keys := strings.Split(key, ",")
	each := int((size + part - 1) / part)
	parallel(each*len(keys), func(i int) {
		from := int64(i/len(keys)) * part
		n := part
		if from+n > size {
			n = size - from
		}
		getRange(keys[i%len(keys)], from, n)
	})
}

func randomGets() {
	end := time.Now().Add(duration)
	var group sync.WaitGroup
	for c := 0; c < conns; c++ {
		group.Add(1)
		go func(seed int64) {
			defer group.Done()
			for r := rand.New(rand.NewSource(seed)); time.Now().Before(end); {
				getRange(key, r.Int63n(size/part)*part, part)
			}
		}(int64(c))
	}
	group.Wait()
}

func run(operation string) {
	switch operation {
	case "mb":
		whole("PUT", "", nil, nil, nil)
	case "list":
		list()
	case "put": // the objects of a plan
		all := readPlan()
		data := content(1 << 20)
		parallel(len(all), func(i int) { whole("PUT", prefix+all[i].key, nil, data[:all[i].size], nil) })
	case "get":
		all := readPlan()
		parallel(len(all), func(i int) { drop(send("GET", prefix+all[i].key, nil, nil, nil)) })
	case "copy": // below -prefix to below -to, in the store
		all := readPlan()
		parallel(len(all), func(i int) {
			whole("PUT", to+all[i].key, nil, nil,
				map[string]string{"x-amz-copy-source": bucket + "/" + prefix + all[i].key})
		})
	case "rm": // what is below -prefix
		deleteAll(list())
	case "multipart":
		multipart(key)
	case "ranges":
		getRanges()
	case "random":
		randomGets()
	default:
		die("rawclient: unknown operation", operation)
	}
}

func main() {
	flag.StringVar(&endpoint, "endpoint", "http://127.0.0.1:7070", "the store")
	flag.StringVar(&bucket, "bucket", "bench", "bucket")
	flag.StringVar(&key, "key", "", "object, of ranges also several with commas")
	flag.StringVar(&prefix, "prefix", "", "before the keys of a plan; what is listed")
	flag.StringVar(&to, "to", "", "prefix of copies")
	flag.StringVar(&plan, "plan", "", "file of objects")
	flag.BoolVar(&signed, "signed", false, "sign what is sent too, not only the headers")
	flag.IntVar(&conns, "conns", 64, "connections")
	flag.Int64Var(&size, "size", 1<<30, "bytes of an object")
	flag.Int64Var(&part, "part", 16<<20, "bytes of a part or range")
	flag.DurationVar(&duration, "duration", 5*time.Second, "of random")
	flag.Parse()
	client = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 512,
		ReadBufferSize: 256 << 10, WriteBufferSize: 256 << 10, DisableCompression: true}}
	begun := time.Now()
	run(flag.Arg(0))
	out, _ := json.Marshal(map[string]interface{}{"seconds": time.Since(begun).Seconds(), "requests": requests,
		"bytes": moved, "objects": objects})
	fmt.Println(string(out))
}
