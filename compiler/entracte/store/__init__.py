"""What was made before, by digest."""
