"""MiniSora's models: DiT, SiT, OpenDiT's VDiT and Latte, and how they are sampled."""
