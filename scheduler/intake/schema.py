"""The JSON Schema of job files, for editors: `python -m scheduler.intake.schema > docs/job-file.schema.json`.

Made from the strict model, so that an editor marks what the daemon would refuse. It covers .json, .yaml and
.toml manifests; `$defs` has the header and the lines of .jsonl and the fields of a header block.
"""

from __future__ import annotations

import json
from typing import Any

from scheduler.intake.manifest import HEADER_KEY, HEADER_VERSION
from scheduler.intake.wire import JobFields

_CHOICE = [
    {"required": ["code"], "not": {"required": ["circuit"]}},
    {"required": ["circuit"], "not": {"required": ["code"]}},
]
_NOT_BOTH = {"not": {"required": ["code", "circuit"]}}


def job_file_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a manifest."""
    fields = _field_schemas()
    shared = {name: field for name, field in fields.items() if name != "name"}
    batch_name = {**fields["name"], "description": "What the batch is called. Default: the name of the file."}
    in_header = {name: field for name, field in fields.items() if name not in ("code", "circuit")}
    jobs = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/member"}}
    header = {HEADER_KEY: {"const": HEADER_VERSION}, "count": {"type": "integer", "minimum": 1}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Nightshot job file",
        "description": "One job, or jobs with the fields they share beside them.",
        "if": {"type": "object", "required": ["jobs"]},
        "then": {"$ref": "#/$defs/batch"},
        "else": {"$ref": "#/$defs/job"},
        "$defs": {
            "job": {**_object(fields), "oneOf": _CHOICE},
            # A member may inherit its circuit, so that only the daemon can tell whether one is missing.
            "member": {**_object(fields), **_NOT_BOTH},
            "batch": {
                **_object({"name": batch_name, **shared, "jobs": jobs}),
                "required": ["jobs"],
                **_NOT_BOTH,
            },
            "jsonl-header": {
                **_object({**header, "name": batch_name, **shared}),
                "required": list(header),
                **_NOT_BOTH,
            },
            "header-block": _object(in_header),
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field_schemas() -> dict[str, Any]:
    fields = JobFields.model_json_schema()["properties"]
    for field in fields.values():
        # The model's stand-ins for "absent" are no values that a user may write.
        field.pop("default", None)
        field.pop("title", None)
    return dict(fields)


def main() -> None:
    print(json.dumps(job_file_schema(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
