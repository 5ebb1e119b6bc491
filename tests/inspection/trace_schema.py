"""The Trace Event Format, as far as `plan trace` uses it, as a JSON Schema.

After "Trace Event Format" (Duan, Kumar, Google, 2016): object form, phases M, X and C.
"""

_COMMON = {
    "pid": {"type": "integer"},
    "tid": {"type": "integer"},
    "name": {"type": "string", "minLength": 1},
}


def _phase(letter: str, fields: dict, required: list[str]) -> dict:
    return {
        "type": "object",
        "properties": {**_COMMON, "ph": {"const": letter}, **fields},
        "required": ["ph", "pid", "tid", "name", *required],
        "additionalProperties": False,
    }


_TIME = {"type": "number", "minimum": 0}

_METADATA = {
    "oneOf": [
        {
            "properties": {
                "name": {"enum": ["process_name", "thread_name"]},
                "args": {"properties": {"name": {"type": "string"}}, "required": ["name"]},
            }
        },
        {
            "properties": {
                "name": {"enum": ["process_sort_index", "thread_sort_index"]},
                "args": {
                    "properties": {"sort_index": {"type": "integer"}},
                    "required": ["sort_index"],
                },
            }
        },
    ]
}

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    {"allOf": [_phase("M", {"args": {"type": "object"}}, ["args"]), _METADATA]},
                    _phase(
                        "X",
                        {
                            "ts": _TIME,
                            "dur": _TIME,
                            "cat": {"type": "string"},
                            "args": {"type": "object"},
                        },
                        ["ts", "dur", "cat"],
                    ),
                    _phase(
                        "C",
                        {
                            "ts": _TIME,
                            "args": {
                                "type": "object",
                                "minProperties": 1,
                                "additionalProperties": {"type": "number", "minimum": 0},
                            },
                        },
                        ["ts", "args"],
                    ),
                ]
            },
        },
    },
    "required": ["traceEvents", "displayTimeUnit"],
    "additionalProperties": False,
}
