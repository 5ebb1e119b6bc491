"""Open-Sora Plan 1.3 (PKU-YuanGroup), rebuilt from a description of its structure."""
