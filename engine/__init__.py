"""The tick, and the commands that change state."""
