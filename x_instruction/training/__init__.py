"""What models are tuned on, and how."""
