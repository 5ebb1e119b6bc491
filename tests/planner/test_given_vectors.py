"""tests/vectors/given.jsonl: what is given to inputs, for runners in other languages."""

import json

from tools.make_given_vectors import FILE, lines


def test_the_file_is_what_the_tool_writes():
    assert FILE.read_text() == "".join(f"{line}\n" for line in lines())


def test_the_vectors_show_what_they_are_there_for():
    cases = [json.loads(line) for line in FILE.read_text().splitlines()[1:]]
    refused = [c["fault"] for c in cases if "fault" in c]
    assert len(refused) > 40 and len(cases) - len(refused) > 40
    for words in ("too large", "not allowed", "near it are", "no default", "whole number"):
        assert any(words in fault for fault in refused), words
