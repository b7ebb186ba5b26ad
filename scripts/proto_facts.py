#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What of a .proto file goes over the wire, a line for each fact: proto_facts.py SET > FACTS

SET is what `protoc --descriptor_set_out` writes for one file, without its imports. Comments, order
and layout leave no trace in the facts; names, numbers, types, labels, oneofs and marks do:

    field csi.v1.CreateVolumeRequest.name 1 string
    field csi.v1.DeleteVolumeRequest.secrets 2 map<string,string> [1059]
    value csi.v1.VolumeUsage.Unit.BYTES 1
    method csi.v1.Node.NodeStageVolume csi.v1.NodeStageVolumeRequest csi.v1.NodeStageVolumeResponse

Numbers in brackets are extensions that are set to true: 1059 is csi_secret, 1060 alpha. The facts of
CSI 1.12 in tests/conformance were made so from the csi.proto of the specification's own release.
"""
import sys

from descriptors import every, fields, first, text

# FieldDescriptorProto.Type
TYPES = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32",
         8: "bool", 9: "string", 12: "bytes", 13: "uint32", 15: "sfixed32", 16: "sfixed64",
         17: "sint32", 18: "sint64"}
REPEATED, PROTO3_OPTIONAL, DEPRECATED = 3, 17, 3
FIRST_EXTENSION = 1000


def marks(options):
    found = sorted(n for n, v in fields(options) if n >= FIRST_EXTENSION and v == 1)
    return "".join(f" [{n}]" for n in found)


def type_name(field):
    named = text(field, 6).lstrip(".")
    return named or TYPES[first(field, 5)]


def entry_types(message):
    """{nested map entry: "map<key,value>"} of a message."""
    found = {}
    for nested in every(message, 3):
        if first(first(nested, 7), 7, 0) == 1:
            types = {first(f, 3): type_name(f) for f in every(nested, 2)}
            found[text(nested, 1)] = f"map<{types[1]},{types[2]}>"
    return found


def field_facts(message, name):
    maps = entry_types(message)
    oneofs = [text(o, 1) for o in every(message, 8)]
    for field in every(message, 2):
        kind = type_name(field)
        entry = maps.get(kind.rpartition(".")[2]) if kind.startswith(name + ".") else None
        label = "repeated " if first(field, 4) == REPEATED and entry is None else ""
        optional = "optional " if first(field, PROTO3_OPTIONAL, 0) else ""
        member = [f" oneof {oneofs[v]}" for n, v in fields(field) if n == 9]
        options = first(field, 8)
        gone = " deprecated" if first(options, DEPRECATED, 0) == 1 else ""
        yield (f"field {name}.{text(field, 1)} {first(field, 3)} {label}{optional}{entry or kind}"
               f"{''.join(member)}{gone}{marks(options)}")


def enum_facts(enum, scope):
    name = f"{scope}.{text(enum, 1)}"
    yield f"enum {name}{marks(first(enum, 3))}"
    for value in every(enum, 2):
        yield f"value {name}.{text(value, 1)} {first(value, 2, 0)}{marks(first(value, 3))}"


def message_facts(message, scope):
    name = f"{scope}.{text(message, 1)}"
    yield f"message {name}{marks(first(message, 7))}"
    yield from field_facts(message, name)
    for enum in every(message, 4):
        yield from enum_facts(enum, name)
    for nested in every(message, 3):
        if first(first(nested, 7), 7, 0) != 1:
            yield from message_facts(nested, name)


def service_facts(service, scope):
    name = f"{scope}.{text(service, 1)}"
    yield f"service {name}{marks(first(service, 3))}"
    for method in every(service, 2):
        ways = ["stream " if first(method, n, 0) == 1 else "" for n in (5, 6)]
        yield (f"method {name}.{text(method, 1)} {ways[0]}{text(method, 2).lstrip('.')} "
               f"{ways[1]}{text(method, 3).lstrip('.')}{marks(first(method, 4))}")


def facts(descriptors):
    """Sorted facts of a FileDescriptorSet of one file."""
    (file,) = every(descriptors, 1)
    package = text(file, 2)
    found = [f"package {package} {text(file, 12)}"]
    for extension in every(file, 7):
        found.append(f"extension {package}.{text(extension, 1)} {first(extension, 3)} "
                     f"{type_name(extension)} of {text(extension, 2).lstrip('.')}")
    for number, part in ((4, message_facts), (5, enum_facts), (6, service_facts)):
        for one in every(file, number):
            found += part(one, package)
    return sorted(found)


def main():
    with open(sys.argv[1], "rb") as source:
        print("\n".join(facts(source.read())))


if __name__ == "__main__":
    main()
