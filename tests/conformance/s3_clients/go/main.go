// SPDX-License-Identifier: Apache-2.0

// The steps of run_s3_clients with the AWS SDK for Go v2 as it is by default: endpoint, region, keys
// and authority come from the environment, nothing else is set.
//
//	client BUCKET NAME SEEDED [path]
//
// Objects go below NAME/ in BUCKET; SEEDED holds what another client wrote. "path" asks for path style.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const mib = 1 << 20

var (
	ctx                  = context.Background()
	client               *s3.Client
	bucket, name, seeded string
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(truth bool, format string, args ...any) {
	if !truth {
		panic(fmt.Errorf(format, args...))
	}
}

func body(size int) []byte {
	bytes := make([]byte, size)
	must(rand.Read(bytes))
	return bytes
}

func sum(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])
}

func same(got, want []byte, what string) {
	check(sum(got) == sum(want), "%s: %d bytes came back that are not the %d sent", what, len(got), len(want))
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func get(from, key string, change func(*s3.GetObjectInput)) ([]byte, *s3.GetObjectOutput) {
	input := &s3.GetObjectInput{Bucket: &from, Key: &key}
	if change != nil {
		change(input)
	}
	output := must(client.GetObject(ctx, input))
	defer output.Body.Close()
	return must(io.ReadAll(output.Body)), output
}

func put(key string, content []byte) *s3.PutObjectOutput {
	return must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key,
		Body: bytes.NewReader(content), ContentType: aws.String("x/y"),
		Metadata: map[string]string{"sha256": sum(content)}}))
}

func keys(prefix string) []string {
	found := []string{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix,
		MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		for _, object := range must(pages.NextPage(ctx)).Contents {
			found = append(found, *object.Key)
		}
	}
	return found
}

// The authority of AWS_CA_BUNDLE, for presigned URLs without the SDK.
func plainClient() *http.Client {
	pool := x509.NewCertPool()
	if path := os.Getenv("AWS_CA_BUNDLE"); path != "" {
		check(pool.AppendCertsFromPEM(must(os.ReadFile(path))), "no certificate in AWS_CA_BUNDLE")
	}
	return &http.Client{Timeout: time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

var (
	plainKeys = []string{"0", "1", "a b+ü&=%41~'/5242880"}
	plainSize = []int{0, 1, 5 * mib}
	contents  = map[string][]byte{}
)

func putAndGet() {
	for i, short := range plainKeys {
		key := name + "/" + short
		contents[key] = body(plainSize[i])
		put(key, contents[key])
		got, output := get(bucket, key, nil)
		same(got, contents[key], key)
		check(output.Metadata["sha256"] == sum(got), "metadata of %s: %v", key, output.Metadata)
		check(output.ChecksumCRC32 != nil, "%s: no checksum came with it", key)
		head := must(client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}))
		check(*head.ContentLength == int64(plainSize[i]) && *head.ContentType == "x/y", "HEAD of %s", key)
	}
}

func stream() {
	key := name + "/stream"
	contents[key] = body(mib + 7)
	// A reader without Seek or length: the SDK cannot sign its content.
	reader, writer := io.Pipe()
	go func() {
		writer.Write(contents[key])
		writer.Close()
	}()
	must(manager.NewUploader(client).Upload(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: reader}))
	got, _ := get(bucket, key, nil)
	same(got, contents[key], key)
}

func ranges() {
	key := name + "/" + plainKeys[2]
	whole := contents[key]
	for text, want := range map[string][]byte{"bytes=0-0": whole[:1], "bytes=100-1000099": whole[100:1000100],
		"bytes=-7": whole[len(whole)-7:]} {
		got, output := get(bucket, key, func(i *s3.GetObjectInput) { i.Range = &text })
		same(got, want, text)
		check(output.ContentRange != nil, "no Content-Range")
	}
	text := fmt.Sprintf("bytes=%d-", len(whole))
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: &text})
	check(code(err) == "InvalidRange", "beyond the end: %v", err)
}

func list() {
	want := make([]string, 0, len(contents))
	for key := range contents {
		want = append(want, key)
	}
	slices.Sort(want)
	check(slices.Equal(keys(name+"/"), want), "listed %v, not %v", keys(name+"/"), want)
	page := must(client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Delimiter: aws.String("/")}))
	check(len(page.CommonPrefixes) == 1 && *page.CommonPrefixes[0].Prefix == name+"/", "delimiter: %v", page)
}

