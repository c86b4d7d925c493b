#!/usr/bin/env python3
"""What the build makes out of proto/.

  generate.py c SOURCE_DIR OUT_DIR SCRATCH_DIR PACKAGE_DIR FILE...
      protobuf-c sources of the files of one package. protoc-gen-c 1.4 refuses
      proto3 `optional`, so the C build compiles a copy in SCRATCH_DIR in which
      an optional scalar or enum is a oneof of its own, `oneof _x { T x = n; }`:
      the same bytes and the same JSON. An optional message loses the word only:
      a pointer has presence already. Method options are dropped, no C reads them.

  generate.py callers SOURCE_DIR OUT_FILE
      the nginx map of (caller, method) from the `callers` option of every
      method of gitpod.internal.v1.

A file is written only when its text changes.
"""

import os
import re
import subprocess
import sys

SCALARS = {"double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
           "sfixed32", "sfixed64", "bool", "string", "bytes"}
CALLERS = {"auth", "public_api", "ws_manager", "content", "ide", "admin", "gateway"}
WELL_KNOWN = "/usr/include"


def fail(text):
    sys.exit("proto/generate.py: " + text)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write_if_changed(path, text):
    if os.path.exists(path) and read(path) == text:
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(path + ".new", path)


def without_comments(text):
    return re.sub(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/',
                  lambda m: m.group(0) if m.group(0)[0] == '"' else "", text, flags=re.S)


def protos(source):
    for folder, _, names in sorted(os.walk(source)):
        for name in sorted(names):
            if name.endswith(".proto"):
                path = os.path.join(folder, name)
                yield os.path.relpath(path, source), without_comments(read(path))


def kinds(texts):
    """Names of all enums and messages, last component only."""
    enums, messages = set(), set()
    for text in texts.values():
        enums |= set(re.findall(r"\benum\s+(\w+)", text))
        messages |= set(re.findall(r"\bmessage\s+(\w+)", text))
    return enums, messages


def for_c(name, text, enums, messages):
    def optional(m):
        kind, field, rest = m.groups()
        last = kind.split(".")[-1]
        if kind in SCALARS or (last in enums and last not in messages):
            return "oneof _%s { %s %s = %s; }" % (field, kind, field, rest)
        if last in enums:
            fail("%s: optional %s %s: %s names an enum and a message; rename one" % (name, kind, field, last))
        return "%s %s = %s;" % (kind, field, rest)

    text = re.sub(r"\boptional\s+([\w.]+)\s+(\w+)\s*=\s*([^;]+);", optional, text)
    text = re.sub(r"\boption\s*\(callers\)\s*=\s*\"[^\"]*\"\s*;", "", text)
    text = re.sub(r'import\s+"gitpod/internal/v1/options\.proto"\s*;', "", text)
    if re.search(r"\boptional\b", text):
        fail("%s: an `optional` that is not of the form `optional T x = n;`" % name)
    return text


def command_c(source, out, scratch, package, files):
    texts = dict(protos(source))
    enums, messages = kinds(texts)
    for name, text in texts.items():
        write_if_changed(os.path.join(scratch, name), for_c(name, text, enums, messages))
    made = os.path.join(scratch, ".c")
    os.makedirs(made, exist_ok=True)
    wanted = [os.path.join(package, f) for f in files]
    done = subprocess.run(["protoc-c", "--proto_path=" + scratch, "--proto_path=" + WELL_KNOWN, "--c_out=" + made] + wanted)
    if done.returncode:
        fail("protoc-c failed on %s (Debian package protobuf-c-compiler)" % package)
    for name in wanted:
        for ending in (".pb-c.c", ".pb-c.h"):
            base = name[:-len(".proto")] + ending
            write_if_changed(os.path.join(out, os.path.basename(base)), read(os.path.join(made, base)))


def callers(source):
    for name, text in protos(source):
        if not name.startswith("gitpod/internal/"):
            continue
        package = re.search(r"\bpackage\s+([\w.]+)\s*;", text).group(1)
        for service in re.finditer(r"\bservice\s+(\w+)\s*\{", text):
            depth, end = 1, service.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            body = text[service.end():end - 1]
            for rpc in re.finditer(r"\brpc\s+(\w+)\s*\([^)]*\)\s*returns\s*\([^)]*\)\s*(?:;|\{([^}]*)\})", body):
                method = "/%s.%s/%s" % (package, service.group(1), rpc.group(1))
                option = re.search(r'option\s*\(callers\)\s*=\s*"([^"]*)"', rpc.group(2) or "")
                if not option:
                    fail("%s: %s has no `callers` option: nobody could call it" % (name, method))
                for caller in option.group(1).split(","):
                    if caller.strip() not in CALLERS:
                        fail("%s: %s: no service is called \"%s\"" % (name, method, caller.strip()))
                    yield caller.strip(), method


def command_callers(source, out):
    lines = ['"%s:%s" 1;' % pair for pair in sorted(callers(source))]
    write_if_changed(out, "# Made by proto/generate.py from the `callers` options.\n" + "\n".join(lines) + "\n")


def main(args):
    if args[:1] == ["c"] and len(args) > 5:
        command_c(args[1], args[2], args[3], args[4], args[5:])
    elif args[:1] == ["callers"] and len(args) == 3:
        command_callers(args[1], args[2])
    else:
        fail("usage: c SOURCE_DIR OUT_DIR SCRATCH_DIR PACKAGE_DIR FILE... | callers SOURCE_DIR OUT_FILE")


main(sys.argv[1:])
