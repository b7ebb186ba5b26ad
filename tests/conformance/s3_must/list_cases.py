# SPDX-License-Identifier: Apache-2.0
"""What both versions of a listing answer alike: the bodies of test_list_v1.py and test_list_v2.py."""
import common
from listing import all_pages, keys_of, listing, page


def many(s3, v, bucket):
    common.fill(s3, bucket, ["foo", "bar", "baz"])
    keys, _, reply = listing(s3, v, bucket, MaxKeys=2)
    assert keys == ["bar", "baz"] and reply["IsTruncated"] is True
    token = {"Marker": "baz"} if v == 1 else {"ContinuationToken": reply["NextContinuationToken"]}
    keys, _, reply = listing(s3, v, bucket, MaxKeys=2, **token)
    assert keys == ["foo"] and reply["IsTruncated"] is False


def encoding_basic(s3, v, bucket):
    common.fill(s3, bucket, ["foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b"])
    query = "list-type=2&" if v == 2 else ""
    text = common.send("GET", f"/{bucket}?delimiter=%2F&encoding-type=url&{query[:-1]}".rstrip("&")).text.decode()
    assert "<EncodingType>url</EncodingType>" in text and "<Key>asdf%2Bb</Key>" in text
    for prefix in ("foo%2B1/", "foo/", "quux%20ab/"):
        assert f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" in text, text
    assert listing(s3, v, bucket, Delimiter="/")[:2] == (
        ["asdf+b"], ["foo+1/", "foo/", "quux ab/"])
    plain = common.send("GET", f"/{bucket}?{query[:-1]}").text.decode()
    assert "EncodingType" not in plain and "<Key>asdf+b</Key>" in plain
    bad = common.send("GET", f"/{bucket}?encoding-type=base64")
    assert (bad.code, bad.status) == ("InvalidArgument", 400)


def delimiter_basic(s3, v, bucket):
    common.fill(s3, bucket, ["foo/bar", "foo/bar/xyzzy", "quux/thud", "asdf"])
    assert listing(s3, v, bucket, Delimiter="/")[:2] == (["asdf"], ["foo/", "quux/"])


