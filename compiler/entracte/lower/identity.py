"""A normalised .mlpackage: its files, and what identifies them. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import uuid

__all__ = ["MANIFEST", "MODEL_FILE", "WEIGHT_FILE", "combined_digest", "manifest_text"]

MODEL_FILE = "Data/com.apple.CoreML/model.mlmodel"
WEIGHT_FILE = "Data/com.apple.CoreML/weights/weight.bin"
MANIFEST = "Manifest.json"
_MODEL_KEY = "model"
_AUTHOR = "com.apple.CoreML"
_NAMESPACE = uuid.UUID("6f9d5f0e-3f0c-5b57-9d58-656e74726163")


def combined_digest(model_sha256: str, weights_sha256: str | None) -> str:
    """A package's digest from those of its files."""
    text = f"{MODEL_FILE} {model_sha256}\n"
    if weights_sha256 is not None:
        text += f"{WEIGHT_FILE} {weights_sha256}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_text(model_sha256: str, weights_sha256: str | None) -> str:
    """The manifest of a normalised package: its identifiers derive from the files' digests."""
    items = {_MODEL_KEY: _item("model.mlmodel", "CoreML Model Specification")}
    digests = {_MODEL_KEY: model_sha256}
    if weights_sha256 is not None:
        items["weights"] = _item("weights", "CoreML Model Weights")
        digests["weights"] = weights_sha256
    identifiers = {
        key: str(uuid.uuid5(_NAMESPACE, f"{item['path']} {digests[key]}")).upper()
        for key, item in items.items()
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {identifiers[key]: item for key, item in items.items()},
        "rootModelIdentifier": identifiers[_MODEL_KEY],
    }
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"


def _item(name: str, description: str) -> dict[str, str]:
    return {
        "author": _AUTHOR,
        "description": description,
        "name": name,
        "path": f"{_AUTHOR}/{name}",
    }
