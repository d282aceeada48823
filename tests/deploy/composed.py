#!/usr/bin/env python3
"""Validates compose files: composed.py SCHEMA FILE…"""

import json
import sys

import jsonschema
import yaml


def main(schema, *files):
    validator = jsonschema.Draft7Validator(schema)
    count = 0
    for file in files:
        with open(file) as text:
            document = yaml.safe_load(text)
        for error in validator.iter_errors(document):
            count += 1
            print(f"{file}: {error.json_path}: {error.message}", file=sys.stderr)
    print(f"{len(files)} files, {count} complaints")
    return 1 if count or not files else 0


if __name__ == "__main__":
    with open(sys.argv[1]) as text:
        sys.exit(main(json.load(text), *sys.argv[2:]))
