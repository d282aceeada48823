#!/usr/bin/env python3
"""Checks Grafana's dashboards against its published types: dashboards.py FOLDER-OF-SCHEMAS"""

import json
import sys
from pathlib import Path

import jsonschema

DASHBOARDS = Path(__file__).parents[2] / "deploy/observability/grafana/dashboards"
COLUMNS = 24


def schema_errors(schema, value, where):
    for error in jsonschema.Draft7Validator(schema).iter_errors(value):
        deepest = jsonschema.exceptions.best_match([error])
        yield f"{where} {error.json_path}: {deepest.json_path}: {deepest.message[-300:]}"


def complaints(dashboard, schemas):
    yield from schema_errors(schemas["dashboard"], dashboard, "dashboard")
    taken, ids = {}, set()
    for panel in dashboard["panels"]:
        name = panel["title"]
        if panel["id"] in ids:
            yield f"{name}: its id {panel['id']} is another panel's as well"
        ids.add(panel["id"])
        place = panel["gridPos"]
        if place["x"] + place["w"] > COLUMNS:
            yield f"{name}: it is wider than the dashboard"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (other := taken.setdefault((x, y), name)) != name:
                    yield f"{name}: it lies on {other}"
        if panel["type"] == "row":
            continue
        kind = panel["type"]
        if f"{kind}.options" not in schemas:
            yield f"{name}: panels of the type {kind} are not known here: see schemas.js"
            continue
        yield from schema_errors(schemas[f"{kind}.options"], panel["options"], name)
        if custom := schemas.get(f"{kind}.custom"):
            defaults = panel["fieldConfig"]["defaults"]
            yield from schema_errors(custom, defaults.get("custom", {}), name)
        for target in panel["targets"]:
            if target["datasource"]["uid"] != "${datasource}" or not target["expr"]:
                yield f"{name}: {target['refId']} asks nobody or nothing"


def main(folder):
    schemas = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
    files = sorted(DASHBOARDS.glob("*.json"))
    count = 0
    for file in files:
        dashboard = json.loads(file.read_text())
        for complaint in complaints(dashboard, schemas):
            count += 1
            print(f"{file.name}: {complaint}", file=sys.stderr)
        print(f"{file.name}: {len(dashboard['panels'])} panels and rows, {count} complaints")
    return 1 if count or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
