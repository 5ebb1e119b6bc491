"""A text encoder's table of tokens, of which a run reads the few rows that its text has."""

from __future__ import annotations

from entracte.graphs.recipes.recipe import Recipe, Tokens, Value


def token_rows(r: Recipe, component: str, key: str, width: int, tokens: Tokens) -> Value:
    """Embeddings (1, L, width): such tables are up to 2 GB, more than a chunk may be.

    Args:
        key: of the table in the component's checkpoint.
    """
    rows = r.config(component)["vocab_size"]
    params = {"table": component, "key": key, "rows": rows, "width": width,
              "dtype": "${pipeline.precision}"}  # fmt: skip
    name = "rows_" + tokens.ids.name.partition(".")[0].removeprefix("tokens_")
    made = r.host("gather_rows", name, params, ids=tokens.ids)
    return Value(f"{made}.rows", (1, *tokens.ids.shape[1:], width))
