"""The text of an Xcode project: an app of the folder `App`, the folder `Build` as it is in its
resources, and the Swift package beside it.

Format 77 (Xcode 16): a folder that Xcode follows by itself needs no entry for each file. The text
is written from a table of objects, each under an identifier made of its own name, so that the same
export has the same bytes. A property list reader has read it, Xcode never (docs/on-a-phone.md).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

APP, SOURCES, BUILD, PACKAGE = "EntracteApp", "App", "Build", "Entracte"
"""The target, and the folders beside the project."""
RUNNER = Path(__file__).parent.parent / "swift"
"""The Swift package, in this tree and in the wheel."""
SETTINGS = "settings.json"
"""In the folder of the app: the project's build settings that are the same for every app."""

Value = str | Sequence["Value"] | Mapping[str, "Value"]


def identifier(name: str) -> str:
    """24 capital hexadecimal digits, as Xcode names objects."""
    return hashlib.sha256(name.encode()).hexdigest()[:24].upper()


def project_text(bundle: str, title: str) -> str:
    """`project.pbxproj`. `bundle`: the app's identifier in reverse-DNS form; `title`: what is below
    its icon."""
    objects = _files() | _phases() | _package() | _settings(bundle, title) | _project()
    body: dict[str, Value] = {
        "archiveVersion": "1",
        "classes": {},
        "objectVersion": "77",
        "objects": {identifier(name): made for name, made in objects.items()},
        "rootObject": identifier("project"),
    }
    return "// !$*UTF8*$!\n" + _text(body, 0) + "\n"


Objects = dict[str, dict[str, Value]]


def _files() -> Objects:
    return {
        "sources": {
            "isa": "PBXFileSystemSynchronizedRootGroup",
            "path": SOURCES,
            "sourceTree": "<group>",
        },
        "build": {
            "isa": "PBXFileReference",
            "lastKnownFileType": "folder",
            "path": BUILD,
            "sourceTree": "<group>",
        },
        "app": {
            "isa": "PBXFileReference",
            "explicitFileType": "wrapper.application",
            "includeInIndex": "0",
            "path": f"{APP}.app",
            "sourceTree": "BUILT_PRODUCTS_DIR",
        },
        "build in resources": {"isa": "PBXBuildFile", "fileRef": identifier("build")},
        "products": {
            "isa": "PBXGroup",
            "children": [identifier("app")],
            "name": "Products",
            "sourceTree": "<group>",
        },
        "all": {
            "isa": "PBXGroup",
            "children": [identifier(n) for n in ("sources", "build", "products")],
            "sourceTree": "<group>",
        },
    }


def _phases() -> Objects:
    def phase(isa: str, *files: str) -> dict[str, Value]:
        return {
            "isa": isa,
            "buildActionMask": "2147483647",
            "files": [identifier(f) for f in files],
            "runOnlyForDeploymentPostprocessing": "0",
        }

    return {
        "compile": phase("PBXSourcesBuildPhase"),
        "link": phase("PBXFrameworksBuildPhase", "library in app"),
        "resources": phase("PBXResourcesBuildPhase", "build in resources"),
    }


def fixed_settings() -> dict[str, str]:
    """Systems, versions and the like."""
    found: dict[str, str] = json.loads((RUNNER / SOURCES / SETTINGS).read_text())
    return found


def _package() -> Objects:
    return {
        "package": {"isa": "XCLocalSwiftPackageReference", "relativePath": PACKAGE},
        "library": {"isa": "XCSwiftPackageProductDependency", "productName": "Entracte"},
        "library in app": {"isa": "PBXBuildFile", "productRef": identifier("library")},
    }


def _settings(bundle: str, title: str) -> Objects:
    common: dict[str, Value] = {
        **fixed_settings(),
        "CODE_SIGN_ENTITLEMENTS": f"{SOURCES}/App.entitlements",
        "INFOPLIST_KEY_CFBundleDisplayName": title,
        "PRODUCT_BUNDLE_IDENTIFIER": bundle,
    }
    # The loop of steps is the runner's own time: an app that is debugged is optimized all the same.
    kinds: dict[str, dict[str, Value]] = {
        "Debug": {"ONLY_ACTIVE_ARCH": "YES", "SWIFT_OPTIMIZATION_LEVEL": "-O"},
        "Release": {"SWIFT_COMPILATION_MODE": "wholemodule"},
    }
    made: Objects = {}
    for kind, own in kinds.items():
        for of, settings in (("app", common | own), ("project", {})):
            made[f"{of} {kind}"] = {
                "isa": "XCBuildConfiguration",
                "buildSettings": settings,
                "name": kind,
            }
    for of in ("app", "project"):
        made[f"{of} configurations"] = {
            "isa": "XCConfigurationList",
            "buildConfigurations": [identifier(f"{of} {kind}") for kind in kinds],
            "defaultConfigurationIsVisible": "0",
            "defaultConfigurationName": "Release",
        }
    return made


def _project() -> Objects:
    return {
        "target": {
            "isa": "PBXNativeTarget",
            "buildConfigurationList": identifier("app configurations"),
            "buildPhases": [identifier(p) for p in ("compile", "link", "resources")],
            "buildRules": [],
            "dependencies": [],
            "fileSystemSynchronizedGroups": [identifier("sources")],
            "name": APP,
            "packageProductDependencies": [identifier("library")],
            "productName": APP,
            "productReference": identifier("app"),
            "productType": "com.apple.product-type.application",
        },
        "project": {
            "isa": "PBXProject",
            "attributes": {"BuildIndependentTargetsInParallel": "1", "LastUpgradeCheck": "1600"},
            "buildConfigurationList": identifier("project configurations"),
            "developmentRegion": "en",
            "hasScannedForEncodings": "0",
            "knownRegions": ["en", "Base"],
            "mainGroup": identifier("all"),
            "packageReferences": [identifier("package")],
            "preferredProjectObjectVersion": "77",
            "productRefGroup": identifier("products"),
            "projectDirPath": "",
            "projectRoot": "",
            "targets": [identifier("target")],
        },
    }


def _text(value: Value, depth: int) -> str:
    """As an old-style property list."""
    inner, outer = "\t" * (depth + 1), "\t" * depth
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        lines = [f"{inner}{_text(k, 0)} = {_text(v, depth + 1)};\n" for k, v in value.items()]
        return "{\n" + "".join(lines) + outer + "}"
    lines = [f"{inner}{_text(v, depth + 1)},\n" for v in value]
    return "(\n" + "".join(lines) + outer + ")"
