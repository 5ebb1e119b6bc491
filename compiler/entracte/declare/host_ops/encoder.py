"""Tokenizer files, opened by the `tokenizers` library without trusting it or them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from entracte.disk.read import inside
from entracte.errors import EntracteError, RunError

MAX_TOKENIZER_BYTES = 64 * 2**20


def tokenizer_file(folder: Path, name: str) -> Path:
    """A tokenizer of a build folder. Raises `RunError` where there is none."""
    file = inside(folder, name)
    if file is None or not file.is_file() or file.stat().st_size > MAX_TOKENIZER_BYTES:
        raise RunError(
            f"tokenize: there is no tokenizer file {name} in the build folder {folder} (or it is a "
            f"link out of it, or larger than {MAX_TOKENIZER_BYTES} bytes)"
        )
    return file


def encoder_of(tokenizer: Path) -> Any:
    """What a tokenizer file says. Raises `RunError` for one that does not exist or says nothing."""
    if not tokenizer.is_file():
        raise RunError(f"tokenize: there is no tokenizer file {tokenizer}")
    with telling(tokenizer):
        if tokenizer.stat().st_size > MAX_TOKENIZER_BYTES:
            raise RunError(f"tokenize: {tokenizer} is larger than {MAX_TOKENIZER_BYTES} bytes")
        return encoder_from(tokenizer.read_bytes(), tokenizer)


def encoder_from(data: bytes, tokenizer: Path) -> Any:
    """What the bytes of a tokenizer file say; `tokenizer` names it in messages."""
    from tokenizers import Tokenizer

    with telling(tokenizer):
        return Tokenizer.from_str(data.decode())


@contextmanager
def telling(tokenizer: Path) -> Iterator[None]:
    """The library raises bare exceptions, and of its panics such as nothing else catches."""
    try:
        yield
    except (EntracteError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(
            f"tokenize: {tokenizer} is no tokenizer ({what or type(error).__name__}); give the "
            "tokenizer.json of the tokenizers library"
        ) from None
