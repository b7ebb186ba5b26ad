#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the secret marks of our .proto files into a C table: secret_fields.py SET > secret_fields.h

SET is what `protoc --descriptor_set_out` writes. protobuf-c drops custom options, so the marks are
read from the descriptors here. A field is secret when its options hold extension 1059 (csi_secret)
with value true.
"""
import sys

from descriptors import fields, first

CSI_SECRET = 1059


def secrets(message, scope):
    """Names of secret fields of a DescriptorProto and of those nested in it."""
    name = scope + "." + first(message, 1).decode()
    for number, value in fields(message):
        if number == 2 and any(n == CSI_SECRET and v == 1 for n, v in fields(first(value, 8))):
            yield name, first(value, 1).decode()
        elif number == 3:
            yield from secrets(value, name)


def main():
    with open(sys.argv[1], "rb") as source:
        descriptors = source.read()
    found = []
    for number, file in fields(descriptors):
        if number == 1:
            package = first(file, 2).decode()
            found += [s for n, m in fields(file) if n == 4 for s in secrets(m, package)]
    if not found:
        sys.exit("no field is marked csi_secret: is the descriptor set complete?")
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made from the .proto files by scripts/secret_fields.py. */")
    for message, field in sorted(set(found)):
        print(f'SECRET_FIELD("{message}", "{field}")')


if __name__ == "__main__":
    main()
