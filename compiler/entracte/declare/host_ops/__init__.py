"""Host operations: what a runner does itself, between calls of packages. One row each.

A row says all that there is to know of one: what it reads, its params, the ports it gives, the
files it needs in the build folder, and how it runs. A `HostStep` of a program names its row in
`op`. To add one, write its row in a module here and put it into `HOST_OPS`.

They are small and exactly specified: a runner in another language must give the same numbers
(`docs/plan-format.md` has the words). numpy and tokenizers are imported by what runs.
"""

from entracte.declare.host_ops.kinds import FILE, PATH, SHAPE, SIZE, TEXT, Kind
from entracte.declare.host_ops.noise import RANDOM_NORMAL, random_normal
from entracte.declare.host_ops.row import (
    SHAPE_OF,
    TENSOR,
    FileKind,
    HostOp,
    Param,
    Place,
    Reads,
    Source,
)
from entracte.declare.host_ops.table_rows import GATHER_ROWS, gather_rows
from entracte.declare.host_ops.words import RETOKENIZE, TOKENIZE, detokenize, tokenize

__all__ = [
    "FILE",
    "HOST_OPS",
    "PATH",
    "SHAPE",
    "SHAPE_OF",
    "SIZE",
    "TENSOR",
    "TEXT",
    "FileKind",
    "HostOp",
    "Kind",
    "Param",
    "Place",
    "Reads",
    "Source",
    "detokenize",
    "gather_rows",
    "random_normal",
    "tokenize",
]

HOST_OPS = {op.name: op for op in (TOKENIZE, RETOKENIZE, RANDOM_NORMAL, GATHER_ROWS)}
