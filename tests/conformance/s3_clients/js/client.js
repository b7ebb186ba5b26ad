// SPDX-License-Identifier: Apache-2.0

// The steps of run_s3_clients with the AWS SDK for JavaScript v3 as it is by default: endpoint, region,
// keys and authority (NODE_EXTRA_CA_CERTS) come from the environment.
//
//   node client.js BUCKET NAME SEEDED [path]
"use strict";
const crypto = require("node:crypto");
const { Readable } = require("node:stream");
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const MIB = 1024 * 1024;
const SIZES = { 0: 0, 1: 1, "a b+ü&=%41~'/5242880": 5 * MIB };
const [Bucket, name, seeded, style] = process.argv.slice(2);
const client = new s3.S3Client(style === "path" ? { forcePathStyle: true } : {});
const contents = new Map();

const sha256 = (body) => crypto.createHash("sha256").update(body).digest("hex");
const send = (command, input) => client.send(new s3[`${command}Command`](input));

function check(truth, ...told) {
  if (!truth) throw new Error(told.map((t) => (typeof t === "string" ? t : JSON.stringify(t))).join(" "));
}

async function codeOf(command, input) {
  try {
    await send(command, input);
  } catch (error) {
    return error.name;
  }
  return "no error";
}

async function get(Key, more = {}) {
  const reply = await send("GetObject", { Bucket, Key, ...more });
  return [Buffer.from(await reply.Body.transformToByteArray()), reply];
}

async function keys(Prefix) {
  const found = [];
  for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket, Prefix }))
    for (const object of page.Contents ?? []) found.push(object.Key);
  return found;
}

const sorted = (names) => [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);

async function make() {
  const other = `${Bucket}-2`;
  for (const each of [Bucket, other]) await send("CreateBucket", { Bucket: each });
  await send("HeadBucket", { Bucket: other });
  await send("DeleteBucket", { Bucket: other });
  const names = (await send("ListBuckets", {})).Buckets.map((b) => b.Name);
  check(names.includes(Bucket) && !names.includes(other), names);
}

async function putAndGet() {
  for (const [short, size] of Object.entries(SIZES)) {
    const Key = `${name}/${short}`;
    const Body = crypto.randomBytes(size);
    contents.set(Key, Body);
    await send("PutObject", { Bucket, Key, Body, ContentType: "x/y", Metadata: { sha256: sha256(Body) } });
    const [got, reply] = await get(Key);
    check(sha256(got) === sha256(Body) && reply.Metadata.sha256 === sha256(got), Key);
    check(reply.ChecksumCRC32 !== undefined, Key, "no checksum came with it");
    const head = await send("HeadObject", { Bucket, Key });
    check(head.ContentLength === size && head.ContentType === "x/y", head);
  }
}

async function stream() {
  const Key = `${name}/stream`;
  const body = crypto.randomBytes(MIB + 7);
  contents.set(Key, body);
  // What cannot be read twice, of a length that is told: the checksum goes behind it.
  const Body = Readable.from([body.subarray(0, 1000), body.subarray(1000)], { objectMode: false });
  await send("PutObject", { Bucket, Key, Body, ContentLength: body.length });
  check(sha256((await get(Key))[0]) === sha256(body), "another body came back");
}

async function ranges() {
  const [Key, body] = [...contents][2];
  for (const [Range, want] of [["bytes=0-0", body.subarray(0, 1)], ["bytes=-7", body.subarray(-7)],
    ["bytes=100-1000099", body.subarray(100, 1000100)]]) {
    const [got, reply] = await get(Key, { Range });
    check(sha256(got) === sha256(want) && reply.ContentRange, Range);
  }
  const beyond = await codeOf("GetObject", { Bucket, Key, Range: `bytes=${body.length}-` });
  check(beyond === "InvalidRange", "beyond the end:", beyond);
}

