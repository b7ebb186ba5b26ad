// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.core.ResponseBytes;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.Bucket;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.GetObjectResponse;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/**
 * The steps of run_s3_clients with the AWS SDK for Java v2 as it is by default: endpoint, region and keys
 * come from the environment, the authority from the JVM's trust store.
 *
 * <pre>java -cp ... Client BUCKET NAME SEEDED [path]</pre>
 */
public final class Client {
    private static final int MIB = 1024 * 1024;
    private static final SecureRandom RANDOM = new SecureRandom();

    private final String bucket;
    private final String name;
    private final String seeded;
    private final boolean pathStyle;
    private final S3Client s3;
    private final Map<String, byte[]> contents = new LinkedHashMap<>();

    private interface Step {
        void run() throws Exception;
    }

    private Client(String[] arguments) {
        bucket = arguments[0];
        name = arguments[1];
        seeded = arguments[2];
        pathStyle = arguments.length > 3 && arguments[3].equals("path");
        s3 = S3Client.builder().forcePathStyle(pathStyle ? true : null).build();
    }

    private static byte[] body(int size) {
        byte[] bytes = new byte[size];
        RANDOM.nextBytes(bytes);
        return bytes;
    }

    private static String sha256(byte[] body) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
    }

    private static void check(boolean truth, Object told) {
        if (!truth) {
            throw new IllegalStateException(String.valueOf(told));
        }
    }

    private static String codeOf(Step call) throws Exception {
        try {
            call.run();
        } catch (S3Exception error) {
            return error.awsErrorDetails().errorCode();
        }
        return "no error";
    }

    private ResponseBytes<GetObjectResponse> get(String from, String key, String range) {
        return s3.getObjectAsBytes(r -> r.bucket(from).key(key).range(range));
    }

    private List<String> keys(String prefix) {
        return s3.listObjectsV2Paginator(r -> r.bucket(bucket).prefix(prefix).maxKeys(2)).contents().stream()
                .map(S3Object::key).toList();
    }

    private void make() {
        String other = bucket + "-2";
        s3.createBucket(r -> r.bucket(bucket));
        s3.createBucket(r -> r.bucket(other));
        s3.headBucket(r -> r.bucket(other));
        s3.deleteBucket(r -> r.bucket(other));
        List<String> names = s3.listBuckets().buckets().stream().map(Bucket::name).toList();
        check(names.contains(bucket) && !names.contains(other), names);
    }

    private void putAndGet() throws Exception {
        Map<String, Integer> sizes = new LinkedHashMap<>();
        sizes.put("0", 0);
        sizes.put("1", 1);
        sizes.put("a b+\u00fc&=%41~'/5242880", 5 * MIB);
        for (Map.Entry<String, Integer> one : sizes.entrySet()) {
            String key = name + "/" + one.getKey();
            byte[] sent = body(one.getValue());
            contents.put(key, sent);
            String sum = sha256(sent);
            s3.putObject(r -> r.bucket(bucket).key(key).contentType("x/y").metadata(Map.of("sha256", sum)),
                    RequestBody.fromBytes(sent));
            ResponseBytes<GetObjectResponse> got = get(bucket, key, null);
            check(sha256(got.asByteArray()).equals(sum), key);
            check(sum.equals(got.response().metadata().get("sha256")), got.response().metadata());
            var head = s3.headObject(r -> r.bucket(bucket).key(key));
            check(head.contentLength() == sent.length && head.contentType().equals("x/y"), head);
        }
    }

    private void stream() throws Exception {
        String key = name + "/stream";
        byte[] sent = body(MIB + 7);
        contents.put(key, sent);
        s3.putObject(r -> r.bucket(bucket).key(key),
                RequestBody.fromInputStream(new ByteArrayInputStream(sent), sent.length));
        check(sha256(get(bucket, key, null).asByteArray()).equals(sha256(sent)), "another body came back");
    }

    private void ranges() throws Exception {
        String key = new ArrayList<>(contents.keySet()).get(2);
        byte[] whole = contents.get(key);
        int[][] limits = {{0, 1}, {100, 1000100}, {whole.length - 7, whole.length}};
        String[] texts = {"bytes=0-0", "bytes=100-1000099", "bytes=-7"};
        for (int i = 0; i < texts.length; i++) {
            ResponseBytes<GetObjectResponse> got = get(bucket, key, texts[i]);
            byte[] want = Arrays.copyOfRange(whole, limits[i][0], limits[i][1]);
            check(Arrays.equals(got.asByteArray(), want) && got.response().contentRange() != null, texts[i]);
        }
        String code = codeOf(() -> get(bucket, key, "bytes=" + whole.length + "-"));
        check(code.equals("InvalidRange"), "beyond the end: " + code);
    }

    private void list() {
        List<String> want = new ArrayList<>(contents.keySet());
        want.sort((a, b) -> Arrays.compareUnsigned(a.getBytes(StandardCharsets.UTF_8),
                b.getBytes(StandardCharsets.UTF_8)));
        check(keys(name + "/").equals(want), keys(name + "/"));
        var page = s3.listObjectsV2(r -> r.bucket(bucket).delimiter("/"));
        check(page.commonPrefixes().size() == 1
                && page.commonPrefixes().get(0).prefix().equals(name + "/"), page);
    }

    private void multipart() throws Exception {
        try (S3AsyncClient parts = S3AsyncClient.builder().forcePathStyle(pathStyle ? true : null)
                .multipartEnabled(true).build();
                S3TransferManager manager = S3TransferManager.builder().s3Client(parts).build()) {
            String key = name + "/kept";
            byte[] sent = body(20 * MIB);
            contents.put(key, sent);
            String sum = sha256(sent);
            manager.upload(u -> u.requestBody(AsyncRequestBody.fromBytes(sent)).putObjectRequest(
                    r -> r.bucket(bucket).key(key).metadata(Map.of("sha256", sum)))).completionFuture().join();
            byte[] got = parts.getObject(r -> r.bucket(bucket).key(key),
                    AsyncResponseTransformer.toBytes()).join().asByteArray();
            check(sha256(got).equals(sum), "another body came back");
            String etag = s3.headObject(r -> r.bucket(bucket).key(key)).eTag();
            check(etag.contains("-"), "it did not go in parts: " + etag);
            parts.deleteObject(r -> r.bucket(bucket).key(name + "/absent")).join();
        } catch (CompletionException error) {
            throw (Exception) error.getCause();
        }
        String key = name + "/aborted";
        String id = s3.createMultipartUpload(r -> r.bucket(bucket).key(key)).uploadId();
        s3.uploadPart(r -> r.bucket(bucket).key(key).uploadId(id).partNumber(1), RequestBody.fromString("a part"));
        s3.abortMultipartUpload(r -> r.bucket(bucket).key(key).uploadId(id));
        String code = codeOf(() -> s3.listParts(r -> r.bucket(bucket).key(key).uploadId(id)));
        check(code.equals("NoSuchUpload"), "an aborted upload: " + code);
    }

    private void copy() throws Exception {
        String from = name + "/kept";
        String to = name + "/copy \u00fc";
        s3.copyObject(r -> r.sourceBucket(bucket).sourceKey(from).destinationBucket(bucket).destinationKey(to));
        contents.put(to, contents.get(from));
        ResponseBytes<GetObjectResponse> got = get(bucket, to, null);
        String sum = sha256(got.asByteArray());
        check(sum.equals(sha256(contents.get(from))) && sum.equals(got.response().metadata().get("sha256")), to);
    }

    private void conditions() throws Exception {
        String code = codeOf(() -> s3.putObject(r -> r.bucket(bucket).key(name + "/0").ifNoneMatch("*"),
                RequestBody.fromString("x")));
        check(code.equals("PreconditionFailed"), "put where something is: " + code);
    }

    private void presign() throws Exception {
        String key = name + "/signed \u00fc";
        byte[] sent = body(100000);
        contents.put(key, sent);
        HttpClient plain = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        S3Presigner.Builder builder = S3Presigner.builder();
        if (pathStyle) {
            builder.serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build());
        }
        try (S3Presigner signer = builder.build()) {
            URI put = signer.presignPutObject(p -> p.signatureDuration(Duration.ofMinutes(5))
                    .putObjectRequest(r -> r.bucket(bucket).key(key))).url().toURI();
            HttpResponse<String> done = plain.send(HttpRequest.newBuilder(put)
                    .PUT(HttpRequest.BodyPublishers.ofByteArray(sent)).build(), HttpResponse.BodyHandlers.ofString());
            check(done.statusCode() == 200, "PUT by URL: " + done.statusCode() + " " + done.body());
            URI read = signer.presignGetObject(p -> p.signatureDuration(Duration.ofMinutes(5))
                    .getObjectRequest(GetObjectRequest.builder().bucket(bucket).key(key).build())).url().toURI();
            byte[] got = plain.send(HttpRequest.newBuilder(read).build(),
                    HttpResponse.BodyHandlers.ofByteArray()).body();
            check(Arrays.equals(got, sent), "another body came back by URL");
        }
    }

    private void readSeeded() throws Exception {
        for (String key : List.of("whole", "parts")) {
            ResponseBytes<GetObjectResponse> got = s3.getObjectAsBytes(  // by default it asks for none
                    r -> r.bucket(seeded).key(key).checksumMode(ChecksumMode.ENABLED));
            check(sha256(got.asByteArray()).equals(got.response().metadata().get("sha256")), key);
            check(got.response().checksumSHA256() != null || got.response().checksumCRC32() != null,
                    key + ": no checksum came with it: " + got.response());
        }
    }

    private void delete() throws Exception {
        String one = name + "/0";
        s3.deleteObject(r -> r.bucket(bucket).key(one));
        String code = codeOf(() -> get(bucket, one, null));
        check(code.equals("NoSuchKey"), "a deleted object: " + code);
        List<ObjectIdentifier> rest = contents.keySet().stream()
                .filter(k -> !k.equals(one) && !k.equals(name + "/kept"))
                .map(k -> ObjectIdentifier.builder().key(k).build()).toList();
        var answer = s3.deleteObjects(r -> r.bucket(bucket).delete(d -> d.objects(rest)));
        check(answer.errors().isEmpty() && answer.deleted().size() == rest.size(), answer);
        check(keys(null).equals(List.of(name + "/kept")), keys(null));
    }

    public static void main(String[] arguments) {
        Client client = new Client(arguments);
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("bucket", client::make);
        steps.put("put get", client::putAndGet);
        steps.put("stream", client::stream);
        steps.put("range", client::ranges);
        steps.put("list", client::list);
        steps.put("multipart", client::multipart);
        steps.put("copy", client::copy);
        steps.put("condition", client::conditions);
        steps.put("presign", client::presign);
        steps.put("seeded", client::readSeeded);
        steps.put("delete", client::delete);
        for (Map.Entry<String, Step> step : steps.entrySet()) {
            try {
                step.getValue().run();
            } catch (Exception error) {
                System.out.println("FAILED " + step.getKey() + ": " + error);
                System.exit(1);
            }
            System.out.println("ok " + step.getKey());
        }
        var identity = DefaultCredentialsProvider.builder().build().resolveCredentials();
        System.out.println("credentials " + identity.providerName().orElse("unnamed"));
        System.exit(0);
    }
}
