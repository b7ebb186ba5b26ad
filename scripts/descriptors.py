# SPDX-License-Identifier: Apache-2.0
"""What `protoc --descriptor_set_out` writes, read without a library: the wire format needs none."""


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """(number, value) of each field of an encoded message: an int or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


def first(data, number, default=b""):
    return next((value for n, value in fields(data) if n == number), default)


def every(data, number):
    return [value for n, value in fields(data) if n == number]


def text(data, number):
    return first(data, number).decode()
