"""Open-Sora v1.2 (STDiT3, temporal and spatial VAE, T5, rectified flow), at any size."""
