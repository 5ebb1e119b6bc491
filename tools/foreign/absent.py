"""Classes of diffusers that have no row, and why."""

__all__ = ["ABSENT"]

ABSENT = {
    "Cosmos3OmniTransformer": "packs tokens of text, pictures, sound and actions into one sequence "
    "by lists of indices that its pipeline computes from values; no call of fixed shape is its "
    "own",
    "LTX2VideoDiffusionDecoderModel": "draws noise and denoises inside `decode`, and attends in "
    "neighbourhoods by `flex_attention`, which has no conversion",
    "MotionAdapter": "holds weights for UNetMotionModel; its `forward` computes nothing",
    "RFD4ProteinaAutoencoder": "needs the tables of residues and atoms of its checkpoint to be "
    "built, and makes no pictures, sound or text",
    "RFD4ProteinaTransformer": "needs some thirty features of proteins in `conditioning`, and "
    "makes no pictures, sound or text",
    "WanAnimate2Transformer3DModel": "needs a `WanAnimate2KVCache`, a Python object that one call "
    "fills and another reads",
}
"""Class -> reason."""
