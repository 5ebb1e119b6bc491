"""What stands where a file should be."""

import os
import random
import shutil
from pathlib import Path

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def replace(file: Path, rng: random.Random, sentinel: Path, notes: list[str]) -> None:
    """A folder, a pipe, a link, a device, nothing, or a file of other bytes in a file's place."""
    change = rng.choice(_CHANGES)
    notes.append(f"place: {file.name} is {change.__name__}")
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    change(file, sentinel)


def _nothing(file: Path, _: Path) -> None:
    file.unlink(missing_ok=True)


def _a_folder(file: Path, _: Path) -> None:
    file.mkdir()


def _a_full_folder(file: Path, _: Path) -> None:
    file.mkdir()
    (file / "model.safetensors").write_bytes(b"")
    (file / "plan.json").mkdir()


def _a_pipe(file: Path, _: Path) -> None:
    os.mkfifo(file)


def _empty(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def _a_pointer(file: Path, _: Path) -> None:
    file.write_bytes(LFS)


def _zeros(file: Path, _: Path) -> None:
    file.write_bytes(bytes(4096))


def _sparse(file: Path, _: Path) -> None:
    with file.open("wb") as made:
        made.truncate(20 << 30)


def _a_loop(file: Path, _: Path) -> None:
    file.symlink_to(file.name)


def _a_dangling_link(file: Path, _: Path) -> None:
    file.symlink_to("nowhere")


def _a_link_out(file: Path, sentinel: Path) -> None:
    file.symlink_to(sentinel / "victim.txt")


def _a_device(file: Path, _: Path) -> None:
    file.symlink_to("/dev/zero")


def _a_picture(file: Path, _: Path) -> None:
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))


def _an_archive(file: Path, _: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(64))


_CHANGES = (
    _nothing, _a_folder, _a_full_folder, _a_pipe, _empty, _a_pointer, _zeros, _sparse, _a_loop,
    _a_dangling_link, _a_link_out, _a_device, _a_picture, _an_archive,
)  # fmt: skip
