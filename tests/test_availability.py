"""The lint of availability finds what Swift on Linux cannot, and the stubs agree with its table."""

import re

import pytest

from tools.lint_swift_availability import (
    FLOOR,
    SINCE,
    apple_sources,
    findings,
    main,
    versions_of,
)
from tools.swift_toolchain import PACKAGE


def spelled(text: str) -> str:
    return text.replace("NEW", "available(iOS 18, macOS 15, *)")


GOOD = {
    "if": "if #NEW { made.functionName = name }",
    "younger": "if #available(iOS 26, macOS 26, *) { made.functionName = name }",
    "condition": "if #NEW, let s = state as? MLState { use(s) }",
    "guard": "func f() {\n  guard #NEW else { throw X() }\n  a.functionName = b\n}",
    "guarded condition": "func f() { guard #NEW, !d.stateDescriptionsByName.isEmpty"
    " else { return nil }\n m.makeState() }",
    "declaration": "@NEW\nfunc f(\n  _ s: MLState\n) async throws\n  -> Int {\n  1\n}",
    "property": "@NEW var s: MLState\nlet other = 1",
    "attributes": "@NEW\n@MainActor\nfinal class A {\n  let s: MLState\n}",
    "comment": '// makeState()\n/* MLState */ let text = "functionName"',
    "nested": "if #NEW { if a { b() }\n c.functionName = d }",
    "another word": "let functionNamed = place.function",
}
BAD = {
    "bare": ("made.functionName = name", 1),
    "older": ("if #available(iOS 17.4, macOS 14.4, *) {\n made.functionName = name }", 2),
    "one platform": ("if #available(iOS 18, *) { made.functionName = name }", 1),
    "older macOS": ("if #available(iOS 18, macOS 14.4, *) { made.functionName = name }", 1),
    "else": ("if #NEW { a() } else {\n m.makeState() }", 2),
    "behind": ("if #NEW { a() }\nm.makeState()", 2),
    "guard's else": (
        "func f() { guard #NEW else {\n m.makeState() } }",
        2,
    ),
    "behind the guard's block": (
        "func f() { guard #NEW else { return } }\nlet s: MLState",
        2,
    ),
    "before": ("m.makeState()\nif #NEW { a() }", 1),
    "next declaration": ("@NEW var s: Int\nvar t: MLState", 2),
    "next function": ("@NEW\nfunc f() { }\nfunc g(_ s: MLState) { }", 3),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_what_is_asked_for_may_be_used(text):
    assert findings(spelled(text)) == []


@pytest.mark.parametrize(("text", "line"), BAD.values(), ids=BAD.keys())
def test_what_is_not_is_found(text, line):
    assert [f.line for f in findings(spelled(text))] == [line]


def test_the_runner_asks_before_it_uses(capsys):
    sources = apple_sources()
    assert any("functionName" in s.read_text() for s in sources)
    assert main([]) == 0, capsys.readouterr().out


def test_a_bad_file_is_refused(tmp_path, capsys):
    place = tmp_path / "a.swift"
    place.write_text("let s: MLState\n")
    assert main([str(place)]) == 1
    assert f"{place}:1: MLState is of iOS 18 and macOS 15" in capsys.readouterr().out


def test_the_stubs_say_the_same_versions():
    declared = re.compile(
        r"@available\(([^)]*)\)\s*\n\s*(?:public |open |final |class )*"
        r"(?:var|let|func|case|class|struct|enum)\s+(\w+)"
    )
    common = {"state", "prediction"}  # Too common to look for: MLState stands beside them.
    found = {}
    for stub in sorted((PACKAGE / "Stubs").glob("*.swift")):
        text = stub.read_text()
        assert findings(text) == [], stub
        for asked, name in declared.findall(text):
            found[name] = versions_of(asked)
    assert len(found) > 8 and all(v > FLOOR for v in found.values())
    assert {n: SINCE.get(n) for n in found if n not in common} == {
        n: v for n, v in found.items() if n not in common
    }
