"""One folder: nothing outside is found, made or read."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from entracte.errors import ConfigError
from entracte.ui.history import FILE, Entry, History
from entracte.ui.places import Root


def test_names_lead_nowhere_else(root, tmp_path):
    (tmp_path / "secret").write_text("x")
    os.symlink(tmp_path / "secret", root.folder / "link")
    for name in ("../secret", "/etc/passwd", "link", "plans/../../secret", "no\0name", "gone"):
        with pytest.raises(ConfigError, match="not in the folder"):
            root.existing(name)
    assert root.existing("plans/one").is_dir()


def test_a_build_with_a_link_out_is_refused(root, tmp_path):
    assert root.build("plans/one")
    with pytest.raises(ConfigError, match=r"holds no plan\.json"):
        root.build("plans")
    os.symlink(tmp_path, root.folder / "plans" / "one" / "packages")
    with pytest.raises(ConfigError, match="a link out of"):
        root.build("plans/one")


def test_new_names_are_fresh_and_inside(root, tmp_path):
    assert root.fresh("builds", "mine") == "builds/mine"
    (root.folder / "builds" / "mine").mkdir()
    os.symlink("/nowhere", root.folder / "builds" / "mine-2")
    assert root.fresh("builds", "mine") == "builds/mine-3"
    for name in ("", "..", "a/b", ".hidden", "-rf", "x" * 81, "a b"):
        with pytest.raises(ConfigError, match="without slashes"):
            root.fresh("builds", name)
    os.symlink(tmp_path, root.folder / "runs")
    with pytest.raises(ConfigError, match="link out"):
        root.fresh("runs", "mine")


def test_plans_are_found_by_their_file_and_no_link_is_followed(root, tmp_path):
    (tmp_path / "other" / "x").mkdir(parents=True)
    (tmp_path / "other" / "x" / "plan.json").write_text("{}")
    os.symlink(tmp_path / "other", root.folder / "other")
    deep = root.folder / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "plan.json").write_text("{}")
    hidden = root.folder / ".hidden" / "x"
    hidden.mkdir(parents=True)
    (hidden / "plan.json").write_text("{}")
    assert root.plans() == ("plans/one",)


def test_a_root_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        Root.of(tmp_path / "gone")


def test_history_is_kept_and_whatever_is_no_entry_is_left_out(root):
    history = History(root.folder)
    assert history.entries() == ()
    one = Entry("plan", "compile target=host", "plans/one", "done", "2026-11-29T00:00:00Z", 1.5)
    history.add(one)
    history.add(one)
    assert history.entries() == (one, one)
    for text in ("[", "{}", '[{"kind": 1}]', '[{"kind": "plan"}]', '[{"evil": "x"}]', "[3]"):
        (root.folder / FILE).write_text(text)
        assert history.entries() == ()
    (root.folder / FILE).unlink()
    os.symlink("/etc/passwd", root.folder / FILE)
    assert history.entries() == ()
    history.add(one)
    assert not (root.folder / FILE).is_symlink() and history.entries() == (one,)


def test_history_is_read_when_it_changed_and_not_each_time(root, monkeypatch):
    """Another process may write it too."""
    history, other = History(root.folder), History(root.folder)
    one = Entry("plan", "compile target=host", "plans/one", "done", "2026-11-29T00:00:00Z", 1.5)
    two = replace(one, line="compile target=mac", place="plans/two")
    other.add(one)
    assert history.entries() == (one,)
    other.add(two)
    assert history.entries() == (one, two)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: pytest.fail("it is read again"))
        assert history.entries() == (one, two)
    (root.folder / FILE).unlink()
    assert history.entries() == ()
    other.add(two)
    assert history.entries() == (two,)
