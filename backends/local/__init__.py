"""This machine as a resource manager: detached processes, each under a small supervisor of its own."""
