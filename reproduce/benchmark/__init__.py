"""Speed and memory of what the library does: its training step, its prediction, its weight map and metrics."""
