"""Resource managers behind one protocol: local, simulated, Slurm, PBS."""
