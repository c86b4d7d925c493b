#!/usr/bin/python3
# Judges route records by docs/contracts/route.schema.json: a line of standard
# input each; prints "ok", or "not ok: " and why, for each.
import json
import os
import sys

import jsonschema

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
with open(os.path.join(top, 'docs/contracts/route.schema.json'), encoding='utf-8') as f:
    schema = json.load(f)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(['ipv4', 'ipv6']))


def no_pairs_twice(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError('a member twice')
    return dict(pairs)


for line in sys.stdin.buffer:
    try:
        record = json.loads(line, object_pairs_hook=no_pairs_twice)
        validator.validate(record)
        print('ok')
    except (ValueError, jsonschema.ValidationError) as e:
        print('not ok:', str(e).splitlines()[0])