func multipart() {
	for _, kind := range []string{"manager", "transfermanager", "kept"} {
		key, content := name+"/"+kind, body(20*mib)
		contents[key] = content
		metadata := map[string]string{"sha256": sum(content)}
		if kind == "manager" {
			must(manager.NewUploader(client).Upload(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key,
				Body: bytes.NewReader(content), Metadata: metadata}))
			into := manager.NewWriteAtBuffer(nil)
			must(manager.NewDownloader(client).Download(ctx, into, &s3.GetObjectInput{Bucket: &bucket, Key: &key}))
			same(into.Bytes(), content, key)
		} else {
			transfer := transfermanager.New(client)
			must(transfer.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &bucket, Key: &key,
				Body: bytes.NewReader(content), Metadata: metadata}))
			output := must(transfer.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: &bucket, Key: &key}))
			same(must(io.ReadAll(output.Body)), content, key)
		}
		head := must(client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}))
		check(bytes.Contains([]byte(*head.ETag), []byte("-")), "%s did not go in parts: %s", key, *head.ETag)
	}
	key := name + "/aborted"
	upload := must(client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}))
	must(client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
		PartNumber: aws.Int32(1), Body: bytes.NewReader(body(1000))}))
	must(client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key,
		UploadId: upload.UploadId}))
	_, err := client.ListParts(ctx, &s3.ListPartsInput{Bucket: &bucket, Key: &key, UploadId: upload.UploadId})
	check(code(err) == "NoSuchUpload", "an aborted upload: %v", err)
}

func copyOf() {
	key, to := name+"/kept", name+"/copy ü"
	must(client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &bucket, Key: &to,
		CopySource: aws.String(bucket + "/" + key)}))
	contents[to] = contents[key]
	got, output := get(bucket, to, nil)
	same(got, contents[key], to)
	check(output.Metadata["sha256"] == sum(got), "metadata of the copy: %v", output.Metadata)
}

func conditions() {
	key := name + "/0"
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body(1)),
		IfNoneMatch: aws.String("*")})
	check(code(err) == "PreconditionFailed", "put where something is: %v", err)
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, IfMatch: aws.String(`"x"`)})
	check(code(err) == "PreconditionFailed", "get of another version: %v", err)
}

func presign() {
	key, content, plain := name+"/signed ü", body(100000), plainClient()
	contents[key] = content
	signer := s3.NewPresignClient(client)
	url := must(signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key}))
	request := must(http.NewRequest(url.Method, url.URL, bytes.NewReader(content)))
	request.Header = url.SignedHeader
	reply := must(plain.Do(request))
	text := must(io.ReadAll(reply.Body))
	reply.Body.Close()
	check(reply.StatusCode == 200, "PUT by URL: %d %s", reply.StatusCode, text)
	url = must(signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}))
	reply = must(plain.Get(url.URL))
	defer reply.Body.Close()
	same(must(io.ReadAll(reply.Body)), content, "GET by URL")
}

func readSeeded() {
	for _, key := range []string{"whole", "parts"} {
		got, output := get(seeded, key, nil)
		check(output.Metadata["sha256"] == sum(got), "%s: another SHA-256", key)
		check(output.ChecksumSHA256 != nil || output.ChecksumCRC32 != nil, "%s: no checksum", key)
	}
}

func remove() {
	one := name + "/0"
	must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &one}))
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &one})
	check(code(err) == "NoSuchKey", "a deleted object: %v", err)
	var rest []types.ObjectIdentifier
	for key := range contents {
		if key != name+"/kept" && key != one {
			rest = append(rest, types.ObjectIdentifier{Key: aws.String(key)})
		}
	}
	output := must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket,
		Delete: &types.Delete{Objects: rest}}))
	check(len(output.Errors) == 0 && len(output.Deleted) == len(rest), "deleted: %v", output)
	check(slices.Equal(keys(""), []string{name + "/kept"}), "left: %v", keys(""))
}

func buckets() {
	must(client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}))
	other := bucket + "-2"
	must(client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &other}))
	must(client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &other}))
	must(client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &other}))
	var names []string
	for _, one := range must(client.ListBuckets(ctx, &s3.ListBucketsInput{})).Buckets {
		names = append(names, *one.Name)
	}
	check(slices.Contains(names, bucket) && !slices.Contains(names, other), "buckets: %v", names)
}

func main() {
	bucket, name, seeded = os.Args[1], os.Args[2], os.Args[3]
	step := "begin"
	defer func() {
		if why := recover(); why != nil {
			fmt.Printf("FAILED %s: %v\n", step, why)
			os.Exit(1)
		}
	}()
	client = s3.NewFromConfig(must(config.LoadDefaultConfig(ctx)), func(o *s3.Options) {
		o.UsePathStyle = len(os.Args) > 4 && os.Args[4] == "path"
	})
	for _, next := range []struct {
		name string
		run  func()
	}{{"bucket", buckets}, {"put get", putAndGet}, {"stream", stream}, {"range", ranges}, {"list", list},
		{"multipart", multipart}, {"copy", copyOf}, {"condition", conditions}, {"presign", presign},
		{"seeded", readSeeded}, {"delete", remove}} {
		step = next.name
		next.run()
		fmt.Println("ok", step)
	}
	credentials := must(client.Options().Credentials.Retrieve(ctx))
	fmt.Println("credentials", credentials.Source)
}