def delimiter_prefix(s3, v, bucket):
    common.fill(s3, bucket, ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"])
    one, two = {"Delimiter": "/", "MaxKeys": 1}, {"Delimiter": "/", "MaxKeys": 2}
    token = page(s3, v, bucket, None, ["asdf"], [], True, **one)
    token = page(s3, v, bucket, token, [], ["boo/"], True, **one)
    assert page(s3, v, bucket, token, [], ["cquux/"], False, **one) is None
    token = page(s3, v, bucket, None, ["asdf"], ["boo/"], True, **two)
    assert page(s3, v, bucket, token, [], ["cquux/"], False, **two) is None
    token = page(s3, v, bucket, None, ["boo/bar"], [], True, Prefix="boo/", **one)
    page(s3, v, bucket, token, [], ["boo/baz/"], False, Prefix="boo/", **one)
    page(s3, v, bucket, None, ["boo/bar"], ["boo/baz/"], False, Prefix="boo/", **two)


def delimiter_prefix_ends_with_delimiter(s3, v, bucket):
    common.fill(s3, bucket, ["asdf/"])
    page(s3, v, bucket, None, ["asdf/"], [], False, Prefix="asdf/", Delimiter="/", MaxKeys=1000)


def delimiter_alt(s3, v, bucket):
    common.fill(s3, bucket, ["bar", "baz", "cab", "foo"])
    assert listing(s3, v, bucket, Delimiter="a")[:2] == (["foo"], ["ba", "ca"])


def delimiter_prefix_underscore(s3, v, bucket):
    common.fill(s3, bucket, ["_obj1_", "_under1/bar", "_under1/baz/xyzzy", "_under2/thud", "_under2/bla"])
    one, two = {"Delimiter": "/", "MaxKeys": 1}, {"Delimiter": "/", "MaxKeys": 2}
    token = page(s3, v, bucket, None, ["_obj1_"], [], True, **one)
    token = page(s3, v, bucket, token, [], ["_under1/"], True, **one)
    page(s3, v, bucket, token, [], ["_under2/"], False, **one)
    token = page(s3, v, bucket, None, ["_obj1_"], ["_under1/"], True, **two)
    page(s3, v, bucket, token, [], ["_under2/"], False, **two)
    token = page(s3, v, bucket, None, ["_under1/bar"], [], True, Prefix="_under1/", **one)
    page(s3, v, bucket, token, [], ["_under1/baz/"], False, Prefix="_under1/", **one)


def delimiter_percentage(s3, v, bucket):
    common.fill(s3, bucket, ["b%ar", "b%az", "c%ab", "foo"])
    assert listing(s3, v, bucket, Delimiter="%")[:2] == (["foo"], ["b%", "c%"])


def delimiter_whitespace(s3, v, bucket):
    common.fill(s3, bucket, ["b ar", "b az", "c ab", "foo"])
    assert listing(s3, v, bucket, Delimiter=" ")[:2] == (["foo"], ["b ", "c "])


def delimiter_dot(s3, v, bucket):
    common.fill(s3, bucket, ["b.ar", "b.az", "c.ab", "foo"])
    assert listing(s3, v, bucket, Delimiter=".")[:2] == (["foo"], ["b.", "c."])


KEYS = ["bar", "baz", "cab", "foo"]


def delimiter_unreadable(s3, v, bucket):
    common.fill(s3, bucket, KEYS)
    assert listing(s3, v, bucket, Delimiter="\x0a")[:2] == (KEYS, [])


def delimiter_empty(s3, v, bucket):
    common.fill(s3, bucket, KEYS)
    assert listing(s3, v, bucket, Delimiter="")[:2] == (KEYS, [])


def delimiter_none(s3, v, bucket):
    common.fill(s3, bucket, KEYS)
    assert listing(s3, v, bucket)[:2] == (KEYS, [])


def delimiter_not_exist(s3, v, bucket):
    common.fill(s3, bucket, KEYS)
    assert listing(s3, v, bucket, Delimiter="/")[:2] == (KEYS, [])


def delimiter_not_skip_special(s3, v, bucket):
    names = [f"0/{i}" for i in range(1000, 1999)] + ["1999", "1999#", "1999+", "2000"]
    for name in names[:12] + names[-4:]:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    assert listing(s3, v, bucket, Delimiter="/")[:2] == (names[-4:], ["0/"])
    assert all_pages(s3, v, bucket, Delimiter="/", MaxKeys=1) == ["0/", *names[-4:]]


TREE = ["foo/bar", "foo/baz", "quux"]


def prefix_basic(s3, v, bucket):
    common.fill(s3, bucket, TREE)
    assert listing(s3, v, bucket, Prefix="foo/")[:2] == (["foo/bar", "foo/baz"], [])


def prefix_alt(s3, v, bucket):
    common.fill(s3, bucket, ["bar", "baz", "foo"])
    assert listing(s3, v, bucket, Prefix="ba")[:2] == (["bar", "baz"], [])


def prefix_empty(s3, v, bucket):
    common.fill(s3, bucket, TREE)
    assert listing(s3, v, bucket, Prefix="")[:2] == (TREE, [])


def prefix_none(s3, v, bucket):
    common.fill(s3, bucket, TREE)
    assert listing(s3, v, bucket)[:2] == (TREE, [])


def prefix_not_exist(s3, v, bucket):
    common.fill(s3, bucket, TREE)
    assert listing(s3, v, bucket, Prefix="d")[:2] == ([], [])


def prefix_unreadable(s3, v, bucket):
    common.fill(s3, bucket, TREE)
    assert listing(s3, v, bucket, Prefix="\x0a")[:2] == ([], [])


def prefix_delimiter_basic(s3, v, bucket):
    common.fill(s3, bucket, ["foo/bar", "foo/baz/xyzzy", "quux/thud", "asdf"])
    assert listing(s3, v, bucket, Prefix="foo/", Delimiter="/")[:2] == (["foo/bar"], ["foo/baz/"])


def prefix_delimiter_alt(s3, v, bucket):
    common.fill(s3, bucket, ["bar", "bazar", "cab", "foo"])
    assert listing(s3, v, bucket, Prefix="ba", Delimiter="a")[:2] == (["bar"], ["baza"])


def prefix_delimiter_prefix_not_exist(s3, v, bucket):
    common.fill(s3, bucket, ["b/a/r", "b/a/c", "b/a/g", "g"])
    assert listing(s3, v, bucket, Prefix="d", Delimiter="/")[:2] == ([], [])


def prefix_delimiter_delimiter_not_exist(s3, v, bucket):
    common.fill(s3, bucket, ["b/a/c", "b/a/g", "b/a/r", "g"])
    assert listing(s3, v, bucket, Prefix="b", Delimiter="z")[:2] == (["b/a/c", "b/a/g", "b/a/r"], [])


def prefix_delimiter_prefix_delimiter_not_exist(s3, v, bucket):
    common.fill(s3, bucket, ["b/a/c", "b/a/g", "b/a/r", "g"])
    assert listing(s3, v, bucket, Prefix="y", Delimiter="z")[:2] == ([], [])


QUARTET = ["bar", "baz", "foo", "quxx"]


def maxkeys_one(s3, v, bucket):
    common.fill(s3, bucket, QUARTET)
    keys, _, reply = listing(s3, v, bucket, MaxKeys=1)
    assert keys == ["bar"] and reply["IsTruncated"] is True
    after = {"Marker": "bar"} if v == 1 else {"StartAfter": "bar"}
    keys, _, reply = listing(s3, v, bucket, **after)
    assert keys == QUARTET[1:] and reply["IsTruncated"] is False
    assert all_pages(s3, v, bucket, MaxKeys=1) == QUARTET


def maxkeys_zero(s3, v, bucket):
    common.fill(s3, bucket, QUARTET)
    keys, prefixes, reply = listing(s3, v, bucket, MaxKeys=0)
    assert (keys, prefixes, reply["IsTruncated"]) == ([], [], False)


def maxkeys_none(s3, v, bucket):
    common.fill(s3, bucket, QUARTET)
    keys, _, reply = listing(s3, v, bucket)
    assert keys == QUARTET and reply["IsTruncated"] is False and reply["MaxKeys"] == 1000
    # More than a page can hold may be asked for.
    more = common.send("GET", f"/{bucket}?max-keys=5000" + ("&list-type=2" if v == 2 else ""))
    assert more.status == 200 and b"<MaxKeys>1000</MaxKeys>" in more.text


def maxkeys_invalid(s3, v, bucket):
    common.fill(s3, bucket, QUARTET)
    for text in ("blah", "-1", "1.5", "99999999999999999999"):
        reply = common.send("GET", f"/{bucket}?max-keys={text}" + ("&list-type=2" if v == 2 else ""))
        assert (reply.code, reply.status) == ("InvalidArgument", 400), text


def after_unreadable(s3, v, bucket, name):
    common.fill(s3, bucket, QUARTET)
    assert keys_of(s3, v, bucket, **{name: "\x0a"}) == QUARTET


def after_not_in_list(s3, v, bucket, name):
    common.fill(s3, bucket, QUARTET)
    assert keys_of(s3, v, bucket, **{name: "blah"}) == ["foo", "quxx"]


def after_all(s3, v, bucket, name):
    common.fill(s3, bucket, QUARTET)
    keys, _, reply = listing(s3, v, bucket, **{name: "zzz"})
    assert keys == [] and reply["IsTruncated"] is False
