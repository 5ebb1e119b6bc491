"""The names under which pipelines of the tests know the graphs of this folder."""

from entracte import graphs

NAMES = {
    "log_mel": "speech:log_mel", "encoder": "speech:encoder", "decoder": "speech:decoder",
    "start": "speech:start", "clip_encoder": "clip:encoder", "clip_denoiser": "clip:denoiser",
    "clip_decoder": "clip:decoder", "clip_start": "clip:start", "picture_text": "picture:text",
    "picture_unet": "picture:unet", "picture_step": "picture:step",
    "picture_decode": "picture:decode", "picture_schedule": "picture:schedule",
    "own": "own:classifier",
}  # fmt: skip


def names() -> dict[str, str]:
    """As the registry holds them."""
    return {f"newcomers.{name}": f"tests.newcomers.{place}" for name, place in NAMES.items()}


def register() -> None:
    """For this process."""
    graphs._BUILT_IN.update(names())
