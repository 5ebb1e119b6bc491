"""The sizes that a model of pictures was trained for: one for each ratio of height to width."""

from __future__ import annotations

from entracte.graphs.recipes.recipe import Recipe


def binned_sizes(r: Recipe, scale: int, sample_size: int, patch: int = 1) -> tuple[int, int]:
    """Height and width in pixels. Raises `ValueError` for others than the model was trained for.

    diffusers makes the nearest of those and stretches the picture (`use_resolution_binning`); here
    `binned: false` allows all, as that does. Models of another size than these have no such list.

    Args:
        scale: pixels of a latent.
        sample_size: latents of the square that the model was trained for.
    """
    wanted = [r.size(name, sample_size * scale, patch * scale) for name in ("height", "width")]
    sizes = _trained(sample_size * scale)
    if not r.option("binned", True) or not sizes or tuple(wanted) in sizes:
        return wanted[0], wanted[1]
    ratio = wanted[0] / wanted[1]
    high, wide = min(sizes, key=lambda size: abs(size[0] / size[1] - ratio))
    raise ValueError(
        f"pipeline.options.height, width: a {r.folder.kind} was not trained for {wanted[0]} x "
        f"{wanted[1]}; the nearest that it was is {high} x {wide}, and pipeline.options.binned="
        "false makes any"
    )


def _trained(square: int) -> list[tuple[int, int]]:
    """The lists of diffusers' pipelines, by the side of their square."""
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_alpha as alpha
    from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import ASPECT_RATIO_2048_BIN
    from diffusers.pipelines.sana.pipeline_sana import ASPECT_RATIO_4096_BIN

    lists = {256: alpha.ASPECT_RATIO_256_BIN, 512: alpha.ASPECT_RATIO_512_BIN,
             1024: alpha.ASPECT_RATIO_1024_BIN, 2048: ASPECT_RATIO_2048_BIN,
             4096: ASPECT_RATIO_4096_BIN}  # fmt: skip
    return [(int(high), int(wide)) for high, wide in lists.get(square, {}).values()]