async function list() {
  const found = await keys(`${name}/`);
  check(equal(found, sorted(contents.keys())), found);
  const page = await send("ListObjectsV2", { Bucket, Delimiter: "/" });
  check(equal(page.CommonPrefixes, [{ Prefix: `${name}/` }]), page);
}

async function multipart() {
  const Key = `${name}/kept`;
  const Body = crypto.randomBytes(20 * MIB);
  contents.set(Key, Body);
  await new Upload({ client, params: { Bucket, Key, Body, Metadata: { sha256: sha256(Body) } } }).done();
  check(sha256((await get(Key))[0]) === sha256(Body), "another body came back");
  const head = await send("HeadObject", { Bucket, Key });
  check(head.ETag.includes("-"), "it did not go in parts", head.ETag);
  const aborted = { Bucket, Key: `${name}/aborted` };
  const { UploadId } = await send("CreateMultipartUpload", aborted);
  await send("UploadPart", { ...aborted, UploadId, PartNumber: 1, Body: "a part" });
  await send("AbortMultipartUpload", { ...aborted, UploadId });
  const code = await codeOf("ListParts", { ...aborted, UploadId });
  check(code === "NoSuchUpload", "an aborted upload:", code);
}

async function copy() {
  const [from, Key] = [`${name}/kept`, `${name}/copy ü`];
  await send("CopyObject", { Bucket, Key, CopySource: `${Bucket}/${from}` });
  contents.set(Key, contents.get(from));
  const [got, reply] = await get(Key);
  check(sha256(got) === sha256(contents.get(from)) && reply.Metadata.sha256 === sha256(got), Key);
}

async function conditions() {
  const put = await codeOf("PutObject", { Bucket, Key: `${name}/0`, Body: "x", IfNoneMatch: "*" });
  check(put === "PreconditionFailed", "put where something is:", put);
}

async function presign() {
  const input = { Bucket, Key: `${name}/signed ü` };
  const body = crypto.randomBytes(100000);
  contents.set(input.Key, body);
  let reply = await fetch(await getSignedUrl(client, new s3.PutObjectCommand(input)), { method: "PUT", body });
  check(reply.status === 200, "PUT by URL:", reply.status, await reply.text());
  reply = await fetch(await getSignedUrl(client, new s3.GetObjectCommand(input)));
  check(sha256(Buffer.from(await reply.arrayBuffer())) === sha256(body), "another body came back by URL");
}

async function readSeeded() {
  for (const Key of ["whole", "parts"]) {
    const [got, reply] = await get(Key, { Bucket: seeded });
    check(reply.Metadata.sha256 === sha256(got), Key);
    check(reply.ChecksumSHA256 ?? reply.ChecksumCRC32, Key, "no checksum came with it");
  }
}

async function remove() {
  const one = `${name}/0`;
  await send("DeleteObject", { Bucket, Key: one });
  const code = await codeOf("GetObject", { Bucket, Key: one });
  check(code === "NoSuchKey", "a deleted object:", code);
  const rest = [...contents.keys()].filter((k) => k !== one && k !== `${name}/kept`);
  const answer = await send("DeleteObjects", { Bucket, Delete: { Objects: rest.map((Key) => ({ Key })) } });
  check(answer.Errors === undefined && answer.Deleted.length === rest.length, answer);
  check(equal(await keys(), [`${name}/kept`]), "left:", await keys());
}

async function main() {
  for (const [step, run] of [["bucket", make], ["put get", putAndGet], ["stream", stream],
    ["range", ranges], ["list", list], ["multipart", multipart], ["copy", copy],
    ["condition", conditions], ["presign", presign], ["seeded", readSeeded], ["delete", remove]]) {
    try {
      await run();
    } catch (error) {
      console.log(`FAILED ${step}: ${error.name}: ${error.message}`);
      return 1;
    }
    console.log(`ok ${step}`);
  }
  const { sessionToken } = await client.config.credentials();
  console.log(`credentials ${sessionToken ? "temporary" : "of the environment"}`);
  return 0;
}

main().then((status) => {
  process.exitCode = status;
  client.destroy();
});
